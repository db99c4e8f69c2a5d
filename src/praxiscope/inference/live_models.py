"""How models score live video: frame by frame, or by windows of the newest frames.

Axis letters: S snippets of a window, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from typing import Any, Protocol

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.network import TrainedNetwork
from praxiscope.inference.timeline import default_window, snippet_times
from praxiscope.models.contract import (
    LearnsFromFeatures,
    ScoresOnline,
    ScoresSnippetsOnline,
    ScoresTrajectories,
)

__all__ = ["LiveModel", "live_model", "scores_online"]

_HISTORY_S = 10.0  # of a causal model without a frame rate
_MOST_FRAMES = 4096  # of a window
_NEAR_S = 1e-3  # streams round times to milliseconds


class LiveModel(Protocol):
    """A model that scores frames in order."""

    def restart(self) -> None:
        """Forget all frames: the next ones do not follow them."""
        ...

    def add(self, pixels: Tensor, time_s: float, wanted: bool) -> Tensor | None:
        """Take the next frame.

        Args:
            pixels: the frame, uint8 [3, H, W], scaled and cropped.
            time_s: its time.
            wanted: whether an answer is due; otherwise the model need not score.

        Returns:
            Scores before softmax, float32 [K], of the video at this frame; None if there are none (yet).
        """
        ...


def scores_online(model: object) -> bool:
    """Whether a model scores a video while its frames come. Models of a fixed number of frames say so in `begin`."""
    if not isinstance(model, ScoresOnline):
        return False
    try:
        model.begin()
    except ArgumentError:
        return False
    return True


def live_model(network: TrainedNetwork) -> LiveModel:
    """How a network scores live video.

    Raises:
        ArgumentError: it takes flow, trajectories, or stacks of frames at a frame rate.
    """
    contract, model = network.card.input, network.model
    if isinstance(network.model, ScoresTrajectories):
        raise ArgumentError(
            f"{network.card.name} scores trajectories of files and does not predict live video. Give a model of RGB "
            "frames."
        )
    if contract.flow is not None:
        raise ArgumentError(
            f"{network.card.name}: live video needs a model of RGB frames; this one takes flow. For recorded video: "
            "praxiscope predict RUN VIDEO --window 2s."
        )
    if contract.length > 1 and contract.fps is not None:
        raise ArgumentError(
            f"{network.card.name}: stacks of {contract.length} consecutive frames at {contract.fps:g} frames per "
            "second cannot be read live. Train with single frames (input.length=1)."
        )
    if isinstance(model, ScoresSnippetsOnline) and scores_online(model):
        return _Causal(network)
    if scores_online(model):
        return _WholePast(network)
    if network.sees.together == 1 and not network.sees.all_frames:
        return _SingleFrames(network)
    return _Windows(network)


class _Stack:
    """The newest frames as one snippet [C, H, W]: a frame, or a stack that ends with it."""

    def __init__(self, length: int) -> None:
        self.held: deque[Tensor] = deque(maxlen=length)

    def add(self, pixels: Tensor) -> Tensor:
        self.held.append(pixels)
        while len(self.held) < (self.held.maxlen or 1):
            self.held.appendleft(pixels)
        return torch.cat(list(self.held)) if len(self.held) > 1 else pixels


class _FrameByFrame:
    """Scores each snippet when it comes."""

    def __init__(self, network: TrainedNetwork) -> None:
        self.network = network
        self.restart()

    def restart(self) -> None:
        self.stack = _Stack(self.network.card.input.length)
        self.begin()

    def add(self, pixels: Tensor, time_s: float, wanted: bool) -> Tensor | None:
        frames = self.network.prepare(self.stack.add(pixels)[None, None])
        with torch.inference_mode(), self.network.precision.context(self.network.device):
            return self.scores(frames, time_s).float().cpu()

    def begin(self) -> None:
        """Forget all frames."""

    def scores(self, frames: Tensor, time_s: float) -> Tensor:
        """Normalised frame [1, 1, C, H, W] to scores [K]."""
        raise NotImplementedError


class _SingleFrames(_FrameByFrame):
    """A model that scores each snippet by itself."""

    def scores(self, frames: Tensor, time_s: float) -> Tensor:
        logits: Tensor = self.network.model(frames).logits
        return logits[0]


class _Causal(_FrameByFrame):
    """A model whose score of a snippet depends on it and on the past."""

    def begin(self) -> None:
        model: Any = self.network.model
        self.state = model.begin()

    def scores(self, frames: Tensor, time_s: float) -> Tensor:
        model: Any = self.network.model
        rows, self.state = model.advance_snippets(frames[0], self.state)
        last: Tensor = rows[-1]
        return last


class _WholePast(_FrameByFrame):
    """A model whose scores are of all frames since it began, such as a running maximum.

    Such a score hardly changes after an hour. So the model begins again after ``history_s`` seconds, and its answers
    are those of the one that began before, which has seen between one and two times as many seconds.
    """

    def __init__(self, network: TrainedNetwork) -> None:
        contract = network.card.input
        self.history_s = _HISTORY_S if contract.fps is None else contract.snippets / contract.fps
        super().__init__(network)

    def begin(self) -> None:
        self.states: list[tuple[float, Any]] = []  # when each began, the older one first

    def scores(self, frames: Tensor, time_s: float) -> Tensor:
        model: Any = self.network.model
        if not self.states or time_s - self.states[-1][0] >= self.history_s:
            self.states = [*self.states[-1:], (time_s, model.begin())]
        shared = isinstance(model, LearnsFromFeatures)
        x = model.features(frames)[0] if shared else frames[0]
        advance = model.advance_features if shared else model.advance
        moved = [(began_s, *advance(x, state)) for began_s, state in self.states]
        self.states = [(began_s, state) for began_s, _, state in moved]
        last: Tensor = moved[0][1][-1]
        return last


class _Windows:
    """A model that scores several snippets together: those of the newest window, once there are frames for all of it.

    The snippets are as far apart as those of a window of a timeline. The last is that of the newest frame, the others
    those of the frames on screen at their times.
    """

    def __init__(self, network: TrainedNetwork) -> None:
        contract = network.card.input
        window_s = default_window(contract)
        times_s = snippet_times(contract, window_s, any_number=network.sees.any_number)
        self.back_s = [times_s[-1] - at_s for at_s in times_s]  # from each snippet to the last
        self.every = network.sees.all_frames
        self.span_s = window_s if self.every else self.back_s[0]
        self.scorer = network.scorer(parse_protocol("1x1"))
        self.length = contract.length
        self.restart()

    def restart(self) -> None:
        self.stack = _Stack(self.length)
        self.held: deque[tuple[float, Tensor]] = deque(maxlen=_MOST_FRAMES)
        self.first_s = math.inf

    def add(self, pixels: Tensor, time_s: float, wanted: bool) -> Tensor | None:
        self.first_s = min(self.first_s, time_s)
        self.held.append((time_s, self.stack.add(pixels)))
        start_s = time_s - self.span_s + _NEAR_S
        while len(self.held) > 1 and self.held[1][0] <= start_s:  # the frame on screen at the start is kept
            self.held.popleft()
        if not wanted or self.first_s > start_s:
            return None
        seen = [one for _, one in self.held]
        if not self.every:
            shown = [at_s for at_s, _ in self.held]
            at = [bisect_right(shown, time_s - back_s + _NEAR_S) - 1 for back_s in self.back_s]
            seen = [seen[max(number, 0)] for number in at]
        return self.scorer.forward(torch.stack(seen)[None])[0]
