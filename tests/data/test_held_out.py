"""The validation part of the training videos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxiscope.data.held_out import clips_of_a_class, hold_out
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError
from praxiscope.types import VideoRecord


def manifest(rows: list[tuple[str, str | None, str]]) -> Manifest:
    """A data set of one record for each row of label, group and split."""
    records = tuple(
        VideoRecord(f"v{n}", Path(f"v{n}"), (label,), group=group, split=split)
        for n, (label, group, split) in enumerate(rows)
    )
    return Manifest(records, tuple(sorted({row[0] for row in rows})), False, "set", Path())


def sides(of: Manifest) -> dict[str, str | None]:
    return {record.id: record.split for record in of.records}


GROUPS = [f"g{n}" for n in range(6)]
TWELVE = [(label, f"{label}{n // 2}", "train") for label in "AB" for n in range(12)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ABC"), st.sampled_from([None, *GROUPS]), st.sampled_from(("train", "test"))
        ),
        min_size=1,
        max_size=80,
    ),
    st.integers(0, 3),
    st.floats(0, 0.9),
)
def test_no_group_is_on_both_sides_and_no_class_loses_all_its_clips(
    rows: list[tuple[str, str | None, str]], seed: int, fraction: float
) -> None:
    before = manifest(rows)
    after = hold_out(before, fraction, seed)
    assert [record.id for record in after.records] == [record.id for record in before.records]
    assert {r.id for r in after.of("test")} == {r.id for r in before.of("test")}
    held = {record.group for record in after.of("val")} - {None}
    assert held.isdisjoint(record.group for record in after.of("train"))
    assert {r.labels for r in after.of("train")} == {r.labels for r in before.of("train")}


def test_a_fifth_is_held_out_of_each_class_in_whole_groups() -> None:
    held = hold_out(manifest(TWELVE), 0.2, seed=0).of("val")
    assert Counter(record.labels[0] for record in held) == {"A": 2, "B": 2}
    assert len({record.group for record in held}) == 2


def test_parts_of_one_video_stay_together() -> None:
    records = tuple(
        VideoRecord(
            f"{n // 3}@{n % 3}-{n % 3 + 1}", Path(f"{n // 3}"), ("AB"[n % 2],), n % 3, n % 3 + 1, "train"
        )
        for n in range(30)
    )
    held = hold_out(Manifest(records, ("A", "B"), False, "set", Path()), 0.2)
    drawn = Counter(record.path for record in held.of("val"))
    assert set(drawn.values()) == {3}
    assert 1 <= len(drawn) <= 3


def test_the_seed_decides() -> None:
    one, again = (sides(hold_out(manifest(TWELVE), 0.2, seed=3)) for _ in range(2))
    assert one == again
    assert len({tuple(sides(hold_out(manifest(TWELVE), 0.2, seed)).values()) for seed in range(4)}) > 1


@pytest.mark.parametrize(
    ("rows", "notes"),
    [
        ([(label, "g", "train") for label in "AB" for _ in range(9)], 1),  # one group
        ([(label, None, "train") for label in "AB" for _ in range(4)], 1),  # few clips
        ([*TWELVE, ("A", None, "val")], 0),  # has its own
    ],
)
def test_nothing_is_held_out_where_it_cannot_be_spared(
    rows: list[tuple[str, str | None, str]], notes: int
) -> None:
    before = manifest(rows)
    after = hold_out(before, 0.2)
    assert sides(after) == sides(before)
    assert len(after.notes) == notes


def test_by_default_nothing_is_held_out() -> None:
    assert hold_out(manifest(TWELVE), 0.0) == manifest(TWELVE)
    with pytest.raises(ArgumentError, match=r"1\.5"):
        hold_out(manifest(TWELVE), 1.5)


def test_one_rare_class_does_not_decide_about_the_others() -> None:
    rows = [(label, None, "train") for label in "AAAAAAABBBBBBC"]
    assert clips_of_a_class(manifest(rows)) == 6
    assert {r.labels for r in hold_out(manifest(rows), 0.2).of("train")} == {("A",), ("B",), ("C",)}
