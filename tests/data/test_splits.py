from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from praxiscope.data.split_checks import describe_leaks
from praxiscope.data.splits import class_weights, epoch_order, group_split, leaking_groups
from praxiscope.errors import ArgumentError
from praxiscope.types import VideoRecord


def _record(name: str, *labels: str, group: str | None = None, split: str | None = None) -> VideoRecord:
    return VideoRecord(name, Path(name), labels, group=group, split=split)


records_strategy = st.lists(
    st.tuples(st.sampled_from("ABCD"), st.sampled_from([None, "g1", "g2", "g3", "g4", "g5"])),
    min_size=1,
    max_size=60,
).map(lambda rows: [_record(f"v{i}", label, group=group) for i, (label, group) in enumerate(rows)])


@settings(max_examples=200, deadline=None)
@given(records_strategy, st.integers(0, 5), st.floats(0, 0.9))
def test_a_split_keeps_groups_whole_and_classes_trainable(
    records: list[VideoRecord], seed: int, fraction: float
) -> None:
    split = group_split(records, fraction, seed)
    assert [r.id for r in split] == [r.id for r in records]
    assert leaking_groups(split) == {}
    assert {r.split for r in split} <= {"train", "test"}
    trained = {label for r in split if r.split == "train" for label in r.labels}
    assert trained == {label for r in records for label in r.labels}


@settings(max_examples=50, deadline=None)
@given(records_strategy, st.randoms(use_true_random=False))
def test_a_split_does_not_depend_on_the_order_of_files(
    records: list[VideoRecord], rng: random.Random
) -> None:
    shuffled = list(records)
    rng.shuffle(shuffled)
    sides = {r.id: r.split for r in group_split(shuffled, 0.3, seed=3)}
    assert sides == {r.id: r.split for r in group_split(records, 0.3, seed=3)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0.05, 0.6), st.integers(0, 3))
def test_without_groups_every_class_gets_its_share(sizes: list[int], fraction: float, seed: int) -> None:
    records = [_record(f"{c}/{i}", str(c)) for c, n in enumerate(sizes) for i in range(n)]
    tests = Counter(r.labels[0] for r in group_split(records, fraction, seed) if r.split == "test")
    for number, count in enumerate(sizes):
        expected = min(max(fraction * count, 1), count - 1)
        assert abs(tests[str(number)] - expected) <= 0.5 + 1e-9


def test_whole_people_are_left_out_when_people_are_the_groups() -> None:
    records = [_record(f"{p}_{a}", f"a{a}", group=f"p{p}") for p in range(10) for a in range(6)]
    tests = [r for r in group_split(records, 0.2, seed=1) if r.split == "test"]
    assert len({r.group for r in tests}) == 2
    assert len(tests) == 12


def test_large_groups_are_placed_first_and_small_ones_fill_up() -> None:
    sizes = [3, 10, 3, 10, 3, 10]
    records = [_record(f"{g}/{i}", "a", group=f"g{g}") for g, n in enumerate(sizes) for i in range(n)]
    for seed in range(10):
        assert sum(r.split == "test" for r in group_split(records, 1 / 3, seed)) == 13


def test_seeds_give_different_splits_and_one_seed_the_same() -> None:
    records = [_record(f"v{i}", "ab"[i % 2]) for i in range(40)]
    splits = {tuple(r.split for r in group_split(records, 0.25, seed)) for seed in range(5)}
    assert len(splits) == 5
    assert group_split(records, 0.25, 2) == group_split(records, 0.25, 2)


def test_a_group_and_a_video_of_the_same_name_are_not_one() -> None:
    records = [_record("x", "a"), *[_record(f"v{i}", "a", group="x") for i in range(2)], _record("y", "a")]
    assert sum(r.split == "test" for r in group_split(records, 0.25, 0)) == 1


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ArgumentError, match="test_fraction"):
        group_split([_record("v", "a")], fraction)


def test_leaks_are_counted_by_side() -> None:
    records = [
        _record("a", "x", group="g", split="train"),
        _record("b", "x", group="g", split="test"),
        _record("c", "x", group="g", split="test"),
        _record("d", "x", group="h", split="test"),
        _record("e", "x", split="train"),
    ]
    assert leaking_groups(records) == {"g": {"train": 1, "test": 2}}


def _parts(file: str, splits: Sequence[str | None], group: str | None = None) -> list[VideoRecord]:
    return [
        replace(_record(f"{file}@{n}-{n + 1}", "ab"[n % 2], group=group, split=split), path=Path(file))
        for n, split in enumerate(splits)
    ]


def test_parts_of_a_file_leak_like_a_group() -> None:
    records = [
        *_parts("v.mp4", ["train", "test", "test"]),
        *_parts("w.mp4", ["train", "train"]),
        *_parts("x.mp4", ["train", "test"], group="g"),
    ]
    assert leaking_groups(records) == {"g": {"train": 1, "test": 1}, "v.mp4": {"train": 1, "test": 2}}
    groups, files = describe_leaks(records)
    assert "1 group " in groups
    assert "g (1 train, 1 test)" in groups
    assert "1 file " in files
    assert "v.mp4 (1 train, 2 test)" in files
    assert describe_leaks(records[3:5]) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_random_split_keeps_the_parts_of_a_file_together(seed: int) -> None:
    records = [part for n in range(6) for part in _parts(f"{n}.mp4", [None] * 4)]
    split = group_split(records, 0.3, seed)
    assert {record.split for record in split} == {"train", "test"}
    for file in {record.path for record in split}:
        assert len({record.split for record in split if record.path == file}) == 1


def test_an_ordinary_epoch_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order([0] * 50, seed=1, epoch=e) for e in range(3)]
    assert all(order.dtype == torch.int64 and sorted(order.tolist()) == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3
    assert torch.equal(orders[1], epoch_order([0] * 50, seed=1, epoch=1))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 3))
def test_a_class_uniform_epoch_draws_classes_equally_and_repeats_clips_last(
    labels: list[int], epoch: int
) -> None:
    order = epoch_order(labels, seed=0, epoch=epoch, uniform=True).tolist()
    assert len(order) == len(labels)
    drawn = Counter(labels[i] for i in order)
    counts = [drawn[c] for c in set(labels)]
    assert max(counts) - min(counts) <= 1
    for number in set(labels):
        clips = Counter(i for i in order if labels[i] == number)
        seen = [clips[i] for i, label in enumerate(labels) if label == number]
        assert max(seen) - min(seen) <= 1


def test_a_clip_with_several_labels_is_drawn_for_each() -> None:
    order = epoch_order([(0, 1), (0,), (0,), (0,), (0,), (0,)], seed=0, epoch=0, uniform=True).tolist()
    assert order.count(0) >= 3  # alone in class 1, which is drawn in three of six places


def test_class_weights_are_inverse_frequencies_of_mean_one() -> None:
    weights = class_weights([10, 20, 40])
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.tensor([12 / 7, 6 / 7, 3 / 7]))


@pytest.mark.parametrize("counts", [[], [3, 0], [[1, 2]]])
def test_a_class_without_clips_has_no_weight(counts: list[int]) -> None:
    with pytest.raises(ArgumentError, match="counts"):
        class_weights(counts)
