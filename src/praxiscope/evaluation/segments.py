"""Segments of videos with their classes, and how well predicted segments match the true ones.

Detection: mean average precision at a temporal intersection over union (tIoU), as defined by ActivityNet (F. Caba
Heilbron et al., CVPR 2015; its published evaluation). Segmentation: segmental F1 (C. Lea et al., CVPR 2017), edit score
and frame accuracy, as MS-TCN reports them (Y. Abu Farha and J. Gall, CVPR 2019). All metrics are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.errors import ArgumentError

__all__ = [
    "ACTIVITYNET_TIOUS",
    "Segment",
    "average_precisions",
    "detection_map",
    "edit_score",
    "frame_accuracy",
    "frame_labels",
    "segmental_f1",
    "segments_overlap",
    "summarise_segments",
    "temporal_iou",
]

#: The thresholds over which ActivityNet averages: 0.5, 0.55, …, 0.95.
ACTIVITYNET_TIOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))

_REPORTED_TIOUS = (0.3, 0.5, 0.7)
_REPORTED_F1 = (0.10, 0.25, 0.50)
# MS-TCN counts frames, so that a tIoU may equal the threshold; of times in seconds it may be less by rounding.
# ActivityNet's evaluation compares times in seconds as they are.
_ROUNDING = 1e-9
_TOUCH_S = 1e-6


class Segment(NamedTuple):
    """An action in a video: from ``start_s`` until before ``end_s``, seconds from the start of the file.

    ``score`` ranks predicted segments; that of a true segment is not used.
    """

    start_s: float
    end_s: float
    label: str
    score: float = 1.0


Segments = Sequence[Segment]
Videos = Mapping[str, Segments]  # the segments of each video by its id


def temporal_iou(segment: Segment, others: Segments) -> NDArray[np.float64]:
    """Temporal intersection over union of a segment with each of n others, whatever their labels: float64 [n].

    Segments that only touch have 0, and so has a segment without length.
    """
    if not others:
        return np.zeros(0)
    starts, ends = np.array([[other.start_s, other.end_s] for other in others], dtype=np.float64).T
    common = np.minimum(ends, segment.end_s) - np.maximum(starts, segment.start_s)
    common = np.maximum(common, 0.0)
    union = (ends - starts) + (segment.end_s - segment.start_s) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def average_precisions(predicted: Videos, truth: Videos, tiou: float) -> dict[str, float]:
    """Average precision of each class that has true segments, as ActivityNet defines it.

    The predictions of a class are taken by descending score; equal scores keep the order of ``predicted``, by
    videos and within each. Each takes the one with the highest tIoU of the true segments of its class and video that no
    earlier one has taken, and is right if this is at least ``tiou``. The precision at a recall is interpolated: the
    highest precision at this recall or a higher one.

    Args:
        predicted: segments by video; a video that is not in it has no predictions.
        truth: segments by video; predictions for other videos are an error.
        tiou: threshold above 0, up to 1.

    Returns:
        By class. Predictions of a class without true segments have no average precision.

    Raises:
        ArgumentError: a threshold out of range, or predictions for a video that is not in ``truth``.
    """
    _check(predicted, truth, tiou)
    return {
        label: _average_precision(_of_class(predicted, label), _of_class(truth, label), tiou)
        for label in _labels(truth)
    }


def detection_map(predicted: Videos, truth: Videos, tiou: float = 0.5) -> float:
    """Mean of the `average_precisions` over the classes that have true segments; nan if there are none."""
    values = average_precisions(predicted, truth, tiou)
    return float(np.mean(list(values.values()))) if values else math.nan


def segmental_f1(
    predicted: Videos, truth: Videos, tiou: float = 0.5, background: Collection[str] = ()
) -> float:
    """Segmental F1 over all videos together, as MS-TCN reports it: F1@50 has the threshold 0.5.

    Predictions are taken in the order of their starts; scores are not used. Each takes the true segment of its class
    with the highest tIoU, and is right if this is at least ``tiou`` and no earlier one has taken the same segment.
    Segments of one class that touch are one, as they are where frames have labels.

    Args:
        predicted, truth, tiou: see `average_precisions`.
        background: classes that are left out.

    Returns:
        2 TP / (2 TP + FP + FN); nan if there are neither predictions nor true segments.
    """
    _check(predicted, truth, tiou)
    right = found = there = 0
    for video, true in truth.items():
        true = _joined(_foreground(true, background))
        guesses = _joined(_foreground(predicted.get(video, ()), background))
        taken: set[int] = set()
        for guess in guesses:
            overlap = temporal_iou(guess, true) * [other.label == guess.label for other in true]
            if overlap.size and overlap.max() >= tiou - _ROUNDING:
                taken.add(int(overlap.argmax()))
        right, found, there = right + len(taken), found + len(guesses), there + len(true)
    return 2 * right / (found + there) if found + there else math.nan


def edit_score(predicted: Sequence[str], truth: Sequence[str]) -> float:
    """Edit score of the order of the actions in one video, as MS-TCN reports it.

    Args:
        predicted, truth: the labels of the segments in order, without the background.

    Returns:
        1 - d / max(lengths), where d is the Levenshtein distance; 1 if both are empty.
    """
    if not predicted and not truth:
        return 1.0
    row = np.arange(len(truth) + 1)
    for count, label in enumerate(predicted, 1):
        above, row = row, np.full_like(row, count)
        for place, other in enumerate(truth, 1):
            row[place] = min(above[place] + 1, row[place - 1] + 1, above[place - 1] + (label != other))
    return 1.0 - float(row[-1]) / max(len(predicted), len(truth))


def frame_accuracy(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Fraction of the frames whose label is right; nan without frames.

    Args:
        predicted, truth: [T], a label for each frame; the background has one too ("", see `frame_labels`).

    Raises:
        ArgumentError: the lengths differ.
    """
    one, other = np.asarray(predicted), np.asarray(truth)
    if one.ndim != 1 or one.shape != other.shape:
        raise ArgumentError(
            f"predicted and truth must be [T] of equal length, got {one.shape}, {other.shape}"
        )
    return float((one == other).mean()) if one.size else math.nan


