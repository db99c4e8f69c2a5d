"""Testing a run: which videos are taken, what is said of them, and the files that are left."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint
from praxiscope.cli import main as entry
from praxiscope.commands import test as module
from praxiscope.commands.report import report_run
from praxiscope.commands.train import train
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import load_yaml, override
from runs import run_test
from support import SMALL, write_clip
from support import read_page as read


@pytest.fixture(scope="module", autouse=True)
def _report_pixels() -> None:
    """Reports here are as users get them, with the pixels of their figures."""


class Listener(Reporter):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str = "") -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = override(
        get_recipe("default"),
        [*SMALL, "optim.epochs=1", f"data.source={colour_set}", "run.validate_epochs=0"],
    )
    assert train(settings, folder)
    return folder


real_report = module.report_test


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than testing these clips; one test below looks at the report."""
    monkeypatch.setattr(module, "report_test", lambda *args, **options: None)


def sides(run: Path) -> dict[str, set[str]]:
    rows = list(csv.DictReader((run / "split.csv").open()))
    return {side: {row["id"] for row in rows if row["split"] == side} for side in ("train", "test")}


def relist(colour_set: Path, path: Path, *columns: str, label: str | None = None, split: str = "") -> Path:
    """A CSV of the colour set's videos, two of each class."""
    rows = ["path,label,split"]
    for name in ("red", "green", "blue"):
        for number in range(2):
            rows.append(f"{colour_set / name / f'{number}.mp4'},{label or name},{split}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_of_a_set_without_splits_the_runs_own_held_out_videos_are_tested(run: Path, colour_set: Path) -> None:
    listener = Listener()
    result = run_test(run, colour_set, protocol="2x1", workers=0, reporter=listener)
    assert set(result.scores.ids) == sides(run)["test"]
    assert result.figures["videos"] == len(sides(run)["test"]) > 0
    assert any("test videos" in note for note in result.notes)
    assert not any("trained on" in note for note in result.notes)
    assert [line for line in listener.lines if line.startswith("Note: ")] == [
        f"Note: {n}" for n in result.notes
    ]
    training = run_test(run, colour_set, protocol="1x1", workers=0, subset="train")
    assert set(training.scores.ids) == sides(run)["train"]


def test_other_videos_without_splits_are_all_tested(run: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("red", "green")):
        write_clip(tmp_path / "new" / name / "other.mp4", number, seed=77)
    result = run_test(run, tmp_path / "new", protocol="1x1", workers=0)
    assert result.scores.ids == ["green/other.mp4", "red/other.mp4"]
    assert any("2 videos" in note for note in result.notes)
    # Targets are the model's class numbers, not those of a set that lacks a class.
    assert result.scores.classes == ["blue", "green", "red"]
    assert result.scores.targets.tolist() == [1, 2]
    assert result.figures["classes_without_videos"] == ["blue"]


def test_videos_that_the_run_was_trained_on_are_named(run: Path, colour_set: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    rows = ["path,label,split"]
    for name in ("red", "green", "blue"):
        shutil.copytree(colour_set / name, copy / name)
        rows += [f"{name}/{path.name},{name},test" for path in sorted((copy / name).iterdir())[:3]]
    (copy / "list.csv").write_text("\n".join(rows) + "\n")
    result = run_test(run, copy / "list.csv", protocol="1x1", workers=0)
    seen = [video for video in result.scores.ids if video in sides(run)["train"]]
    assert seen
    assert any(f"{len(seen)} of 9" in note and seen[0] in note for note in result.notes)


def test_the_scores_file_says_how_it_was_made(run: Path, colour_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "scores.npz"
    result = run_test(run, colour_set, protocol="3x10", workers=0, out=out)
    scores = px.Scores.load(out)
    assert scores.ids == result.scores.ids
    np.testing.assert_array_equal(scores.logits, result.scores.logits)
    expected = {
        "name": "3x10",
        "temporal_views": 3,
        "crops": "ten",
        "model": "tsn",
        "backbone": "squeezenet1_1",
        "streams": ["rgb"],
        "size": 32,
        "short_side_ratio": 36 / 32,
        "data": colour_set.name,
        "split": None,
        "subset": "test",
    }
    assert expected.items() <= scores.protocol.items()
    three = run_test(run, colour_set, protocol="1x3", workers=0).scores
    assert three.protocol["short_side_ratio"] == 1


def test_scores_do_not_depend_on_the_number_of_reading_processes(run: Path, colour_set: Path) -> None:
    one = run_test(run, colour_set, protocol="2x1", workers=0).scores
    two = run_test(run, colour_set, protocol="2x1", workers=2).scores
    assert one.ids == two.ids
    np.testing.assert_array_equal(one.logits, two.logits)


def test_unknown_labels_are_named_before_anything_is_read(
    run: Path, colour_set: Path, tmp_path: Path
) -> None:
    data = relist(colour_set, tmp_path / "list.csv", label="violet", split="test")
    with pytest.raises(px.DataError, match=r"6 videos.* violet.* 3: blue"):
        run_test(run, data, workers=0)


def test_a_model_of_one_label_is_tested_on_several_and_on_none(
    run: Path, colour_set: Path, tmp_path: Path
) -> None:
    data = relist(colour_set, tmp_path / "list.csv", label="red|blue", split="test")
    data.write_text(data.read_text() + f"{colour_set / 'red' / '5.mp4'},,test\n")
    result = run_test(run, data, protocol="1x1", workers=0)
    assert result.scores.targets.tolist() == [[1, 0, 1]] * 6 + [[0, 0, 0]]  # blue, green, red
    best = result.scores.logits[:6].argmax(axis=1)
    assert result.figures["top1"] == (best != 1).mean()
    assert (result.figures["videos"], result.figures["labelled"]) == (7, 6)
    assert any("1 of 7" in note for note in result.notes)
    assert any("1 of 3 classes" in note for note in result.notes)


def test_a_part_of_the_data_that_is_empty_is_an_error(run: Path, colour_set: Path, tmp_path: Path) -> None:
    data = relist(colour_set, tmp_path / "list.csv", split="test")
    with pytest.raises(px.DataError, match=r"list: .*val"):
        run_test(run, data, workers=0, subset="val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "25by10"}, "'25by10'"),
        ({"subset": "tset"}, r"subset .*\btrain\b.*\bval\b.*\btest\b.*'tset'"),
        ({"out": "scores.csv"}, r"scores\.csv.*\.parquet"),
    ],
)
def test_mistakes_are_found_before_the_model_is_loaded(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(px.ArgumentError, match=message):
        run_test(tmp_path / "no run", tmp_path, **options)  # type: ignore[arg-type]


@pytest.fixture
def broken_set(tmp_path: Path) -> Path:
    for name in ("red", "green"):
        for number in range(3):
            write_clip(tmp_path / "videos" / name / f"x{number}.mp4", number, seed=number)
    (tmp_path / "videos" / "red" / "x1.mp4").write_text("no video\n" * 100)
    return tmp_path / "videos"


def test_broken_videos_are_left_out_listed_and_counted(run: Path, broken_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores" / "scores.npz"
    result = run_test(run, broken_set, protocol="1x1", workers=2, out=out)
    assert [skip.id for skip in result.skipped] == ["red/x1.mp4"]
    assert len(result.scores) == 5
    rows = list(csv.DictReader((tmp_path / "scores" / "skipped_test.csv").open()))
    assert [row["id"] for row in rows] == ["red/x1.mp4"]
    with pytest.raises(px.TrainingError, match=r"1 of 6 videos.*--max-skip 0"):
        run_test(run, broken_set, protocol="1x1", workers=0, out=out, max_skip=0)


def test_what_a_test_skipped_stays_known_after_the_next(
    run: Path, broken_set: Path, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "report_test", real_report)
    run = Path(shutil.copytree(run, tmp_path / "run"))
    first, second = (
        run_test(run, data, protocol="1x1", workers=0).report for data in (broken_set, colour_set)
    )
    assert first is not None
    assert second is not None
    assert list(json.loads(first.with_suffix(".json").read_text())["skipped"]) == ["red/x1.mp4"]
    assert json.loads(second.with_suffix(".json").read_text())["skipped"] == {}


def test_nothing_but_broken_videos_is_an_error(run: Path, tmp_path: Path) -> None:
    (tmp_path / "videos" / "red").mkdir(parents=True)
    (tmp_path / "videos" / "red" / "x.mp4").write_text("no video\n" * 100)
    with pytest.raises(px.DataError, match=r"1 video.*x\.mp4"):
        run_test(run, tmp_path / "videos", workers=0, out=tmp_path / "scores.npz")
    assert not (tmp_path / "scores.npz").exists()
    assert (tmp_path / "skipped_test.csv").is_file()


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def test_each_test_has_a_report_of_its_own_and_the_runs_links_them_all(
    run: Path, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "report_test", real_report)
    run = Path(shutil.copytree(run, tmp_path / "run"))
    for number, name in enumerate(("red", "green")):
        write_clip(tmp_path / "new clips" / name / "other.mp4", number, seed=77)
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    kept: dict[str, bytes] = {}
    pages = []
    for data, protocol, subset in (
        (colour_set, "2x1", "test"),
        (tmp_path / "new clips", "1x1", "test"),
        (colour_set, "2x1", "test"),  # the same again
        (colour_set, "2x1", "train"),
    ):
        result = run_test(
            run, data, protocol=protocol, subset=subset, workers=0, command=f"praxiscope test {data}"
        )
        assert result.report is not None
        pages.append(result.report)
        assert kept.items() <= texts(run / "tests").items()  # none was replaced
        kept = texts(run / "tests")
        page = read(result.report)
        assert any(video in page.text for video in result.scores.ids)
        assert f"praxiscope test {data}" in page.text
        assert ("a", "href", "../report.html") in page.attributes
        about = json.loads(result.report.with_suffix(".json").read_text())
        assert about["figures"] == result.figures
        assert about["source"] == str(data)
        assert about["checkpoint"] == find_checkpoint(run).name
        for note in result.notes:
            assert note in page.text
    name = colour_set.name
    assert [page.name for page in pages] == [
        f"{name}-2x1-{today}.html",
        f"new_clips-1x1-{today}.html",
        f"{name}-2x1-{today}-2.html",
        f"{name}-train-2x1-{today}.html",
    ]
    titles = [re.search("<title>(.*?)</title>", page.read_text()) for page in pages]
    assert all(found and "tsn (squeezenet1_1)" in found[1] and today in found[1] for found in titles)
    main = read(run / "report.html")
    links = [value for tag, key, value in main.attributes if (tag, key) == ("a", "href")]
    assert sorted(links) == sorted(f"tests/{page.name}" for page in pages)
    assert all((run / link).is_file() for link in links)


def test_a_runs_report_names_model_data_date_and_command(run: Path, colour_set: Path, tmp_path: Path) -> None:
    page = read(run / "report.html")
    first = (run / "commands.txt").read_text().splitlines()
    assert len(first) == 1
    title = re.search("<title>(.*?)</title>", (run / "report.html").read_text())
    assert title
    assert all(part in title[1] for part in ("tsn (squeezenet1_1)", colour_set.name, first[0][:10]))
    assert first[0] in page.text
    repeat = re.search(r"To repeat it: praxiscope (.*?) --out NEW", page.text)
    assert repeat
    again = get_recipe(repeat[1].split()[-1])
    assert again == load_yaml(run / "settings.yaml")


def test_the_command_that_repeats_a_run_can_be_pasted(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run, tmp_path / "it's run 2"))
    report_run(moved)
    repeat = re.search(r"To repeat it: (.*? --out NEW)", read(moved / "report.html").text)
    assert repeat
    words = shlex.split(repeat[1])
    assert words == ["praxiscope", "train", "--recipe", str(moved / "settings.yaml"), "--out", "NEW"]


def test_the_figures_of_few_classes_have_no_top5_on_paper(
    run: Path,
    colour_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "report_test", real_report)
    run = Path(shutil.copytree(run, tmp_path / "run"))
    words = ["praxiscope", "test", str(run), str(colour_set), "--protocol", "1x1", "--workers", "0"]
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        assert ended.value.code == 0
        out = capsys.readouterr().out
        if more:  # for programs it is there, and what it must be
            answer = json.loads(out)
            assert answer["top5"] == 1
            assert Path(answer["report"]).is_file()
        else:
            assert "top1" in out
            assert "top5" not in out
    for page in [run / "report.html", *(run / "tests").glob("*.html")]:
        assert "Top-1" in read(page).text
        assert "Top-5" not in read(page).text


def test_a_damaged_list_of_figures_costs_its_row_only(
    run: Path, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "report_test", real_report)
    run = Path(shutil.copytree(run, tmp_path / "run"))
    first = run_test(run, colour_set, protocol="1x1", workers=0).report
    assert first is not None
    first.with_suffix(".json").write_text("{")
    second = run_test(run, colour_set, protocol="2x1", workers=0).report
    assert second is not None
    links = [value for tag, key, value in read(run / "report.html").attributes if (tag, key) == ("a", "href")]
    assert sorted(links) == sorted(f"tests/{page.name}" for page in (first, second))


def test_a_report_that_cannot_be_written_does_not_cost_the_figures(
    run: Path, colour_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "report.html")

    monkeypatch.setattr(module, "report_test", refuse)
    result = run_test(run, colour_set, protocol="1x1", workers=0)
    assert "top1" in result.figures
    assert any("Permission denied" in note for note in result.notes)


def test_a_model_folder_is_tested_like_its_run(run: Path, colour_set: Path, tmp_path: Path) -> None:
    [checkpoint] = (run / "checkpoints").iterdir()
    shutil.copytree(checkpoint, tmp_path / "model")
    alone = run_test(tmp_path / "model", colour_set, protocol="1x1", workers=0)
    assert len(alone.scores) == 24  # it knows of no split
    whole = run_test(run, colour_set, protocol="1x1", workers=0).scores
    np.testing.assert_allclose(alone.scores.reordered(whole.ids).logits, whole.logits, atol=1e-5)


def test_the_validation_videos_of_a_run_are_those_that_it_held_out(tmp_path: Path) -> None:
    from praxiscope.commands.test import _choose
    from praxiscope.data.manifest import Manifest
    from praxiscope.data.splitlist import SplitList, write_split
    from praxiscope.types import VideoRecord

    rows = {"a": "train", "b": "train", "c": "test"}
    records = tuple(VideoRecord(id, Path(id), ("x",), split=split) for id, split in rows.items())
    manifest = Manifest(records, ("x",), False, "set", Path())
    write_split(tmp_path, [replace(r, split="val") if r.id == "b" else r for r in records])
    for subset, ids in (("val", ["b"]), ("test", ["c"])):
        notes: list[str] = []
        assert [record.id for record in _choose(manifest, SplitList(tmp_path), subset, notes)] == ids
        assert notes == []
    with pytest.raises(px.DataError, match="val"):
        _choose(manifest, SplitList(tmp_path / "none"), "val", [])
