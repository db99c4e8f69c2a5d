"""Choose the settings that make segments of scores over time, on training videos with segments (grid search)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.segments import Segment, segmental_f1
from praxiscope.inference.segments import ScoresOverTime, SegmentSettings, find_segments

__all__ = ["TimedVideo", "learn_settings", "mean_f1"]

_HIGH = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_RATIOS = (0.5, 1.0)  # of low to high
_SMOOTH_S = (0.0, 0.5, 1.0, 2.0, 4.0)
_MIN_S = (0.0, 0.5, 1.0, 2.0)
_TIOUS = (0.3, 0.5, 0.7)


class TimedVideo(NamedTuple):
    """Scores over time of a video, and its true segments."""

    scores: ScoresOverTime
    segments: Sequence[Segment]


def mean_f1(videos: Sequence[TimedVideo], settings: SegmentSettings) -> float:
    """What is maximised: the mean of the segmental F1 of all videos together at tIoU 0.3, 0.5 and 0.7."""
    predicted = {str(k): find_segments(video.scores, settings) for k, video in enumerate(videos)}
    truth = {str(k): video.segments for k, video in enumerate(videos)}
    return sum(segmental_f1(predicted, truth, tiou) for tiou in _TIOUS) / len(_TIOUS)


def learn_settings(
    videos: Sequence[TimedVideo],
    start: SegmentSettings,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> SegmentSettings:
    """Choose smoothing, lengths and thresholds.

    First all settings that the classes share are tried together, then the thresholds of each class with true segments
    by themselves, in the order of the classes; they are kept if they improve the result. Of equally good settings the
    middle one is chosen, so that thresholds lie between those that would change the result.

    Args:
        videos: training videos only; at least one true segment.
        start: settings whose window, stride and ``overlap`` are kept.
        advance: called with the numbers of settings tried so far and in all.

    Raises:
        ArgumentError: no video has a segment.
    """
    named = {segment.label for video in videos for segment in video.segments}
    labels = [label for label in (videos[0].scores.labels if videos else ()) if label in named]
    if not labels:
        raise ArgumentError("settings of segments are learned from videos with segments, got none")
    shared = [
        replace(start, high=high, low=ratio * high, smooth_s=smooth_s, min_s=min_s, merge_s=min_s, classes={})
        for high, ratio, smooth_s, min_s in product(_HIGH, _RATIOS, _SMOOTH_S, _MIN_S)
        if high > 0 or (ratio == 1 and not start.overlap)  # 0 stands for "the most probable class, always"
    ]
    pairs = [(high, ratio * high) for high, ratio in product(_HIGH[1:], _RATIOS)]
    total, done = len(shared) + len(labels) * len(pairs), 0

    def best(candidates: Sequence[SegmentSettings]) -> tuple[float, SegmentSettings]:
        nonlocal done
        values = []
        for candidate in candidates:
            values.append(mean_f1(videos, candidate))
            done += 1
            advance(done, total)
        equal = [each for each, value in zip(candidates, values, strict=True) if value >= max(values) - 1e-12]
        return max(values), equal[len(equal) // 2]

    value, chosen = best(shared)
    for label in labels:
        tried, settings = best([replace(chosen, classes={**chosen.classes, label: pair}) for pair in pairs])
        if tried > value + 1e-12:
            value, chosen = tried, settings
    return replace(chosen, learned_from=len(videos))
