"""From class scores over time to segments, and the settings of this step.

The scores are smoothed, a hysteresis of two thresholds opens and closes segments, gaps within an action are closed, and
what is too short is left out. Where training videos have segments, the settings are chosen on these (grid search).

Axis letters: n windows or frames of a video, in order; K classes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.segments import Segment
from praxiscope.run_folder import SEGMENTS_FILE

__all__ = [
    "ScoresOverTime",
    "SegmentSettings",
    "default_settings",
    "find_segments",
    "load_settings",
    "save_settings",
    "smooth_over_time",
]

_SAME_S = 1e-6  # times that differ by less are equal


@dataclass(frozen=True)
class ScoresOverTime:
    """Class probabilities of the windows, or of the frames, of one video.

    Args:
        start_s, end_s: [n], of each window, or from each frame to the next one; ascending, seconds from the start of
            the file.
        probabilities: [n, K].
        labels: the K class names.

    Raises:
        ArgumentError: shapes do not match, or times are not in order.
    """

    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("start_s", "end_s", "probabilities"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "labels", tuple(self.labels))
        count = len(self.start_s)
        if self.end_s.shape != (count,) or self.probabilities.shape != (count, len(self.labels)):
            raise ArgumentError(
                f"scores over time need start_s [n], end_s [n] and probabilities [n, {len(self.labels)}], got "
                f"{self.start_s.shape}, {self.end_s.shape} and {self.probabilities.shape}"
            )
        if (np.diff(self.start_s) <= 0).any() or (self.end_s <= self.start_s).any():
            raise ArgumentError("the times of scores must ascend, and every end_s must be after its start_s")

    def __len__(self) -> int:
        return len(self.start_s)

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """Bounds of the time that each window stands for, [n + 1]: the middle of the overlap of neighbours."""
        inner = (self.end_s[:-1] + self.start_s[1:]) / 2
        return np.concatenate([self.start_s[:1], inner, self.end_s[-1:]])


@dataclass(frozen=True)
class SegmentSettings:
    """How scores over time become segments.

    Attributes:
        window_s, stride_s: windows of the timeline, seconds. None as window: the answers of a causal model at each
            frame, averaged over each stride.
        smooth_s: length of the moving average of the probabilities, seconds; 0 for none.
        high: the probability that opens a segment.
        low: the probability below which it closes.
        min_s: shorter segments are left out, seconds.
        merge_s: gaps of up to this length between segments of one class are closed, seconds.
        overlap: whether segments of several classes may overlap, as for multi-label models. Otherwise a segment also
            ends where another class is the most probable and reaches its ``high``.
        classes: (high, low) of the classes that have their own.
        learned_from: number of videos whose segments the settings were chosen on; 0 for none.

    Raises:
        ArgumentError: a length below 0, or thresholds that are not probabilities with ``low`` at most ``high``.
    """

    window_s: float | None = 1.0
    stride_s: float = 0.5
    smooth_s: float = 1.0
    high: float = 0.5
    low: float = 0.3
    min_s: float = 0.5
    merge_s: float = 0.5
    overlap: bool = False
    classes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    learned_from: int = 0

    def __post_init__(self) -> None:
        if (
            (self.window_s is not None and self.window_s <= 0)
            or self.stride_s <= 0
            or min(self.smooth_s, self.min_s, self.merge_s) < 0
        ):
            raise ArgumentError(
                "segments: window_s and stride_s must be above 0; smooth_s, min_s and merge_s 0 or more"
            )
        for name, (high, low) in {"": (self.high, self.low), **self.classes}.items():
            if not 0 <= low <= high <= 1:
                what = f" of {name!r}" if name else ""
                raise ArgumentError(
                    f"segments: thresholds{what} must be 0 <= low <= high <= 1, got low {low} and high {high}"
                )

    def thresholds(self, labels: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The thresholds ``high`` and ``low`` of each class, [K]."""
        pairs = [self.classes.get(label, (self.high, self.low)) for label in labels]
        high, low = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return high, low


def default_settings(calibration: Mapping[str, Any], num_classes: int, multi_label: bool) -> SegmentSettings:
    """The settings of a model that was trained on video labels alone.

    A segment opens at the probability below which the model answers "none of these"; without one, halfway between that
    of a guess (one of K, or 0 for multi-label models) and 1. It closes halfway between a guess and that.

    Args:
        calibration: of the model (``ModelCard.calibration``).
        num_classes: K.
        multi_label: whether the model gives every class a probability of its own, so that segments may overlap.
    """
    guess = 0.0 if multi_label else 1 / num_classes
    high = float(calibration.get("none_below") or (1 + guess) / 2)
    return SegmentSettings(high=high, low=min(high, (high + guess) / 2), overlap=multi_label)


class _Span(NamedTuple):
    """Windows first … last - 1, which show a class."""

    label: int
    first: int
    last: int


