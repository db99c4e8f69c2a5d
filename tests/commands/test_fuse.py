"""``praxiscope fuse``, from files to files, by its entry point."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from praxiscope.commands.fuse import fuse
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.report import Report, write_report
from praxiscope.evaluation.scores import Scores
from support import Call, Result


def stream(
    source: str,
    prefix: str,
    seed: int,
    strength: float,
    noise: float,
    n: int = 90,
    k: int = 6,
    **protocol: object,
) -> Scores:
    """Scores that lean towards the class of video i, which is i modulo k."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % k
    logits = strength * np.eye(k)[targets] + rng.normal(scale=noise, size=(n, k))
    described = {"name": "25x10", "streams": [source], "model": "tsn", "split": "1", **protocol}
    return Scores(
        [f"{prefix}/{i}.avi" for i in range(n)], logits, targets, [f"class {i}" for i in range(k)], described
    )


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    """rgb.npz and flow.npz, both half right; rgb_train.npz and flow_train.npz; multi1 and multi2."""
    for number, name in enumerate(("rgb", "flow")):
        stream(name, "test", number, 2, 1.5).save(tmp_path / f"{name}.npz")
        stream(name, "train", number + 5, 2.5, 1.5, subset="train").save(tmp_path / f"{name}_train.npz")
        several = stream(name, "test", number, 2, 1.5)
        several = Scores(several.ids, several.logits, np.eye(6)[several.targets], several.classes)
        several.save(tmp_path / f"multi{number + 1}.npz")


def document(result: Result) -> dict[str, object]:
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert isinstance(found, dict)
    return found


def test_one_document_holds_the_fused_figures_and_every_files_own(call: Call) -> None:
    found = document(call("fuse rgb.npz flow.npz --weights 1,1.5 --json"))
    rgb, flow = Scores.load("rgb.npz"), Scores.load("flow.npz")
    fused = rgb.logits + 1.5 * flow.logits
    assert found["top1"] == (fused.argmax(axis=1) == rgb.targets).mean()
    assert found["top1"] > max(summarise(rgb)["top1"], summarise(flow)["top1"])  # type: ignore[operator]
    assert (found["kind"], found["weights"], found["svm"]) == ("weighted", [1.0, 1.5], None)
    assert found["sources"] == [
        {"file": "rgb.npz", **summarise(rgb)},
        {"file": "flow.npz", **summarise(flow)},
    ]
    assert (found["protocol"], found["scores"], found["notes"]) == ("25x10", None, [])


def test_the_default_is_the_mean_of_softmax(call: Call) -> None:
    found = document(call("fuse rgb.npz flow.npz --json"))
    assert (found["kind"], found["weights"]) == ("average", [1.0, 1.0])
    rgb, flow = (Scores.load(name).logits.astype(float) for name in ("rgb.npz", "flow.npz"))
    chances = sum(np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (rgb, flow))
    assert found["top1"] == (chances.argmax(axis=1) == np.arange(90) % 6).mean()


@pytest.mark.parametrize("kind", ["average", "weighted", "l1", "l2"])
def test_weights_go_with_every_kind(call: Call, kind: str) -> None:
    found = document(call(f"fuse rgb.npz flow.npz --kind {kind} --weights 1,0 --json"))
    assert found["kind"] == kind
    assert found["top1"] == found["sources"][0]["top1"]  # type: ignore[index]


def test_a_table_shows_every_file_and_the_fusion(call: Call) -> None:
    result = call("fuse rgb.npz flow.npz --weights 1,1.5")
    assert result.code == 0
    rows = [line for line in result.out.splitlines() if "│" in line]
    top1 = [summarise(Scores.load(name))["top1"] for name in ("rgb.npz", "flow.npz")]
    assert all(word in result.out for word in ("top1", "top5", "mean_class_accuracy"))
    assert "rgb.npz" in rows[0]
    assert f"{top1[0]:.4f}" in rows[0]
    assert "flow.npz" in rows[1]
    assert f"{top1[1]:.4f}" in rows[1]
    assert "fused (weighted, 1 : 1.5)" in rows[2]
    assert re.search(r"\b90 videos\b.*\b90\b.*\b6 classes\b", result.err)


