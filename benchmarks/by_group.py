"""Accuracies and paired differences of systems over the same test clips, with intervals over groups of clips.

A system may have been trained with several seeds: a clip then counts with the fraction of seeds that classify it
correctly. Clips of a group (a person, a source video) are alike, so that intervals are over groups: a bootstrap that
draws groups with replacement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from paired import paired_t

from praxiscope.evaluation.scores import Scores

__all__ = ["Difference", "compare", "interval", "right_of"]

DRAWS = 10_000


class Difference(NamedTuple):
    """Accuracy of one system minus that of another, with its 95 % interval, and p of the paired t test over clips."""

    mean: float
    low: float
    high: float
    p: float


def right_of(runs: Sequence[Scores]) -> dict[str, float]:
    """The fraction of runs that classify a clip correctly, by clip. Runs on other clips (folds) are joined."""
    found: dict[str, list[bool]] = {}
    for scores in runs:
        right = scores.logits.argmax(axis=1) == scores.targets
        for clip, value in zip(scores.ids, right.tolist(), strict=True):
            found.setdefault(clip, []).append(value)
    return {clip: float(np.mean(values)) for clip, values in found.items()}


def interval(values: Mapping[str, float], groups: Mapping[str, str]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean over clips, drawing groups.

    Args:
        values: by clip.
        groups: the group of each clip.
    """
    names = sorted({groups[clip] for clip in values})
    sums = {name: [0.0, 0] for name in names}
    for clip, value in values.items():
        sums[groups[clip]][0] += value
        sums[groups[clip]][1] += 1
    table = np.array([sums[name] for name in names])
    drawn = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    totals = table[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], (0.025, 0.975))
    return float(low), float(high)


def compare(one: Sequence[Scores], other: Sequence[Scores], groups: Mapping[str, str]) -> Difference:
    """The difference of two systems that were tested on the same clips."""
    first, second = right_of(one), right_of(other)
    if first.keys() != second.keys():
        raise SystemExit("the two systems were tested on different clips")
    differences = {clip: first[clip] - second[clip] for clip in first}
    low, high = interval(differences, groups)
    return Difference(
        float(np.mean([*differences.values()])),
        low,
        high,
        paired_t([first[clip] for clip in first], [second[clip] for clip in first]),
    )
