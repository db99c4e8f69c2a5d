"""The THUMOS14 protocol on a small copy of its layout: single labels in training, several or none at test."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import praxiscope as px
from praxiscope.cli.main import app
from praxiscope.commands.train import train
from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from praxiscope.training.log import read_log
from support import SMALL, write_clip

COLOURS = ("Red", "Green", "Blue")
# Subset and labels by video; a label that stands twice is a class that occurs twice.
LISTED: dict[str, tuple[str, list[str]]] = {
    "video_validation_0000001": ("val", ["Red", "Red", "Green"]),
    "video_validation_0000002": ("val", ["Blue"]),
    "video_validation_0000003": ("val", []),
    "video_test_0000001": ("test", ["Red"]),
    "video_test_0000002": ("test", ["Green", "Red", "Green", "Ambiguous"]),
    "video_test_0000003": ("test", ["Red"]),
    "video_test_0000004": ("test", []),
    "video_test_0000005": ("test", ["Green"]),
    "video_test_0000009": ("test", ["Yellow"]),
}
LABELS = {"video_test_0000001": {"Red"}, "video_test_0000002": {"Green", "Red"}, "video_test_0000003": {"Red"},
          "video_test_0000004": set(), "video_test_0000005": {"Green"}, "video_background_0000001": set()}  # fmt: skip


def annotate(path: Path, listed: dict[str, tuple[str, list[str]]] = LISTED) -> Path:
    """An annotation file in the set's own layout."""
    database = {
        name: {
            "subset": subset,
            "duration": 1.0,
            "fps": 12.0,
            "annotations": [
                {"label": label, "segment": [0.1, 0.9], "label_id": len(label)} for label in labels
            ],
        }
        for name, (subset, labels) in listed.items()
    }
    path.write_text(json.dumps({"version": "mock", "database": database}))
    return path