def find_segments(scores: ScoresOverTime, settings: SegmentSettings) -> list[Segment]:
    """Find the segments of a video.

    Args:
        scores: of its windows or frames.
        settings: thresholds and lengths. Its window and stride are not used here.

    Returns:
        Segments by their starts. Their score is the mean smoothed probability of the class.
    """
    if not len(scores):
        return []
    smoothed = smooth_over_time(scores, settings.smooth_s)
    high, low = settings.thresholds(scores.labels)
    spans = _each_class(smoothed, high, low) if settings.overlap else _one_class(smoothed, high, low)
    kept = _tidy(spans, scores.edges, settings)
    lengths = np.diff(scores.edges)
    found = []
    for label, first, last in kept:
        mean = np.average(smoothed[first:last, label], weights=lengths[first:last])
        start_s, end_s = scores.edges[[first, last]].tolist()
        found.append(Segment(round(start_s, 6), round(end_s, 6), scores.labels[label], float(mean)))
    return found


def smooth_over_time(scores: ScoresOverTime, length_s: float) -> NDArray[np.float64]:
    """Moving average of the probabilities [n, K], over the windows whose middle is within ``length_s / 2``.

    At the ends of the video the average is over the windows that there are. Each counts by its length.
    """
    if length_s <= 0 or not len(scores):
        return scores.probabilities
    edges = scores.edges
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    first = np.searchsorted(middles, middles - length_s / 2 - _SAME_S)
    last = np.searchsorted(middles, middles + length_s / 2 + _SAME_S, side="right")
    sums = np.cumsum(scores.probabilities * lengths[:, None], axis=0)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    weights = np.concatenate([[0.0], np.cumsum(lengths)])
    return (sums[last] - sums[first]) / (weights[last] - weights[first])[:, None]


def _each_class(
    probabilities: NDArray[np.float64], high: NDArray[np.float64], low: NDArray[np.float64]
) -> list[_Span]:
    """Spans of every class by itself: opened by ``high``, closed below ``low``."""
    event = (probabilities >= high).astype(np.int8) - (probabilities < low)
    numbers = np.where(event != 0, np.arange(len(event))[:, None], 0)
    last_event = np.maximum.accumulate(numbers, axis=0)  # an event lasts until the next one
    active = np.take_along_axis(event, last_event, axis=0) == 1
    return [
        _Span(label, first, last)
        for label in range(active.shape[1])
        for value, first, last in _runs(active[:, label])
        if value
    ]


def _one_class(
    probabilities: NDArray[np.float64], high: NDArray[np.float64], low: NDArray[np.float64]
) -> list[_Span]:
    """Spans of at most one class at a time."""
    best = probabilities.argmax(axis=1)
    opens = probabilities[np.arange(len(best)), best] >= high[best]
    current, states = -1, np.empty(len(best), dtype=np.int64)
    for number, (label, opened) in enumerate(zip(best.tolist(), opens.tolist(), strict=True)):
        if opened:
            current = label
        elif current >= 0 and probabilities[number, current] < low[current]:
            current = -1
        states[number] = current
    return [_Span(label, first, last) for label, first, last in _runs(states) if label >= 0]


def _runs(values: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Runs of equal values: the value, the first number, and the number behind the last."""
    cuts = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *cuts.tolist(), len(values)]
    return [(int(values[first]), first, last) for first, last in pairwise(bounds)]


def _tidy(spans: Iterable[_Span], edges: NDArray[np.float64], settings: SegmentSettings) -> list[_Span]:
    """Close short gaps, leave out short spans, and close the gaps that these have left."""

    def close(ordered: Sequence[_Span]) -> list[_Span]:
        closed: list[_Span] = []
        behind: dict[int, int] = {}  # place in ``closed`` of the last span of each class
        for span in ordered:
            place = behind.get(span.label, -1) if settings.overlap else len(closed) - 1
            before = closed[place] if place >= 0 else None
            same = before is not None and before.label == span.label
            if before and same and edges[span.first] - edges[before.last] <= settings.merge_s + _SAME_S:
                closed[place] = before._replace(last=span.last)
            else:
                behind[span.label] = len(closed)
                closed.append(span)
        return closed

    ordered = close(sorted(spans, key=lambda span: (span.first, span.label)))
    long = [span for span in ordered if edges[span.last] - edges[span.first] >= settings.min_s - _SAME_S]
    return close(long)


def save_settings(folder: str | Path, settings: SegmentSettings) -> Path:
    """Write the settings into a run's or model's folder, as ``segments.json``; the file appears complete."""
    path = Path(folder) / SEGMENTS_FILE
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(dataclasses.asdict(settings), indent=2, ensure_ascii=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def load_settings(folder: str | Path) -> SegmentSettings | None:
    """The settings that `save_settings` has written; None if there are none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = Path(folder) / SEGMENTS_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        classes = {name: (float(high), float(low)) for name, (high, low) in content.pop("classes").items()}
        return SegmentSettings(classes=classes, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not readable ({error}). Remove it, or learn the settings again."
        ) from error
