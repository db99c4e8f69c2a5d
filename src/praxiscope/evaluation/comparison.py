"""Paired comparisons of systems that were tested on the same videos, with several runs and folds.

A video that several runs (seeds) of a system scored counts with the fraction of runs that classify it correctly. Videos
of a group (a person, a source) look alike, so that intervals and the test of a difference are over groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ScoresError
from praxiscope.evaluation.scores import Scores
from praxiscope.units import counted

__all__ = ["Difference", "System", "compare", "holm", "interval", "mcnemar", "read_system", "sign_flip"]

DRAWS = 10_000
_EXACT = 12  # groups that differ, up to which all signs are tried
_Z, _Z_POWER = 1.959964, 0.841621  # 97.5 % and 80 % of the normal distribution


@dataclass(frozen=True)
class System:
    """The correct answers of a system.

    Attributes:
        name: of the system.
        ids: the videos, sorted.
        targets: the label of each.
        right: bool [n, R], whether each run classifies a video correctly; n videos, R runs.
    """

    name: str
    ids: tuple[str, ...]
    targets: tuple[str, ...]
    right: NDArray[np.bool_]

    @property
    def each(self) -> NDArray[np.float64]:
        """The fraction of runs that classify each video correctly, float64 [n]."""
        return np.asarray(self.right.mean(axis=1, dtype=np.float64))

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """The accuracy of each run, float64 [R]."""
        return np.asarray(self.right.mean(axis=0, dtype=np.float64))


class Difference(NamedTuple):
    """The accuracy of one system minus that of another.

    Attributes:
        mean: over the videos.
        low, high: the 95 % interval, see `interval`.
        alone: how many videos only the one and only the other has right, means over all pairs of runs.
        mcnemar: p of the exact McNemar test, two-sided, of each run beside one of the other system in order; it takes
            the videos as independent.
        p: two-sided, of random signs of the groups' differences (`sign_flip`).
    """

    mean: float
    low: float
    high: float
    alone: tuple[float, float]
    mcnemar: tuple[float, ...]
    p: float

    @property
    def largest(self) -> float:
        """The end of the interval that is farther from 0: larger differences are excluded."""
        return max(abs(self.low), abs(self.high))

    @property
    def can_show(self) -> float:
        """The difference that such a comparison shows with a probability of about 80 %, by the interval's width."""
        return (self.high - self.low) / 2 * (_Z + _Z_POWER) / _Z


def read_system(name: str, runs: Sequence[Scores]) -> System:
    """Join the scores of the runs of a system: of seeds, folds, or both.

    Args:
        name: of the system.
        runs: scores; a video may be in several of them, one for each seed.

    Raises:
        ScoresError: there are no videos, videos have several labels or none, the classes differ, or some videos have
            more runs than others.
    """
    found: dict[str, list[bool]] = {}
    targets: dict[str, str] = {}
    for scores in runs:
        if scores.multi_label:
            raise ScoresError(
                f"{name}: its videos have several labels. Comparisons need one label per video."
            )
        if (scores.targets < 0).any():
            raise ScoresError(f"{name}: some videos have no known label. Compare labelled videos.")
        if scores.classes != runs[0].classes:
            raise ScoresError(f"{name}: its scores files have different classes.")
        right = scores.logits.argmax(axis=1) == scores.targets
        for video, value, target in zip(scores.ids, right.tolist(), scores.targets.tolist(), strict=True):
            found.setdefault(video, []).append(value)
            if targets.setdefault(video, scores.classes[target]) != scores.classes[target]:
                raise ScoresError(
                    f"{name}: {video} has different labels in its files. Give files of the same data."
                )
    if not found:
        raise ScoresError(f"{name}: no scored videos.")
    counts = {len(values) for values in found.values()}
    if len(counts) > 1:
        least = min(found, key=lambda video: len(found[video]))
        raise ScoresError(
            f"{name}: {least} was scored by {counted(len(found[least]), 'run')} and other videos by {max(counts)}. "
            "Give all folds of every seed."
        )
    ids = tuple(sorted(found))
    return System(
        name, ids, tuple(targets[video] for video in ids), np.array([found[video] for video in ids])
    )