def frame_labels(segments: Segments, times_s: ArrayLike) -> NDArray[np.str_]:
    """The label of each frame: that of the segment that contains its time, "" for none.

    Args:
        segments: of one video. Where segments overlap, the one with the higher score counts.
        times_s: [T].
    """
    times = np.asarray(times_s, dtype=np.float64)
    width = max((len(segment.label) for segment in segments), default=1)
    labels = np.zeros(times.shape, dtype=f"<U{max(1, width)}")
    for segment in sorted(segments, key=lambda one: one.score):
        labels[(times >= segment.start_s) & (times < segment.end_s)] = segment.label
    return labels


def segments_overlap(segments: Segments) -> bool:
    """Whether two segments of a video, of any classes, overlap. Those that only touch do not."""
    ordered = sorted(segments, key=lambda one: one.start_s)
    ends = np.maximum.accumulate([one.end_s for one in ordered]) if ordered else np.zeros(0)
    return any(one.start_s < end - _TOUCH_S for one, end in zip(ordered[1:], ends, strict=False))


def summarise_segments(
    predicted: Videos,
    truth: Videos,
    frame_times: Mapping[str, ArrayLike],
    *,
    background: Collection[str] = (),
) -> dict[str, Any]:
    """All metrics of predicted segments, as plain values for JSON.

    ``map@0.3``, ``map@0.5``, ``map@0.7``, ``map@0.5:0.95`` (the mean over `ACTIVITYNET_TIOUS`), ``f1@10``, ``f1@25``,
    ``f1@50``; where the true segments do not overlap also ``edit`` (mean over the videos) and ``frame_accuracy`` (over
    all frames), which need one label at a time. Always ``videos``, ``segments`` (true ones) and ``predicted``. A metric
    that is not defined is missing.

    Args:
        predicted, truth: segments by video.
        frame_times: times [T] of the frames of each video, seconds.
        background: classes of the time between actions; only the frame accuracy counts them.
    """
    true = {video: _foreground(segments, background) for video, segments in truth.items()}
    guesses = {video: _foreground(segments, background) for video, segments in predicted.items()}
    precisions = {
        tiou: detection_map(guesses, true, tiou) for tiou in sorted({*_REPORTED_TIOUS, *ACTIVITYNET_TIOUS})
    }
    figures = {f"map@{tiou:g}": precisions[tiou] for tiou in _REPORTED_TIOUS}
    figures["map@0.5:0.95"] = float(np.mean([precisions[tiou] for tiou in ACTIVITYNET_TIOUS]))
    for tiou in _REPORTED_F1:
        figures[f"f1@{round(100 * tiou)}"] = segmental_f1(guesses, true, tiou)
    if truth and not any(segments_overlap(segments) for segments in truth.values()):
        edits = [
            edit_score(*([one.label for one in _joined(side.get(video, ()))] for side in (guesses, true)))
            for video in true
        ]
        figures["edit"] = float(np.mean(edits))
        labels = [
            [frame_labels(side.get(video, ()), frame_times[video]) for video in truth]
            for side in (predicted, truth)
        ]
        figures["frame_accuracy"] = frame_accuracy(*(np.concatenate(side) for side in labels))
    return {
        **{name: value for name, value in figures.items() if not math.isnan(value)},
        "videos": len(truth),
        "segments": sum(map(len, true.values())),
        "predicted": sum(map(len, guesses.values())),
    }


