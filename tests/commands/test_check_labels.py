"""`praxiscope check --labels`: which clips and pairs it lists, and what it writes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import praxiscope as px
from praxiscope.data.csvfile import write_csv
from praxiscope.data.label_trouble import COLUMNS, trouble_lines
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.types import VideoRecord
from support import Call, make_store, write_clip

WRONG = ("b/1.mp4", "b/2.mp4")  # they look like a


def store(root: Path, *, videos: bool = False, **changed: Any) -> Path:
    """Features of 8 clips of each of two classes; two clips of "b" look like "a", and b/7 is a copy of a/0."""
    draw = np.random.default_rng(0)
    names = [f"{label}/{number}.mp4" for label in "ab" for number in range(8)]
    features = {}
    for number, name in enumerate(names):
        seen = "a" if name in (*WRONG, "b/7.mp4") else name[0]
        rows = draw.normal(size=(3, 40))
        rows[:, slice(0, 10) if seen == "a" else slice(10, 20)] += 2
        features[name] = (rows.mean(0) * 3 + 0.1 * rows).astype(np.float32)
        if videos:
            write_clip(root / "videos" / name, number % 3, frames=4, seed=number)
    features["b/7.mp4"] = features["a/0.mp4"][[1, 0, 2]]
    given = {
        "labels": {name: name[0] for name in names},
        "splits": {name: "test" if name[2] in "67" else "train" for name in names},
        **changed,
    }
    return Path(make_store(root / "features", features, **given).root)


def test_clips_with_wrong_labels_and_copies_across_splits_are_listed(tmp_path: Path) -> None:
    found = px.check(labels=store(tmp_path)).label_trouble
    assert found is not None
    # The copy is doubtful, and makes its original doubtful, which has another label.
    assert {one.record.id for one in found.suspects[:4]} == {*WRONG, "a/0.mp4", "b/7.mp4"}
    first = next(one for one in found.suspects if one.record.id in WRONG)
    assert (first.record.labels, first.suggested) == (("b",), "a")
    assert first.own_probability + first.probability == pytest.approx(1)
    assert first.margin == pytest.approx(np.log(first.own_probability / first.probability), rel=1e-3)
    (pair,) = found.duplicates
    assert [record.id for record in pair.records] == ["a/0.mp4", "b/7.mp4"]
    assert (pair.splits_differ, pair.labels_differ) == (True, True)
    assert pair.frames in ((0, 1), (1, 0), (2, 2))
    assert (found.judged, found.unjudged, found.without_label, found.without_features) == (16, (), 0, ())


def test_labels_are_those_of_the_data_that_is_given(tmp_path: Path) -> None:
    features = store(tmp_path)
    records = load_records(features).records
    corrected = [
        VideoRecord(one.id, one.path, ("a",) if one.id in WRONG else one.labels, split=one.split)
        for one in records
    ]
    for record in corrected:
        record.path.parent.mkdir(parents=True, exist_ok=True)
        record.path.touch()
    write_csv(tmp_path / "videos" / "list.csv", corrected)
    found = px.check(tmp_path / "videos" / "list.csv", labels=features).label_trouble
    assert found is not None
    assert not {one.record.id for one in found.suspects} & set(WRONG)


def test_a_group_is_held_out_as_a_whole(tmp_path: Path) -> None:
    # With a/0 to a/7 in one group nothing else shows what "a" looks like, so no clip of it can be judged.
    groups = {f"{label}/{number}.mp4": "one" if label == "a" else "" for label in "ab" for number in range(8)}
    found = px.check(labels=store(tmp_path, groups=groups)).label_trouble
    assert found is not None
    assert found.unjudged == tuple(f"a/{number}.mp4" for number in range(8))


def test_clips_without_label_and_of_a_single_group_are_counted(tmp_path: Path) -> None:
    labels = {f"{label}/{number}.mp4": label for label in "ab" for number in range(8)}
    labels["a/7.mp4"], labels["b/3.mp4"] = "a|b", "c"
    features = store(tmp_path, labels=labels)
    listed = [
        replace(one, labels=() if one.id == "a/6.mp4" else one.labels)
        for one in load_records(features).records
    ]
    write_csv(features / "praxiscope.csv", listed)
    found = px.check(labels=features).label_trouble
    assert found is not None
    assert (found.without_label, found.unjudged, found.judged) == (2, ("b/3.mp4",), 13)


def test_one_class_is_no_error_and_copies_are_found(tmp_path: Path) -> None:
    labels = {f"{label}/{number}.mp4": "a" for label in "ab" for number in range(8)}
    found = px.check(labels=store(tmp_path, labels=labels)).label_trouble
    assert found is not None
    assert (found.judged, found.suspects, len(found.unjudged), len(found.duplicates)) == (0, (), 16, 1)
    assert any("only one class" in line for line in trouble_lines(found))


def test_several_labels_and_other_features_are_refused(tmp_path: Path) -> None:
    names = {f"{label}/{number}.mp4": label for label in "ab" for number in range(8)}
    with pytest.raises(DataError, match="several labels"):
        px.check(labels=store(tmp_path / "x", labels={**names, "a/1.mp4": "a|b"}))
    features = store(tmp_path / "y")
    for number in range(4):
        write_clip(tmp_path / "other" / "ab"[number % 2] / f"clip{number}.mp4", 0, frames=2)
    with pytest.raises(DataError, match=r"a/clip0\.mp4"):
        px.check(tmp_path / "other", labels=features)
    with pytest.raises(DataError, match="holds no features"):
        px.check(tmp_path / "other", labels=tmp_path / "other")
    with pytest.raises(ArgumentError, match="labels"):
        px.check()


# ------------------------------------------------------------------------------------------ the command


def test_the_command_writes_a_table_and_two_pictures(call: Call, tmp_path: Path) -> None:
    features = store(tmp_path, videos=True)
    done = call("check", "--labels", features, "--picture", "found.png", "--out", "found.csv", "--workers", 1)
    assert done.code == 0, done.err
    for word in (*WRONG, "found.png", "found_duplicates.png", "found.csv"):
        assert word in done.out
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    doubtful = [row for row in rows if row["trouble"] == "label"]
    found = {row["id"]: (row["label"], row["suggested"]) for row in doubtful}
    assert [found[name] for name in WRONG] == [("b", "a"), ("b", "a")]
    (pair,) = (row for row in rows if row["trouble"] == "duplicate")
    assert (pair["id"], pair["split"], pair["other_id"], pair["other_split"]) == (
        "a/0.mp4",
        "train",
        "b/7.mp4",
        "test",
    )
    for name in ("found.png", "found_duplicates.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB"), dtype=float)
        assert (np.ptp(pixels, axis=2) > 60).sum() > 1000  # the coloured squares of the clips


def test_videos_that_are_gone_are_missing_and_their_labels_are_checked(call: Call, tmp_path: Path) -> None:
    done = call("check", "--labels", store(tmp_path), "--json", "--picture", "found.png")
    assert done.code == 1
    report = json.loads(done.out)
    assert (len(report["missing"]), report["videos"]) == (16, 0)
    trouble = report["label_trouble"]
    assert {one["id"] for one in trouble["suspects"]} >= {*WRONG, "b/7.mp4"}
    assert trouble["duplicates"][0]["splits"] == ["train", "test"]
    assert (tmp_path / "found.png").is_file()  # with an empty panel for each clip


@pytest.mark.parametrize(
    ("words", "named", "code"),
    [
        ("check", "--labels", 2),
        ("check --labels nowhere", "nowhere", 1),
        ("check . --picture a.png", "--picture", 2),
        ("check . --out a.csv", "--out", 2),
        ("check . --labels {store} --out a.txt", "a.txt", 2),
        ("check . --labels {store} --picture a.txt", "a.txt", 2),
    ],
)
def test_wrong_arguments_are_one_line(call: Call, tmp_path: Path, words: str, named: str, code: int) -> None:
    done = call(words.format(store=store(tmp_path)))
    assert (done.code, len(done.err.splitlines())) == (code, 1)
    assert named in done.err
