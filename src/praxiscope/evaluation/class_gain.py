"""The gain of one network over another in each class, with bootstrap intervals over the same videos.

Axis letters: n videos, G groups of videos, R resamples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, ScoresError
from praxiscope.evaluation.scores import Scores

__all__ = ["ClassGain", "class_gains"]

_RESAMPLES = 10_000
_LEVEL = 0.95


@dataclass(frozen=True)
class ClassGain:
    """Accuracies of two networks on the videos of a class.

    Attributes:
        label: the class; "" for the videos of all classes.
        videos: their number.
        groups: number of groups that were drawn; that of the videos, if they are not grouped.
        one, other: fractions of the videos that each network recognises.
        gain: ``one - other``.
        low, high: its 95 % interval; nan for a single group.
    """

    label: str
    videos: int
    groups: int
    one: float
    other: float
    gain: float
    low: float
    high: float


def class_gains(
    one: Scores, other: Scores, groups: Mapping[str, str] | None = None, *, seed: int = 0
) -> list[ClassGain]:
    """Compare the accuracies of two networks in each class, paired over the videos.

    The intervals are percentiles of the bootstrap: of 10 000 samples of as many groups (or videos, if they have no
    groups), drawn with replacement within the class. Videos of unknown class are left out.

    Args:
        one, other: scores of the same videos and classes; protocols may differ.
        groups: group of each video by its id, such as the person or the film; videos of a group are drawn together.
        seed: of the samples.

    Returns:
        For all videos together (label ""), then for each class that has videos, the largest gain first.

    Raises:
        ScoresError: the scores are of other videos or classes, or no video has a class.
        ArgumentError: videos have several labels, or a video has no group.
    """
    if one.multi_label:
        raise ArgumentError(
            "these videos have several labels each. The gain in accuracy needs one label per video."
        )
    one.check_same(other, protocols=False)
    other = other.reordered(one.ids)
    targets = np.where(one.targets < 0, other.targets, one.targets)  # either file may know
    known = targets >= 0
    if not known.any():
        raise ScoresError("no video has a known class. Test on labelled videos.")
    right = np.stack([scores.logits.argmax(axis=1) == targets for scores in (one, other)]).astype(np.int64)
    group = _numbers(one.ids, groups)
    draw = np.random.default_rng(seed)
    whole = _gain("", right[:, known], group[known], draw)
    classes = [
        _gain(label, right[:, targets == number], group[targets == number], draw)
        for number, label in enumerate(one.classes)
        if (targets == number).any()
    ]
    return [whole, *sorted(classes, key=lambda found: -found.gain)]


def _numbers(ids: list[str], groups: Mapping[str, str] | None) -> NDArray[np.int64]:
    """The number of the group of each video; without groups each video is one."""
    if groups is None:
        return np.arange(len(ids))
    if missing := [name for name in ids if name not in groups]:
        raise ArgumentError(
            f"{len(missing)} of the tested videos are not in the list of groups: {missing[0]}, …"
        )
    _, numbers = np.unique([groups[name] for name in ids], return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)


def _gain(
    label: str, right: NDArray[np.int64], group: NDArray[np.int64], draw: np.random.Generator
) -> ClassGain:
    """The gain on some videos.

    Args:
        label: name of the class.
        right: whether each network recognises each video, 0 or 1, [2, n].
        group: [n].
        draw: draws the samples.
    """
    one, other = (float(share) for share in right.mean(axis=1))
    _, number = np.unique(group, return_inverse=True)
    gained = np.bincount(number, right[0] - right[1]).astype(np.float64)
    sizes = np.bincount(number)
    low, high = _interval(gained, sizes, draw)
    return ClassGain(label, right.shape[1], len(sizes), one, other, one - other, low, high)


def _interval(
    gained: NDArray[np.float64], sizes: NDArray[np.int64], draw: np.random.Generator
) -> tuple[float, float]:
    """The percentile interval of the mean gain per video.

    Groups with the same gain and size are interchangeable, so the number of each such kind in a sample is drawn: that
    is the same distribution, and takes no memory for each video.

    Args:
        gained: videos gained less those lost, [G].
        sizes: videos, [G].
        draw: draws the samples.
    """
    count = len(sizes)
    if count < 2:
        return float("nan"), float("nan")
    kinds, number = np.unique(np.stack([gained, sizes]), axis=1, return_counts=True)
    drawn = draw.multinomial(count, number / count, size=_RESAMPLES)  # [R, kinds]
    gains = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(gains, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