@pytest.fixture(scope="module")
def thumos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trimmed clips of each colour, and the listed videos but for the last."""
    root = tmp_path_factory.mktemp("thumos")
    folder = root / "videos"
    for number, name in enumerate(COLOURS):
        for group in (1, 2):
            write_clip(folder / name / f"v_{name}_g{group:02d}_c01.avi", number, seed=10 * number + group)
    extra = ["video_background_0000001", "video_test_0000077"]
    for seed, name in enumerate([*list(LISTED)[:-1], *extra]):
        write_clip(folder / f"{name}.mp4", seed, seed=100 + seed)
    annotate(folder / "thumos14.json")
    return folder


@pytest.fixture(scope="module")
def run(thumos: Path) -> Path:
    folder = thumos.parent / "run"
    assignments = [*SMALL, "optim.epochs=1", "optim.batch=3", f"data.source=thumos14:{thumos}"]
    assert train(override(get_recipe("default"), assignments), folder)
    return folder


def document(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def tested(run: Path, thumos: Path) -> tuple[dict[str, Any], Path]:
    """What ``praxiscope test --json`` says, under the protocol of the validation in training, and the scores."""
    out = run.parent / "scores.npz"
    words = ("test", run, f"thumos14:{thumos}", "--protocol", "2x1", "--workers", 0, "--out", out)
    return document(*words), out


def mean_average_precision(chances: np.ndarray, labels: np.ndarray) -> float:
    """In plain numpy: the mean of the precision at every positive, then the mean over the classes that have one."""
    averages = []
    for values, positive in zip(chances.T, labels.T, strict=True):
        if positive.any():
            at_least = [values >= value for value in values[positive]]
            averages.append(np.mean([positive[taken].mean() for taken in at_least]))
    return float(np.mean(averages))


def truth(scores: px.Scores) -> np.ndarray:
    """Labels [n, K], from the list above and not from the scores file."""
    own = [LABELS[Path(name).stem] for name in scores.ids]
    return np.array([[label in labels for label in scores.classes] for labels in own])


def test_the_layout_has_the_subsets_on_their_sides(thumos: Path) -> None:
    manifest = load_records(f"thumos14:{thumos}")
    assert manifest.classes == ("Blue", "Green", "Red")
    assert not manifest.multi_label
    held_out = {Path(record.id).stem: set(record.labels) for record in manifest.of("test")}
    assert held_out == LABELS
    assert [record.group for record in manifest.of("train")].count("Red/g01") == 1
    assert manifest.missing == ("video_test_0000009",)
    for phrase in (
        ": video_test_0000009",
        "1 training video with several labels",
        "1 test video has several labels",
        "2 background videos",
        "6 of the 13320 UCF-101 clips",
        ": Yellow",
        ": video_validation_0000003",
        ": video_test_0000077.mp4",
    ):
        assert any(phrase in note for note in manifest.notes), phrase


def test_a_training_video_is_learned_once_for_each_of_its_labels(run: Path, thumos: Path) -> None:
    manifest = load_records(f"thumos14:{thumos}")
    learned = manifest.to_train()
    twice = [record for record in learned if record.path.stem == "video_validation_0000001"]
    assert [record.labels for record in twice] == [("Red",), ("Green",)]
    assert len(learned) == len(manifest.of("train")) + 1 == 9
    # Both are of the run's three batches of three videos.
    assert max(row["step"] for row in read_log(run / "log.csv")) == 3


@pytest.mark.parametrize("place", ["file", "folder", "videos/annotations", "annotations/thumos14"])
def test_the_annotations_are_found_beside_the_videos_or_named(
    thumos: Path, tmp_path: Path, place: str
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for video in thumos.rglob("*.[am][vp][i4]"):
        (videos / video.name).symlink_to(video)
    with pytest.raises(DataError, match=r"thumos14: .*thumos\*14\*\.json"):
        load_records(f"thumos14:{videos}")
    folder = tmp_path / place
    folder.mkdir(parents=True)
    path = annotate(folder / "thumos14.json")
    named = {"file": path, "folder": folder}.get(place)
    manifest = load_records(f"thumos14:{videos}", annotations=named)
    assert len(manifest.of("test")) == len(LABELS)
    if place == "folder":
        annotate(folder / "thumos14_old.json")
        with pytest.raises(DataError, match=r"2 files .*thumos14\.json, thumos14_old\.json"):
            load_records(f"thumos14:{videos}", annotations=folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"thumos14\.json: .*JSONDecodeError"),
        ('{"videos": 3}', r"KeyError: .database"),
        ('{"database": {"a": {"subset": "test"}}}', r"KeyError: 'annotations'"),
        (
            '{"database": {"a": {"subset": "odd", "annotations": []}}}',
            r"\.json: a .*'odd'",
        ),
    ],
)
def test_damaged_annotations_are_named(thumos: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "thumos14.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_records(f"thumos14:{thumos}", annotations=tmp_path)
    with pytest.raises(DataError, match="split"):
        load_records(f"thumos14:{thumos}", split=1)


def test_the_map_is_that_of_a_plain_twin(tested: tuple[dict[str, Any], Path]) -> None:
    found, out = tested
    scores = px.Scores.load(out)
    labels = truth(scores)
    np.testing.assert_array_equal(scores.targets, labels)
    powers = np.exp(scores.logits.astype(float))
    assert found["map"] == pytest.approx(
        mean_average_precision(powers / powers.sum(axis=1, keepdims=True), labels)
    )
    labelled = labels.any(axis=1)
    best = scores.logits.argmax(axis=1)
    right = [label[k] for label, k in zip(labels[labelled], best[labelled], strict=True)]
    assert found["top1"] == pytest.approx(np.mean(right))
    assert (found["videos"], found["labelled"]) == (6, 4)
    assert found["classes_without_videos"] == ["Blue"]
    assert any(re.search(r"\b2 of 6\b", note) for note in found["notes"])
    assert any("1 of 3 classes" in note and "Blue" in note for note in found["notes"])


def test_training_watches_the_same_map_and_the_loss_of_every_label(
    run: Path, tested: tuple[dict[str, Any], Path]
) -> None:
    found, out = tested
    scores = px.Scores.load(out)
    last = next(row for row in reversed(read_log(run / "log.csv")) if "val_loss" in row)
    # Of six videos, two that are nearly equal may change places by rounding.
    assert last["val_map"] == pytest.approx(found["map"], abs=0.1)
    logits = scores.logits.astype(float)
    losses = np.log(np.exp(logits).sum(axis=1, keepdims=True)) - logits  # cross-entropy with every class
    assert last["val_loss"] == pytest.approx(losses[truth(scores)].mean(), rel=1e-3)


def test_scores_fuse_and_the_report_shows_what_was_found(
    run: Path, tested: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    found, out = tested
    shutil.copy(out, tmp_path / "other.npz")
    for words in ((), ("--weights", "2,3")):
        fused = document("fuse", out, tmp_path / "other.npz", *words, "--out", tmp_path / "fused.npz")
        assert fused["map"] == pytest.approx(found["map"])
        assert fused["top1"] == found["top1"]
        assert not px.Scores.load(tmp_path / "fused.npz").sigmoid
    page = Path(found["report"]).read_text()
    assert "2 of no class" in page
    assert ": Blue" in page
    assert "sigmoid" not in page


def test_check_counts_a_video_for_each_of_its_labels(thumos: Path) -> None:
    found = document("check", f"thumos14:{thumos}")
    assert found["splits"] == {"train": 8, "val": 0, "test": 6}
    assert {name: (c["train"], c["test"]) for name, c in found["classes"].items()} == {
        "Blue": (3, 0), "Green": (3, 2), "Red": (3, 3),
    }  # fmt: skip
    assert found["missing"] == ["video_test_0000009"]


def test_a_packed_copy_follows_the_same_protocol(thumos: Path, tmp_path: Path) -> None:
    from praxiscope.commands.pack import PackFormat, pack

    pack(f"thumos14:{thumos}", tmp_path / "packed", format=PackFormat(32), workers=1)
    own = load_records(f"thumos14:{thumos}")
    packed = load_records(f"thumos14:{tmp_path / 'packed'}", annotations=thumos)
    facts = [[(r.id, r.labels, r.split) for r in m.to_train() + m.of("test")] for m in (own, packed)]
    assert facts[0] == facts[1]
    # As a plain list it is a multi-label set; its videos without a class can be read and tested all the same.
    plain = load_records(tmp_path / "packed")
    assert plain.multi_label
    assert sum(not record.labels for record in plain.of("test")) == 2


def test_the_real_annotations_are_read_whole(data_folder: Path, tmp_path: Path) -> None:
    source = data_folder / "annotations" / "thumos14"
    database = json.loads((source / "thumos14.json").read_text())["database"]
    for name in database:
        (tmp_path / f"{name}.mp4").touch()
    manifest = load_records(f"thumos14:{tmp_path}", annotations=source)
    assert len(manifest.classes) == 20
    assert (len(manifest.of("train")), len(manifest.of("test"))) == (200, 212)
    assert len(manifest.to_train()) == 227
    for record in manifest.records:
        labels = {annotation["label"] for annotation in database[Path(record.id).stem]["annotations"]}
        assert set(record.labels) == labels
        assert len(record.labels) == len(labels)
    assert manifest.missing == ()
    # All but the trimmed clips are missing beside UCF-101's: named and counted, and no crash.
    clips = load_records(f"thumos14:{data_folder / 'ucf101_9'}", annotations=source)
    assert len(clips.records) == 225
    assert sorted(clips.missing) == sorted(database)