def test_five_classes_have_no_top5(call: Call, tmp_path: Path) -> None:
    for number in (1, 2):
        stream("rgb", "test", number, 2, 1, k=5).save(tmp_path / f"five{number}.npz")
    assert "top5" not in call("fuse five1.npz five2.npz").out
    assert "top5" in call("fuse rgb.npz flow.npz").out


def test_multi_label_scores_are_told_by_map(call: Call) -> None:
    result = call("fuse multi1.npz multi2.npz")
    assert (result.code, "top1" in result.out, "map" in result.out) == (0, False, True)


def test_scores_without_any_label_are_fused_without_figures(call: Call, tmp_path: Path) -> None:
    for name in ("rgb", "flow"):
        scores = Scores.load(tmp_path / f"{name}.npz")
        scores.targets[:] = -1
        scores.save(tmp_path / f"{name}.npz")
    result = call("fuse rgb.npz flow.npz --out f.npz")
    assert result.code == 0
    assert re.search(r"\b90 videos\b.*\b0\b", result.err)
    assert len(Scores.load(tmp_path / "f.npz")) == 90


def test_a_file_without_labels_has_empty_cells_and_takes_the_others_labels(
    call: Call, tmp_path: Path
) -> None:
    scores = Scores.load(tmp_path / "rgb.npz")
    scores.targets[:] = -1
    scores.save(tmp_path / "rgb.npz")
    result = call("fuse rgb.npz flow.npz")
    rows = [line for line in result.out.splitlines() if "│" in line]
    assert set(rows[0].removeprefix("│ rgb.npz")) == {"│", " "}
    assert re.search(r"\b90 videos\b.*\b90\b", result.err)


def test_the_fused_file_is_read_by_all_that_read_scores(call: Call, tmp_path: Path) -> None:
    found = document(call("fuse rgb.npz flow.npz --out new/fused.npz --json"))
    assert found["scores"] == "new/fused.npz"
    fused = Scores.load(tmp_path / "new" / "fused.npz")
    assert summarise(fused)["top1"] == found["top1"]
    assert [s["name"] for s in fused.protocol["fusion"]["sources"]] == ["rgb.npz", "flow.npz"]
    assert (fused.protocol["name"], fused.protocol["streams"]) == ("25x10", ["rgb", "flow"])
    stream("audio", "test", 9, 2, 1).save(tmp_path / "audio.npz")
    again = document(call("fuse new/fused.npz audio.npz --kind average --weights 2,1 --json"))
    three = document(call("fuse rgb.npz flow.npz audio.npz --json"))
    assert again["top1"] == three["top1"]
    page = write_report(tmp_path / "report", Report(scores=fused)).read_text(encoding="utf-8")
    assert "flow.npz" in page


# ------------------------------------------------------------------------------------------------- the SVM


@pytest.mark.parametrize(
    "words", ["--svm rgb_train.npz --svm flow_train.npz", "--svm rgb_train.npz,flow_train.npz"]
)
def test_training_files_come_by_repeated_options_or_a_list(call: Call, words: str) -> None:
    found = document(call(f"fuse rgb.npz flow.npz {words} --out svm.npz --json"))
    assert (found["kind"], found["weights"]) == ("svm", None)
    svm = found["svm"]
    assert isinstance(svm, dict)
    best = max(svm["cross_validated"].values())
    assert svm["cross_validated"][str(svm["c"])] == best
    assert len(svm["cross_validated"]) == 5
    assert Scores.load("svm.npz").protocol["fusion"]["training"] == ["rgb_train.npz", "flow_train.npz"]
    assert found["top1"] > max(own["top1"] for own in found["sources"])  # type: ignore[attr-defined]


