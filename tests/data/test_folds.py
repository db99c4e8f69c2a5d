"""Folds of cross-validation, by group."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxiscope.data.folds import Fold, fold_split, parse_fold
from praxiscope.data.manifest import load_records, write_csv
from praxiscope.data.splits import leaking_groups
from praxiscope.errors import ArgumentError
from praxiscope.types import VideoRecord
from support import write_clip


def _record(name: str, label: str, group: str | None = None) -> VideoRecord:
    return VideoRecord(name, Path(name), (label,), group=group)


records_strategy = st.lists(
    st.tuples(st.sampled_from("ABC"), st.sampled_from([None, *"ghijklm"])), min_size=5, max_size=60
).map(lambda rows: [_record(f"v{i}", label, group) for i, (label, group) in enumerate(rows)])


@settings(max_examples=100, deadline=None)
@given(records_strategy, st.integers(2, 5), st.randoms(use_true_random=False))
def test_every_video_is_tested_once_and_groups_stay_whole(
    records: list[VideoRecord], count: int, chance: object
) -> None:
    if len({record.group or record.id for record in records}) < count:
        with pytest.raises(ArgumentError, match="group"):
            fold_split(records, Fold(1, count))
        return
    tested: Counter[str] = Counter()
    for number in range(1, count + 1):
        split = fold_split(records, Fold(number, count))
        assert [record.id for record in split] == [record.id for record in records]
        assert leaking_groups(split) == {}
        here = [record.id for record in split if record.split == "test"]
        assert here
        assert {record.split for record in split} == {"train", "test"}
        tested.update(here)
        shuffled = list(records)
        chance.shuffle(shuffled)  # type: ignore[attr-defined]
        again = fold_split(shuffled, Fold(number, count))
        assert {record.id for record in again if record.split == "test"} == set(here)
    assert tested == Counter(record.id for record in records)


def test_classes_of_single_groups_are_equally_frequent_in_all_folds() -> None:
    records = [_record(f"{label}{i}", label, f"{label}/g{i}") for label in "ABC" for i in range(25)]
    for number in range(1, 6):
        tested = [record for record in fold_split(records, Fold(number, 5)) if record.split == "test"]
        assert Counter(record.labels[0] for record in tested) == {"A": 5, "B": 5, "C": 5}


def test_as_many_folds_as_persons_leave_one_out() -> None:
    records = [_record(f"{person}{label}", label, person) for person in "pqrs" for label in "ABC"]
    left_out = [
        {record.group for record in fold_split(records, Fold(number, 4)) if record.split == "test"}
        for number in range(1, 5)
    ]
    assert sorted(map(sorted, left_out)) == [["p"], ["q"], ["r"], ["s"]]  # type: ignore[type-var]


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "1/0"])
def test_folds_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        parse_fold(text)


@pytest.mark.parametrize("text", [None, "1", "daria", 2, "1/", "a/5", "1/5/2"])
def test_other_splits_are_no_folds(text: object) -> None:
    assert parse_fold(text) is None  # type: ignore[arg-type]


def test_folds_of_a_list_and_of_a_known_data_set(tmp_path: Path) -> None:
    records = []
    for label in ("run", "walk"):
        for person in ("daria", "ido", "lena"):
            path = tmp_path / label / f"{person}_{label}.mp4"
            write_clip(path, 0, frames=2)
            records.append(VideoRecord(f"{label}/{path.name}", path, (label,), split="train", group=person))
    write_csv(tmp_path / "list.csv", records, ("run", "walk"))
    tested = set()
    for number in (1, 2, 3):
        listed = load_records(tmp_path / "list.csv", split=f"{number}/3")
        known = load_records(f"weizmann:{tmp_path}", split=f"{number}/3")
        groups = [{record.group for record in found.of("test")} for found in (listed, known)]
        assert groups[0] == groups[1]
        assert len(groups[0]) == 1
        assert len(listed.of("test")) == 2
        assert not any("No split was given" in note for note in known.notes)
        tested |= groups[0]
    assert tested == {"daria", "ido", "lena"}
    with pytest.raises(ArgumentError, match="3 groups"):
        load_records(f"weizmann:{tmp_path}", split="1/4")
    with pytest.raises(ArgumentError, match="1/5"):
        load_records(tmp_path / "list.csv", split="2")
