"""Class scores of a recogniser over the time of a video, for `praxiscope.inference.segments`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.live_models import live_model, scores_online
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.segments import ScoresOverTime
from praxiscope.inference.timeline import default_window
from praxiscope.models.contract import ScoresSnippetsOnline
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.opening import VideoSource, as_video
from praxiscope.video.transforms import CenterCrop

__all__ = ["default_windows", "scores_over_time"]

_WINDOW_S, _STRIDE_S = 1.0, 0.5


def default_windows(recogniser: AnyRecogniser) -> tuple[float | None, float]:
    """The window and the stride for a model, seconds.

    None as window: the model answers at each frame. Causal models do, and models over minutes, which would need windows
    as long as their training examples. Those that cannot have such windows, and half of one as stride.
    """
    longest = _WINDOW_S
    for part in recogniser.parts:
        if part.card.input.fps is not None:
            longest = max(longest, default_window(part.card.input))
    if isinstance(recogniser, Recogniser) and _answers_by_frame(recogniser):
        return None, _STRIDE_S
    return longest, longest / 2


def _answers_by_frame(recogniser: Recogniser) -> bool:
    model, contract = recogniser.model, recogniser.card.input
    if contract.flow is not None or (contract.length > 1 and contract.fps is not None):
        return False
    online = isinstance(model, ScoresSnippetsOnline) or contract.fps is not None
    return online and scores_online(model)


def scores_over_time(
    recogniser: AnyRecogniser,
    source: VideoSource,
    window_s: float | None,
    stride_s: float,
    *,
    fps: float | None = None,
    advance: Callable[[float], None] = lambda end_s: None,
) -> ScoresOverTime:
    """Probabilities of all classes over the time of a video, which is read once.

    Args:
        recogniser: the model.
        source, fps: as for `Recogniser.timeline`.
        window_s, stride_s: windows as for `Recogniser.timeline`. Without a window: the answers of a model at each frame
            (see `default_windows`), averaged over each ``stride_s``.
        advance: called with the end of every window, seconds.

    Raises:
        ArgumentError, VideoError, DataError: as `Recogniser.timeline`.
    """
    if window_s is None:
        assert isinstance(recogniser, Recogniser)
        return _scores_by_frame(recogniser, as_video(source, fps, timed=True), stride_s, advance)
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


def _scores_by_frame(
    recogniser: Recogniser, video: Video, stride_s: float, advance: Callable[[float], None]
) -> ScoresOverTime:
    """Mean probabilities of the answers in each ``stride_s``, counted from the first frame."""
    card, model = recogniser.card, live_model(recogniser)
    crop = CenterCrop(card.input.size)
    starts: list[float] = []
    sums: list[np.ndarray] = []
    counts: list[int] = []
    end_s, cells = 0.0, 0
    for time_s, until_s, frame in _on_screen(video, card.input.fps):
        end_s = until_s
        pixels = crop({"rgb": frame.rgb(short_side=card.input.short_side)})["rgb"].contiguous()
        logits = model.add(pixels, time_s, True)
        if logits is None:
            continue
        scaled = logits.double() / card.temperature
        row = (scaled.sigmoid() if card.multi_label else scaled.softmax(dim=-1)).numpy()
        cell = int((time_s - starts[0] + video.same_s) / stride_s) if starts else 0
        if not starts or cell > cells:
            cells = cell
            starts.append(time_s)
            sums.append(np.zeros(len(row)))
            counts.append(0)
            advance(time_s)
        sums[-1] += row
        counts[-1] += 1
    advance(end_s)
    means = np.array(sums).reshape(-1, len(recogniser.labels)) / np.array(counts).reshape(-1, 1)
    ends = [*starts[1:], end_s][: len(starts)]
    return ScoresOverTime(np.array(starts), np.array(ends), means, recogniser.labels)


def _on_screen(video: Video, fps: float | None) -> Iterator[tuple[float, float, DecodedFrame]]:
    """The frames that a model reads: the time of each, the time of the next (of the last: the end of the video), and
    the frame.

    At a frame rate, the frame on screen every 1 / fps seconds after the first; otherwise every frame.
    """
    shown: DecodedFrame | None = None
    read: tuple[float, DecodedFrame] | None = None
    first_s, number = 0.0, 0

    def due(until_s: float) -> Iterator[tuple[float, DecodedFrame]]:
        nonlocal number
        assert shown is not None
        if fps is None:
            yield shown.time_s, shown
            return
        while (due_s := first_s + number / fps) < until_s - video.same_s:
            number += 1
            yield due_s, shown

    def reads() -> Iterator[tuple[float, DecodedFrame]]:
        nonlocal shown, first_s
        for frame in video.decode():
            if shown is None:
                first_s = frame.time_s
            else:
                yield from due(frame.time_s)
            shown = frame
        if shown is not None:
            yield from due(video.end_of(shown.time_s))

    for newer in reads():
        if read is not None:
            yield read[0], newer[0], read[1]
        read = newer
    if read is not None and shown is not None:
        yield read[0], video.end_of(shown.time_s), read[1]