def _average_precision(
    predicted: list[tuple[str, Segment]], truth: list[tuple[str, Segment]], tiou: float
) -> float:
    """Average precision of the predictions of one class, in the order of the videos; ``truth`` is not empty."""
    waiting: dict[str, list[Segment]] = {}
    for video, segment in truth:
        waiting.setdefault(video, []).append(segment)
    right = np.zeros(len(predicted))
    for rank, (video, segment) in enumerate(sorted(predicted, key=lambda pair: -pair[1].score)):
        left = waiting.get(video, [])
        overlap = temporal_iou(segment, left)
        if overlap.size and overlap.max() >= tiou:
            right[rank] = 1
            del left[int(overlap.argmax())]
    found = np.cumsum(right)
    precision = found / np.arange(1, len(found) + 1)
    best = np.maximum.accumulate(precision[::-1])[
        ::-1
    ]  # the highest precision at this recall or a higher one
    return float((best * right).sum() / len(truth))


def _of_class(videos: Videos, label: str) -> list[tuple[str, Segment]]:
    return [(video, one) for video, segments in videos.items() for one in segments if one.label == label]


def _labels(videos: Videos) -> list[str]:
    return sorted({segment.label for segments in videos.values() for segment in segments})


def _foreground(segments: Segments, background: Collection[str]) -> list[Segment]:
    """The segments of actions, by their starts."""
    return sorted((one for one in segments if one.label not in background), key=lambda one: one.start_s)


def _joined(segments: Segments) -> list[Segment]:
    """Segments by their starts, those of one class that touch as one."""
    found: list[Segment] = []
    for one in segments:
        for place in range(len(found) - 1, -1, -1):
            other = found[place]
            if other.label == one.label and abs(one.start_s - other.end_s) <= _TOUCH_S:
                found[place] = other._replace(end_s=one.end_s)
                break
        else:
            found.append(one)
    return found


def _check(predicted: Videos, truth: Videos, tiou: float) -> None:
    if not 0 < tiou <= 1:
        raise ArgumentError(f"tiou must be above 0 and at most 1, got {tiou}")
    if unknown := [video for video in predicted if video not in truth]:
        raise ArgumentError(f"predicted has videos that truth does not have, such as {unknown[0]!r}")
