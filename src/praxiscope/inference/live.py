"""Answers while a video comes: from a camera, an address, standard input or a file at its own pace.

Axis letter: K classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.answers import NoneBelow, find_threshold, is_none
from praxiscope.inference.fused import FusedRecogniser
from praxiscope.inference.live_models import live_model
from praxiscope.inference.loading import load
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.progress import ConsoleReporter, Reporter
from praxiscope.video.live_frames import LiveFrame, NewestFrame
from praxiscope.video.live_sources import live_source
from praxiscope.video.transforms import CenterCrop

__all__ = ["Live", "LiveAnswer", "Smoothing", "live"]

_NEAR_S = 1e-3  # streams round times to milliseconds


@dataclass(frozen=True)
class LiveAnswer:
    """What a live video shows at a time.

    Attributes:
        time_s: time of the newest frame that the answer knows, seconds since the first frame of the source.
        clock_s: when the answer was given, seconds since 1970.
        labels: class names, the most probable first.
        scores: their probabilities, after smoothing.
        none_of_these: the best class is less probable than the threshold.
        frames: number of frames that the model has taken so far.
        dropped: number of frames so far that the model was too slow for.
        delay_s: seconds from the arrival of the newest frame to the answer.
        stretch: how often the source was lost before.
    """

    time_s: float
    clock_s: float
    labels: list[str]
    scores: list[float]
    none_of_these: bool
    frames: int
    dropped: int
    delay_s: float
    stretch: int = 0


class Smoothing:
    """Exponential mean of scores over time.

    A score of ``smooth_s`` seconds ago has 1 / e of the weight of the newest.

    Args:
        smooth_s: seconds; 0 for none.
    """

    def __init__(self, smooth_s: float) -> None:
        self.smooth_s = smooth_s
        self._sum: Tensor | None = None
        self._weight = self._time_s = 0.0

    def add(self, scores: Tensor, time_s: float) -> Tensor:
        """Add scores before softmax [K], and return their mean."""
        if self._sum is None or self.smooth_s == 0:
            self._sum, self._weight = scores.double(), 1.0
        else:
            kept = math.exp(-(time_s - self._time_s) / self.smooth_s)
            self._sum, self._weight = kept * self._sum + scores, kept * self._weight + 1
        self._time_s = time_s
        return (self._sum / self._weight).float()


class Live(Iterator[LiveAnswer]):
    """The answers for a live video, see `live`. Close it, or use it as a context, to stop reading.

    Attributes:
        name: name of the source.
    """

    def __init__(
        self, recogniser: Recogniser, frames: NewestFrame, smooth_s: float, every_s: float, top: int
    ) -> None:
        self.recogniser, self.newest, self.name = recogniser, frames, frames.source.name
        self.smooth_s, self.every_s, self.top = smooth_s, every_s, top
        self.model = live_model(recogniser)
        self.threshold: float | None = None
        self.frames = 0
        self._answers = self._run()

    @property
    def dropped(self) -> int:
        """Number of frames that the model was too slow for."""
        return self.newest.dropped

    def __next__(self) -> LiveAnswer:
        return next(self._answers)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading the source."""
        self.newest.close()
        self._answers.close()

    def _run(self) -> Generator[LiveAnswer]:
        smoothing, stretch, due_s = Smoothing(self.smooth_s), 0, -math.inf
        try:
            for frame in self.newest:
                if frame.stretch != stretch:  # what was seen before is of another time
                    stretch, smoothing = frame.stretch, Smoothing(self.smooth_s)
                    self.model.restart()
                wanted = frame.time_s >= due_s - _NEAR_S
                logits = self.model.add(self._pixels(frame), frame.time_s, wanted)
                self.frames += 1
                if logits is None:
                    continue
                logits = smoothing.add(logits, frame.time_s)
                if wanted:
                    # On a fixed raster, so that the answers do not drift; a late one does not call for more.
                    begun = due_s if math.isfinite(due_s) else frame.time_s
                    due_s = max(begun, frame.time_s - self.every_s) + self.every_s
                    yield self._answer(logits, frame)
        finally:
            self.newest.close()

    def _pixels(self, frame: LiveFrame) -> Tensor:
        contract = self.recogniser.card.input
        pixels = frame.pixels(contract.short_side)
        return CenterCrop(contract.size)({"rgb": pixels})["rgb"].contiguous()

    def _answer(self, logits: Tensor, frame: LiveFrame) -> LiveAnswer:
        card = self.recogniser.card
        labels, scores = best_labels(logits, card.labels, card.multi_label, self.top, card.temperature)
        return LiveAnswer(
            time_s=frame.time_s,
            clock_s=time.time(),
            labels=labels,
            scores=scores,
            none_of_these=is_none(scores, self.threshold),
            frames=self.frames,
            dropped=self.dropped,
            delay_s=time.monotonic() - frame.arrived_s,
            stretch=frame.stretch,
        )


def live(
    recogniser: Recogniser | str | Path,
    source: Any,
    *,
    smooth_s: float = 1.0,
    every_s: float = 0.0,
    top: int = 1,
    none_below: NoneBelow = "auto",
    device: str = "auto",
    progress: bool | Reporter = False,
) -> Live:
    """Predict the action in live video, answer by answer.

    The source is read in a thread at the model's frame rate, or every frame. While the model is busy, frames that come
    are dropped, except the newest: answers do not fall behind, and memory does not grow. Causal models and models of
    single frames score frame by frame; other models score the newest window, as soon as there are frames for one.

    Args:
        recogniser: a recogniser of one network on RGB frames, or its folder.
        source: the number of a camera, an address, "-", the path of a video (read at its own pace), or an iterable of
            pairs (seconds, frame uint8 [H, W, 3]); see `praxiscope.video.live_sources.live_source`.
        smooth_s: scores before softmax are averaged with weights that fall to 1 / e in so many seconds. 0: not at all.
        every_s: least seconds of the stream between two answers; 0: an answer for every frame.
        top: number of classes in an answer.
        none_below: see `Recogniser.predict`. The rate of false refusals of a calibration holds for whole clips.
        device: device of a recogniser that is loaded.
        progress: tell on standard error, or by a `Reporter`, when a source is lost and found again.

    Returns:
        An iterator of `LiveAnswer`, which ends with the source, or when it is closed.

    Raises:
        ArgumentError: a fused recogniser, a model of flow, an unknown kind of source, or a wrong value.
        VideoError: the source cannot be opened (from the first ``next``), or there is none of this name.

    Example:
        >>> with px.live("runs/a", 0, smooth_s=2) as answers:
        ...     for answer in answers:
        ...         print(answer.time_s, answer.labels[0], answer.scores[0])
    """
    for name, value in (("smooth_s", smooth_s), ("every_s", every_s)):
        if not 0 <= value < math.inf:
            raise ArgumentError(f"{name} must be a number of seconds of 0 or more, got {value}")
    if top < 1:
        raise ArgumentError(f"top must be at least 1, got {top}")
    opened = live_source(source)
    one = load(recogniser, device=device) if isinstance(recogniser, str | Path) else recogniser
    if isinstance(one, FusedRecogniser):
        raise ArgumentError(
            "a fused recogniser does not predict live video. Give one of its parts, a model of RGB frames."
        )
    reporter = progress if isinstance(progress, Reporter) else (ConsoleReporter() if progress else Reporter())
    threshold = find_threshold(none_below, one.calibration)
    answers = Live(one, NewestFrame(opened, one.card.input.fps, reporter.line), smooth_s, every_s, top)
    answers.threshold = threshold
    return answers
