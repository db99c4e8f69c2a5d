"""The report: one file that asks nothing of others."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pytest
import torch

from praxiscope.evaluation import plots
from praxiscope.evaluation.metrics import shown_figures, summarise
from praxiscope.evaluation.report import Report, Strip, TestLink, pick_clips, write_report
from praxiscope.evaluation.scores import Scores
from support import Page
from support import read_page as read

EVIL = "<script>alert('x')</script>\"onload=\"&amp;"


def scores_of(classes, per_class=4, seed=0, multi_label=False, **changes):
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(len(classes)), per_class)
    logits = rng.normal(size=(len(targets), len(classes))) + 1.5 * np.eye(len(classes))[targets]
    if multi_label:
        targets = np.eye(len(classes), dtype=int)[targets] | (rng.random(logits.shape) < 0.2)
    ids = [f"{i}.avi" for i in range(len(logits))]
    fields = {"ids": ids, "logits": logits, "targets": targets, "classes": classes}
    return Scores(**{**fields, "protocol": {"name": "25x10", "model": "tsn"}, **changes})


def frames(count=3):
    return torch.randint(0, 255, (count, 3, 24, 32), dtype=torch.uint8)


HISTORY = [{"epoch": e, "loss": 2 / e, "val_top1": 1 - 1 / e, "lr": 0.1} for e in (1, 2, 3)]


def test_a_full_report_shows_figures_curves_clips_classes_and_settings(tmp_path):
    scores = scores_of(["jump", "run", "wave"])
    strips = [
        Strip("one.avi", frames(), "jump", [("run", 0.7), ("jump", 0.2)]),
        Strip("two.avi", frames(), "wave", [("wave", 0.9)]),
    ]
    path = write_report(
        tmp_path / "my run",
        Report(
            scores=scores,
            history=HISTORY,
            strips=strips,
            settings={"optim": {"lr": 0.01}, "data": Path("videos")},
            notes=["Three videos were skipped."],
        ),
    )
    assert path == tmp_path / "my run" / "report.html"
    page = read(path)
    summary = summarise(scores)
    assert f"{100 * summary['top1']:.1f} %" in page.text
    for part in ("my run", "25x10", "tsn", "Three videos were skipped.", "one.avi", "run 70 %", "lr: 0.01"):
        assert part in page.text
    assert page.text.index("one.avi") < page.text.index("two.avi")
    assert page.text.index("Not recognised") < page.text.index("one.avi")
    assert page.tags.count("picture") == 3 + 2  # loss, top-1, learning rate; reliability, the matrix
    assert page.tags.count("figure") == 2
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_report_shows_the_calibration_with_and_without_the_temperature(tmp_path):
    plain, scaled = scores_of(["jump", "run"]), scores_of(["jump", "run"])
    scaled.protocol["temperature"] = 2.5
    for name, scores in (("plain", plain), ("scaled", scaled)):
        page = read(write_report(tmp_path / name, Report(scores=scores)))
        figures = summarise(scores)
        assert ("img", "alt", "Reliability diagram") in page.attributes
        assert f"{100 * figures['ece']:.1f} %" in page.text
        without = f"{100 * summarise(plain)['ece']:.1f} % without the temperature"
        assert (without in page.text, "2.50" in page.text) == (name == "scaled", name == "scaled")
    page = read(write_report(tmp_path / "several", Report(scores=scores_of(["a", "b"], multi_label=True))))
    assert "Reliability diagram" not in [value for *_, value in page.attributes]


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(tmp_path):
    strips = [Strip("a", frames(), "jump", [("run", 0.5)])]
    path = write_report(tmp_path, Report(scores=scores_of(["jump", "run"]), history=HISTORY, strips=strips))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "srcset", "href"):
            assert value.startswith("data:image/"), (tag, value[:60])
    assert "url(" not in text
    assert "@import" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert (
        "meta",
        "content",
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    ) in page.attributes


def test_the_pictures_are_pictures(tmp_path):
    strips = [Strip("a", frames(), "jump", [("run", 0.5)])]
    path = write_report(tmp_path, Report(scores=scores_of(["jump", "run"]), history=HISTORY, strips=strips))
    found = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", path.read_text(encoding="utf-8"))
    assert {kind for kind, _ in found} == {"png", "jpeg"}
    for kind, content in found:
        start = base64.b64decode(content, validate=True)[:4]
        assert start == b"\x89PNG" if kind == "png" else start[:2] == b"\xff\xd8"


def test_whatever_comes_from_files_is_escaped(tmp_path):
    scores = scores_of([EVIL, "run", "{braces}"], protocol={"name": EVIL, EVIL: EVIL})
    strips = [Strip(EVIL, frames(), EVIL, [(EVIL, 0.5)]), Strip(EVIL, frames(), "run", [(EVIL, 0.5)])]
    settings = {EVIL: EVIL}
    path = write_report(
        tmp_path / "<i>run", Report(scores=scores, strips=strips, settings=settings, notes=[EVIL, EVIL])
    )
    assert "<script" not in path.read_text(encoding="utf-8")
    page = read(path)
    assert "<i>run" not in path.read_text(encoding="utf-8")
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= 8
    assert "{braces}" in page.text


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"history": [], "strips": [], "settings": {}, "notes": []},
        {"history": [{"loss": math.nan, "lr": None}]},
        {"scores": scores_of(["a", "b"], targets=np.full(8, -1))},
        {"scores": scores_of(["a", "b"], per_class=0)},
        {"scores": scores_of(["only"])},
        {"scores": scores_of(["a", "b", "c"], targets=np.array([0] * 12))},
        {"scores": scores_of([f"c{k}" for k in range(40)], multi_label=True)},
        {"scores": scores_of([f"c{k}" for k in range(40)], per_class=1)},
        {"strips": [Strip("none", frames(0), "a", []), Strip("nan", frames(1), "a", [("b", math.nan)])]},
        {"settings": {"deep": {"list": [1, {"x": None}]}, "odd": {1, 2}, "nan": math.nan}},
        {"notes": ["\udcff not text"]},
    ],
)
def test_missing_and_odd_parts_give_a_page(tmp_path, parts):
    page = read(write_report(tmp_path, Report(**parts)))
    assert "Versions" in page.text
    assert "nan %" not in page.text


def test_classes_without_videos_are_named(tmp_path):
    scores = scores_of(["jump", "fly", "run"], targets=np.array([0, 2] * 6))
    page = read(write_report(tmp_path, Report(scores=scores)))
    assert re.search(r": fly\.", page.text)


def test_the_class_table_begins_with_the_weakest_and_folds_the_rest(tmp_path):
    classes = [f"class{k:02d}" for k in range(20)]
    logits = np.eye(20)[np.arange(20)]
    logits[7] = np.eye(20)[3]
    scores = scores_of(classes, per_class=1, logits=logits)
    page = read(write_report(tmp_path, Report(scores=scores)))
    table = page.text[page.text.index("weakest first") :]
    assert table.index("class07") < table.index("class00")
    assert "5 other classes" in table
    assert all(name in table for name in classes)


def test_the_best_clips_are_right_and_of_different_classes_and_the_worst_are_wrong():
    logits = np.array([[5.0, 0, 0], [4, 0, 0], [0, 3, 0], [6, 0, 0], [0, 9, 0], [1, 0, 0]])
    targets = np.array([0, 0, 1, 2, 2, -1])
    scores = scores_of(["a", "b", "c"], per_class=2, logits=logits, targets=targets)
    assert pick_clips(scores) == ([0, 2], [4, 3])
    assert pick_clips(scores, best=1, worst=1) == ([0], [4])


def test_a_multi_label_clip_is_right_where_its_best_class_is_a_label():
    logits = np.array([[5.0, 0, 0], [0, 4, 0], [0, 3, 0]])
    targets = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]])
    scores = scores_of(["a", "b", "c"], per_class=1, logits=logits, targets=targets)
    assert pick_clips(scores) == ([0], [1])


def test_a_strip_can_say_itself_whether_it_is_right():
    assert Strip("a", frames(), "x, y", [("y", 1.0)], right=True).recognised
    assert not Strip("a", frames(), "x, y", [("y", 1.0)]).recognised
    assert not Strip("a", frames(), "x", []).recognised


def test_a_failed_report_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_report(tmp_path, Report(notes=["the old one"]))
    monkeypatch.setattr(plots, "draw_curves", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, Report(history=HISTORY))
    monkeypatch.undo()

    def half(self, *a, **k):
        self.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path, Report(notes=["the new one"]))
    monkeypatch.undo()
    assert "the old one" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_videos_play_from_where_they_lie(tmp_path):
    odd = tmp_path / "my clips" / 'a "b" #1: 50%?.mp4'
    page_folder = tmp_path / "runs" / "a" / "tests"
    strips = [
        Strip("one", frames(), "jump", [("run", 0.7)], video=odd),
        Strip("part", frames(), "jump", [("run", 0.7)], video=odd, start_s=0.5, end_s=1.25),
        Strip("rest", frames(), "jump", [("run", 0.7)], video=odd, start_s=2.0),
        Strip("head", frames(), "jump", [("run", 0.7)], video=odd, end_s=2.0),
        Strip("old", frames(), "jump", [("jump", 0.7)], unplayed="mpeg4 in .avi"),
    ]
    path = write_report(page_folder, Report(strips=strips, title="<b>", run="../report.html"), name="x.html")
    assert path == page_folder / "x.html"
    page = read(path)
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("video", "src")]
    assert [source.partition("#t=")[2] for source in sources] == ["", "0.5,1.25", "2", "0,2"]
    for source in sources:  # as a browser finds it
        address = urljoin(path.as_uri(), source)
        assert address.startswith("file:///")
        assert Path(unquote(urlsplit(address).path)) == odd
    assert "mpeg4 in .avi" in page.text
    assert page.tags.count("video") == 4
    posters = [value for tag, name, value in page.attributes if name == "poster"]
    assert all(value.startswith("data:image/jpeg;base64,") for value in posters)
    policy = next(
        value for tag, name, value in page.attributes if name == "content" and "default-src" in value
    )
    assert "media-src 'self' file:;" in policy


def test_settings_are_folded_and_commands_are_not(tmp_path):
    path = write_report(
        tmp_path, Report(settings={"optim": {"lr": 0.25}}, commands=["praxiscope train <videos>"])
    )
    text = path.read_text(encoding="utf-8")
    folded = "".join(re.findall(r"<details>.*?</details>", text, re.DOTALL))
    assert "lr: 0.25" in folded
    assert "praxiscope train &lt;videos&gt;" in text
    assert "praxiscope train" not in folded


def test_tests_are_linked_with_their_figures(tmp_path):
    few, many = ({"top1": 0.5, "top5": 1.0, "videos": 8, "classes": k} for k in (4, 40))
    links = [
        TestLink("tests/a.html", "2026-11-28", "ours", "1x1", "step-00000012", few),
        TestLink("tests/<b>.html", "2026-11-27", "<theirs>", "25x1", figures=many),
        TestLink("tests/c.html", "", "c", ""),
    ]
    page = read(write_report(tmp_path, Report(tests=links)))
    assert [v for t, n, v in page.attributes if (t, n) == ("a", "href")] == [link.href for link in links]
    assert page.text.count("50.0 %") == 2
    assert page.text.count("100.0 %") == 1  # the best five of four classes are no figure
    assert "<theirs>" in page.text
    assert page.text.count("step-00000012") == 1


@pytest.mark.parametrize(("classes", "shown"), [(4, False), (5, False), (6, True)])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_best_five_of_five_classes_are_not_shown(tmp_path, classes, shown, multi_label):
    scores = scores_of([f"c{k}" for k in range(classes)], multi_label=multi_label)
    page = read(write_report(tmp_path, Report(scores=scores)))
    assert ("Top-5" in page.text or "Hit@5" in page.text) is shown
    names = {"top5", "hit5"} & summarise(scores).keys()
    assert len(names) == 1
    assert bool(names & shown_figures(summarise(scores)).keys()) is shown