def test_the_svm_and_its_c_are_shown(call: Call) -> None:
    result = call("fuse rgb.npz flow.npz --svm rgb_train.npz --svm flow_train.npz --svm-c 0.5")
    assert "fused (svm, C = 0.5)" in result.out


def test_a_file_name_may_hold_a_comma(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rgb_train.npz").rename(tmp_path / "a,b.npz")
    assert call("fuse rgb.npz flow.npz --svm a,b.npz --svm flow_train.npz --svm-c 1").code == 0


def test_memorised_training_scores_and_other_views_are_noted(call: Call, tmp_path: Path) -> None:
    for number, name in enumerate(("rgb", "flow")):
        stream(name, "train", number, 20, 1, name="25x1").save(tmp_path / f"{name}_train.npz")
    words = "fuse rgb.npz flow.npz --svm rgb_train.npz,flow_train.npz --svm-c 1"
    notes = document(call(f"{words} --json"))["notes"]
    assert isinstance(notes, list)
    assert len(notes) == 2
    assert "little" in notes[0]
    assert "25x1 and 25x10" in notes[1]
    assert call(words).err.count("Note: ") == 2


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        ("rgb.npz", 2, ["2", "1"]),
        ("rgb.npz none.npz", 1, ["none.npz", "praxiscope test"]),
        ("rgb.npz ./rgb.npz", 2, ["rgb.npz"]),
        ("rgb.npz flow.npz --weights 1", 2, ["weights", "2", "1"]),
        ("rgb.npz flow.npz --weights 1:2", 2, ["--weights", "'1:2'"]),
        ("rgb.npz flow.npz --weights 1,-2", 2, ["weights", "-2"]),
        ("rgb.npz flow.npz --kind mean", 2, ["'mean'", "average"]),
        ("rgb.npz flow.npz --out rgb.npz", 2, ["--out rgb.npz"]),
        ("rgb.npz flow.npz --out o.csv", 2, ["--out o.csv", ".npz", ".parquet"]),
        ("rgb.npz flow.npz --svm-c 1", 2, ["--svm-c", "--svm"]),
        ("rgb.npz flow.npz --svm rgb_train.npz,flow_train.npz --kind l2", 2, ["--svm", "--kind"]),
        ("rgb.npz flow.npz --svm rgb_train.npz flow_train.npz", 2, ["3", "--svm A --svm B"]),
        ("rgb.npz flow.npz --svm flow_train.npz,rgb_train.npz", 1, ["flow_train.npz", "rgb.npz"]),
        ("rgb.npz flow_train.npz", 1, ["flow_train.npz", "90", "test/0.avi"]),
        ("rgb.npz multi2.npz", 1, ["rgb.npz", "multi2.npz"]),
        ("multi1.npz multi2.npz --svm rgb_train.npz,flow_train.npz", 1, ["multi1.npz"]),
    ],
)
def test_mistakes_end_with_one_line(
    call: Call, words: str, code: int, parts: list[str], tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = call(f"fuse {words}")
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) == 1
    for part in parts:
        assert part in result.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_views_are_refused_unless_they_are_wanted(call: Call, tmp_path: Path) -> None:
    stream("flow", "test", 1, 2, 1.5, name="25x1").save(tmp_path / "flow.npz")
    result = call("fuse rgb.npz flow.npz")
    assert result.code == 1
    assert all(word in result.err for word in ("rgb.npz", "flow.npz", "'25x10'", "'25x1'"))
    assert document(call("fuse rgb.npz flow.npz --any-protocol --json"))["protocol"] == "25x10+25x1"


def test_the_help_shows_examples(call: Call) -> None:
    text = " ".join(call("fuse --help").out.split())
    assert "Example: praxiscope fuse rgb.npz flow.npz" in text
    assert "--svm rgb_train.npz --svm flow_train.npz" in text


def test_the_recipe_is_callable_from_python() -> None:
    with pytest.raises(ArgumentError, match=r"\b2\b.*\b0\b"):
        fuse([])
