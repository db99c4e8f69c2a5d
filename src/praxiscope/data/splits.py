"""Random splits by group, and the order and weights of clips in training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from praxiscope.errors import ArgumentError
from praxiscope.types import VideoRecord

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["class_weights", "epoch_order", "group_keys", "group_split", "leaking_groups"]


def group_split(
    records: Sequence[VideoRecord], test_fraction: float = 0.2, seed: int = 0
) -> list[VideoRecord]:
    """Split videos at random into train and test, with each group on one side and classes in proportion. The parts of
    one file, which look alike, are a group, too, where no other is given.

    Groups are visited in random order, large ones first, and become test videos while this brings the test counts of
    their classes closer to ``test_fraction``. Each class keeps at least one training clip; a class with several groups
    gets a test clip if its groups allow it. The result depends on the ids of the records, not on their order.

    Args:
        records: the videos; one without a group is a group of its own.
        test_fraction: fraction of test videos, from 0 to below 1.
        seed: of the random order.

    Returns:
        The records in their order, each with split "train" or "test".

    Raises:
        ArgumentError: for a fraction outside [0, 1).
    """
    if not 0 <= test_fraction < 1:
        raise ArgumentError(f"test_fraction must be from 0 to below 1, got {test_fraction!r}")
    of_record = group_keys(records)
    groups: dict[tuple[str, str], list[VideoRecord]] = defaultdict(list)
    for key, record in zip(of_record, records, strict=True):
        groups[key].append(record)
    keys = sorted(groups)
    contents = {key: Counter(label for r in groups[key] for label in r.labels) for key in keys}
    total: Counter[str] = Counter()
    for content in contents.values():
        total.update(content)
    rng = np.random.default_rng(seed)
    order = [keys[i] for i in rng.permutation(len(keys))]
    order.sort(key=lambda key: -len(groups[key]))  # stable: random among equals

    taken: Counter[str] = Counter()  # test clips by class
    chosen: set[tuple[str, str]] = set()

    def leaves_training(key: tuple[str, str]) -> bool:
        return all(total[name] - taken[name] > count for name, count in contents[key].items())

    def take(key: tuple[str, str]) -> None:
        chosen.add(key)
        taken.update(contents[key])

    def gain(key: tuple[str, str]) -> float:
        # Decrease of the squared distance to each class's target, relative to the class's size.
        missing = {name: test_fraction * total[name] - taken[name] for name in contents[key]}
        return sum(
            (missing[name] ** 2 - (missing[name] - count) ** 2) / total[name]
            for name, count in contents[key].items()
        )

    for key in order:
        if gain(key) > 0 and leaves_training(key):
            take(key)
    if test_fraction > 0:
        # Small classes round down to no test clip at all: give each its smallest group, if it can spare one.
        for name in sorted(total):
            if taken[name] == 0:
                candidates = [key for key in reversed(order) if contents[key][name] and leaves_training(key)]
                if candidates:
                    take(candidates[0])
    return [
        replace(record, split="test" if key in chosen else "train")
        for key, record in zip(of_record, records, strict=True)
    ]


def leaking_groups(records: Sequence[VideoRecord]) -> dict[str, dict[str, int]]:
    """Groups with videos on several sides of the split, and files with parts there that have no group: by name of the
    group or path of the file, the number of videos on each side."""
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.split is not None:
            sides[record.source][record.split] += 1
    return {group: dict(counts) for group, counts in sorted(sides.items()) if len(counts) > 1}


def epoch_order(
    labels: Sequence[int] | Sequence[Sequence[int]], *, seed: int, epoch: int, uniform: bool = False
) -> Tensor:
    """The order in which an epoch visits the clips.

    Args:
        labels: class number of each clip, or its class numbers for multi-label data.
        seed: of the run.
        epoch: number of the epoch; every epoch has its own order.
        uniform: False for a permutation of all clips. True to draw classes equally often (to within one), and the clips
            of a class without repeats until all have been drawn.

    Returns:
        int64 [n], clip numbers.
    """
    import torch  # data sets are listed and split without torch

    rng = np.random.default_rng([seed, epoch])
    if not uniform:
        return torch.from_numpy(rng.permutation(len(labels)).astype(np.int64))
    members: dict[int, list[int]] = defaultdict(list)
    for clip in range(len(labels)):
        own = labels[clip]
        for number in own if isinstance(own, Sequence) else (own,):
            members[int(number)].append(clip)
    count, classes = len(labels), sorted(members)
    drawn = _in_rounds(rng, len(classes), count)
    order = np.empty(count, dtype=np.int64)
    for place, number in enumerate(classes):
        slots = np.flatnonzero(drawn == place)
        order[slots] = np.asarray(members[number])[_in_rounds(rng, len(members[number]), len(slots))]
    return torch.from_numpy(order)


def class_weights(counts: Sequence[int]) -> Tensor:
    """Class weights that are inverse to the clip counts, with mean 1.

    Args:
        counts: training clips of each class, [K].

    Returns:
        float32 [K].

    Raises:
        ArgumentError: for a class without clips.
    """
    import torch

    number = torch.as_tensor(counts, dtype=torch.float64)
    if number.ndim != 1 or len(number) == 0 or bool((number <= 0).any()):
        raise ArgumentError(f"counts must have one positive number per class, got {list(counts)}")
    inverse = 1.0 / number
    return (inverse / inverse.mean()).to(torch.float32)


def group_keys(records: Sequence[VideoRecord]) -> list[tuple[str, str]]:
    """The key of the group of each video: a group, the file of several parts, or a single video. The first part of the
    key distinguishes a group from a video of the same name."""
    parts = Counter(record.path for record in records)
    return [
        ("group", record.source)
        if record.group is not None or parts[record.path] > 1
        else ("video", record.id)
        for record in records
    ]


def _in_rounds(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """``count`` numbers below ``size``: permutations one after another, int64."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    rounds = [rng.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(rounds)[:count]