def interval(
    values: NDArray[np.float64], groups: Sequence[str], bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """The 95 % interval of a mean over videos: the quantiles of a bootstrap that draws groups with replacement.

    One video at each bound is added as a group of its own, so that the interval has a width if all values are equal
    (Agresti and Min, 2005, of paired proportions). With few groups the quantiles are too narrow: their distances from
    the mean are multiplied by the quantile of Student's t distribution over that of the normal one, and by
    sqrt(G / (G - 1)).

    Args:
        values: float64 [n], one per video.
        groups: the group of each video, [n].
        bounds: the smallest and the largest value that is possible: -1 and 1 for differences.

    Returns:
        Lower and upper end, within ``bounds``; ``bounds`` for a single group, from which nothing follows for others.
    """
    from scipy.stats import t

    number, count = _numbers(groups)
    if count == 1:
        return bounds
    sums = np.append(np.bincount(number, values, count), bounds)
    sizes = np.append(np.bincount(number, minlength=count), (1, 1))
    drawn = np.random.default_rng(0).integers(len(sums), size=(DRAWS, len(sums)))
    ends = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), (0.025, 0.975))
    mean = sums.sum() / sizes.sum()
    wider = t.ppf(0.975, count - 1) / _Z * np.sqrt(count / (count - 1))
    low, high = np.clip(mean + (ends - mean) * wider, *bounds)
    return float(low), float(high)


def sign_flip(differences: NDArray[np.float64], groups: Sequence[str]) -> float:
    """Test whether a mean difference is 0: compare it with those that random signs of the groups give.

    Args:
        differences: float64 [n], one per video.
        groups: the group of each video, [n].

    Returns:
        p, two-sided; exact for at most 12 groups that differ, otherwise of 10,000 random signs.
    """
    number, count = _numbers(groups)
    sums = np.bincount(number, differences, count)
    sums = sums[np.abs(sums) > 1e-12]
    if not sums.size:
        return 1.0
    least = abs(sums.sum()) - 1e-9
    if sums.size <= _EXACT:
        signs = np.array(list(product((-1, 1), repeat=sums.size)))
        return float((np.abs(signs @ sums) >= least).mean())
    signs = np.random.default_rng(0).choice((-1, 1), size=(DRAWS, sums.size))
    return float((1 + (np.abs(signs @ sums) >= least).sum()) / (1 + DRAWS))


def mcnemar(one_alone: int, other_alone: int) -> float:
    """The p value of the exact two-sided McNemar test.

    Args:
        one_alone, other_alone: numbers of videos that only one of two systems classifies correctly.
    """
    from scipy.stats import binomtest

    differing = one_alone + other_alone
    return float(binomtest(one_alone, differing).pvalue) if differing else 1.0


def compare(one: System, other: System, groups: Mapping[str, str]) -> Difference:
    """The difference of two systems that were tested on the same videos.

    Args:
        one, other: the systems. The runs of one are compared with those of the other in order.
        groups: the group of each video by its id.

    Raises:
        ScoresError: they were tested on different videos, or a video has no group.
    """
    if one.ids != other.ids:
        alone = sorted(set(one.ids) ^ set(other.ids))
        raise ScoresError(
            f"{one.name} and {other.name} were tested on different videos: {alone[0]} was scored by one of them only."
        )
    if missing := [video for video in one.ids if video not in groups]:
        raise ScoresError(f"{missing[0]}: has no group. Give the data that the systems were tested on.")
    if wrong := [i for i, (a, b) in enumerate(zip(one.targets, other.targets, strict=True)) if a != b]:
        raise ScoresError(
            f"{one.ids[wrong[0]]}: is {one.targets[wrong[0]]!r} for {one.name} and {other.targets[wrong[0]]!r} for "
            f"{other.name}. Give files of the same data."
        )
    of_video = [groups[video] for video in one.ids]
    differences = one.each - other.each
    runs = max(one.right.shape[1], other.right.shape[1])
    first, second = (system.right[:, np.arange(runs) % system.right.shape[1]] for system in (one, other))
    counts = (first & ~second).sum(0), (second & ~first).sum(0)
    return Difference(
        float(differences.mean()),
        *interval(differences, of_video, (-1.0, 1.0)),
        (float(one.each @ (1 - other.each)), float(other.each @ (1 - one.each))),
        tuple(mcnemar(int(a), int(b)) for a, b in zip(*counts, strict=True)),
        sign_flip(differences, of_video),
    )


def holm(values: Sequence[float]) -> list[float]:
    """The p values of several tests, adjusted by Holm's method: below 0.05 with a probability of at most 5 % in all."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _numbers(groups: Sequence[str]) -> tuple[NDArray[np.intp], int]:
    """The number of the group of each video, and the number of groups."""
    names, number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return number, len(names)
