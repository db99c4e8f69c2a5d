"""Class scores of a recogniser over the time of a video, for `praxiscope.inference.segments`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.segments import ScoresOverTime
from praxiscope.video.opening import VideoSource

__all__ = ["scores_over_time"]


def scores_over_time(
    recogniser: AnyRecogniser,
    source: VideoSource,
    window_s: float,
    stride_s: float,
    *,
    fps: float | None = None,
    advance: Callable[[float], None] = lambda end_s: None,
) -> ScoresOverTime:
    """Probabilities of all classes in the windows of a video, which is read once; see `Recogniser.timeline`.

    Args:
        recogniser: the model.
        source, window_s, stride_s, fps: as for `Recogniser.timeline`.
        advance: called with the end of every window, seconds.

    Raises:
        ArgumentError, VideoError, DataError: as `Recogniser.timeline`.
    """
    labels = recogniser.labels
    place = {label: number for number, label in enumerate(labels)}
    times: list[tuple[float, float]] = []
    rows = []
    for window in recogniser.timeline(
        source, window_s=window_s, stride_s=stride_s, top=len(labels), fps=fps, none_below=None
    ):
        row = np.zeros(len(labels))
        row[[place[label] for label in window.labels]] = window.scores
        rows.append(row)
        times.append((window.start_s, window.end_s))
        advance(window.end_s)
    start_s, end_s = np.array(times, dtype=np.float64).reshape(-1, 2).T
    return ScoresOverTime(start_s, end_s, np.array(rows).reshape(-1, len(labels)), labels)
