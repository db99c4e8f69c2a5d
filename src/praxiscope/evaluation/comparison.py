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


@dataclass(frozen=True)
class System:
    """The correct answers of a system.

    Attributes:
        name: of the system.
        ids: the videos, sorted.
        right: bool [n, R], whether each run classifies a video correctly; n videos, R runs.
    """

    name: str
    ids: tuple[str, ...]
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
        low, high: the 95 % interval: a bootstrap that draws groups with replacement.
        alone: how many videos only the one and only the other has right, means over the runs.
        mcnemar: p of the exact McNemar test, two-sided, of each run; it takes the videos as independent.
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
        for video, value in zip(scores.ids, right.tolist(), strict=True):
            found.setdefault(video, []).append(value)
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
    return System(name, ids, np.array([found[video] for video in ids]))


def interval(values: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of a mean over videos: the quantiles of a bootstrap that draws groups with replacement.

    Args:
        values: float64 [n], one per video.
        groups: the group of each video, [n].
    """
    number, count = _numbers(groups)
    sums, sizes = np.bincount(number, values, count), np.bincount(number, minlength=count)
    drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), (0.025, 0.975))
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
    of_video = [groups[video] for video in one.ids]
    differences = one.each - other.each
    runs = min(one.right.shape[1], other.right.shape[1])
    first, second = one.right[:, :runs], other.right[:, :runs]
    alone_first, alone_second = (first & ~second).sum(0), (second & ~first).sum(0)
    return Difference(
        float(differences.mean()),
        *interval(differences, of_video),
        (float(alone_first.mean()), float(alone_second.mean())),
        tuple(mcnemar(int(a), int(b)) for a, b in zip(alone_first, alone_second, strict=True)),
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
