"""A network for each frame, then one operator over time (Ng et al., "Beyond Short Snippets", CVPR 2015).

B videos, T frames of a video, n frames of an online call, C channels, H rows, W columns, D features of a frame, K
classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.models.named_layers import named_layers, run_layers
from praxiscope.models.over_frames import OverFrames
from praxiscope.models.snippets import SnippetNetwork

__all__ = [
    "FramesThenTime",
    "Level",
    "MaxFramesThenTime",
    "MaxOverTime",
    "OnlineFramesThenTime",
    "OverTime",
    "OverTimeOutput",
    "running",
]

Level: TypeAlias = Literal["maps", "features"]
"""What an operator takes of each frame: the last map of the network, or the input of its classifier."""


class OverTimeOutput(NamedTuple):
    """The output of a network over time.

    logits: [B, K], the video's scores before softmax.
    features: [B, T, D], of each frame; maps are averaged over space.
    maps: the outputs of the requested layers, by name, [B, T, C, H, W].
    frame_logits: [B, T, K], scores after each frame, if training uses them; else None.
    frame_weights: [T], the weight of the loss of each frame; None without ``frame_logits``.
    """

    logits: Tensor
    features: Tensor
    maps: Mapping[str, Tensor] = {}
    frame_logits: Tensor | None = None
    frame_weights: Tensor | None = None


class OverTime(nn.Module):
    """The interface of operators over time.

    Attributes:
        level: what it takes of each frame.
        classifier: the layer that outputs class scores.
        online: whether it scores a video while its frames come: ``begin`` and ``advance``.
    """

    level: Level
    classifier: nn.Linear
    online = True

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, T, D] or maps [B, T, D, h, w] to scores [B, K]."""
        raise NotImplementedError

    def frame_logits(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Scores after each frame [B, T, K] and the weights of their losses [T], for operators that learn from them."""
        return None

    def begin(self) -> Any:
        """The state before the first frame."""
        return None

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The next frames of one video, [n, ...], to the scores after each, [n, K], and the next state."""
        raise NotImplementedError


class MaxOverTime(OverTime):
    """The interface of operators that take a maximum over time, and nothing else of it.

    Attributes:
        window: frames of a candidate, and from the first of one to the first of the next.
        by_maximum: False for an operator that was built with another pooling in its place.
    """

    window = (1, 1)
    by_maximum = True

    def candidates(self, x: Tensor) -> Tensor:
        """Features or maps [B, T, ...] to the values among which the maximum is taken, [B, n, ...]."""
        raise NotImplementedError

    def classify(self, maxima: Tensor) -> Tensor:
        """The maxima [B, ...] to scores [B, K]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.candidates(x).amax(1))


class FramesThenTime(OverFrames):
    """The frames of a video through one network, then an operator over time.

    Args:
        frame: the network of each frame; its own classifier is not used.
        over_time: the operator.
        num_classes: K.
        frames: number of frames of a video in training, and at test by default.
        frozen: the network of the frames does not learn: the variants (fc) of the paper.

    Raises:
        ArgumentError: the network has several stems.
    """

    def __init__(
        self, frame: SnippetNetwork, over_time: OverTime, *, num_classes: int, frames: int, frozen: bool
    ) -> None:
        super().__init__(frame, num_classes, frames)
        self.over_time, self.frozen = over_time, frozen
        if frozen:
            frame.requires_grad_(False)
        for layer in frame.classifiers:  # unused; another process would wait for its gradient
            layer.requires_grad_(False)
        self.train()

    @property
    def classifiers(self) -> list[nn.Module]:
        """The layer that outputs class scores."""
        return [self.over_time.classifier]

    def train(self, mode: bool = True) -> FramesThenTime:
        """Set the training mode; a frozen network stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.frame.eval()
        return self

    def features(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, C, H, W] to features [B, T, D], or to maps [B, T, D, h, w], by the operator."""
        if self.over_time.level == "features":
            return self._seen(frames, ())[0]
        self.frame.check_frames(frames)
        x, _ = run_layers(named_layers(self.frame.backbone).layers, frames.flatten(0, 1))
        return x.reshape(*frames.shape[:2], *x.shape[1:])

    def score(self, features: Tensor) -> OverTimeOutput:
        """Features of frames to scores of videos.

        Raises:
            ArgumentError: the operator needs maps, or another number of frames.
        """
        needed = 5 if self.over_time.level == "maps" else 3
        if features.dim() != needed:
            wants = "maps [B, T, D, h, w]" if needed == 5 else "features [B, T, D]"
            raise ArgumentError(
                f"this model works on {wants} of frames, got {list(features.shape)}. Features that are pooled over "
                "space serve late-pool, pool and lstm; train the others on videos."
            )
        flat = features if features.dim() == 3 else features.flatten(3).mean(3)
        each = self.over_time.frame_logits(features) if self.training else None
        if each is None:
            return OverTimeOutput(self.over_time(features), flat)
        scores, weights = each
        return OverTimeOutput(scores[:, -1], flat, frame_logits=scores, frame_weights=weights)

    def forward(self, frames: Tensor, *, maps: Sequence[str] = ()) -> OverTimeOutput:
        """Score videos.

        Args:
            frames: float [B, T, C, H, W], normalised by ``normalisation``; any T, unless the operator has a fixed one.
            maps: names of layers (see `layer_names`) whose outputs are also returned.

        Raises:
            ArgumentError: the shape is wrong.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        if self.over_time.level == "features":
            features, found = self._seen(frames, maps)
        else:
            found = dict(self.frame(frames, maps=maps).maps) if maps else {}
            features = self.features(frames)
        return self.score(features)._replace(maps=found)

    def _seen(self, frames: Tensor, maps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        seen = self.frame(frames, maps=maps)
        assert seen.features is not None
        return seen.features, dict(seen.maps)


class OnlineFramesThenTime(FramesThenTime):
    """The same with an operator that also scores a video while its frames come
    (`praxiscope.models.contract.ScoresOnline`)."""

    def begin(self) -> Any:
        """The state before the first frame."""
        return self.over_time.begin()

    def advance(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The next frames [n, C, H, W] to the scores after each, [n, K], and the next state."""
        return self.advance_features(self.features(frames[None])[0], state)

    def advance_features(self, features: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The features of the next frames, [n, ...], to the scores after each, [n, K], and the next state."""
        return self.over_time.advance(features, state)


class MaxFramesThenTime(OnlineFramesThenTime):
    """The same with an operator that takes a maximum over time (`praxiscope.models.contract.TakesMaximum`)."""

    over_time: MaxOverTime

    @property
    def window(self) -> tuple[int, int]:
        """Frames of a candidate of the maximum, and from the first of one to the first of the next."""
        return self.over_time.window

    def candidates(self, features: Tensor) -> Tensor:
        """Features [B, T, ...] to the values among which the maximum is taken, [B, n, ...]."""
        return self.over_time.candidates(features)

    def classify(self, maxima: Tensor) -> Tensor:
        """The maxima [B, ...] to scores [B, K]."""
        return self.over_time.classify(maxima)


def running(x: Tensor, state: Any, reduce: Literal["max", "mean"]) -> tuple[Tensor, Any]:
    """The maximum or mean of all frames up to each one.

    Args:
        x: the next frames, [n, ...].
        state: what the last call returned; None at the start.
        reduce: "max" or "mean".

    Returns:
        [n, ...], and the next state.
    """
    if reduce == "max":
        before = x if state is None else torch.cat((state[None], x))
        values = before.cummax(0).values
        values = values if state is None else values[1:]
        return values, values[-1]
    # The sum over hours needs more digits than those of half precision; Apple's GPUs have no float64.
    exact = x.float() if x.device.type == "mps" else x.double()
    total, count = (torch.zeros_like(exact[0]), 0) if state is None else state
    sums = exact.cumsum(0) + total
    counts = torch.arange(count + 1, count + len(x) + 1, device=x.device, dtype=exact.dtype)
    means = sums / counts.reshape(-1, *[1] * (x.dim() - 1))
    return means.to(x.dtype), (sums[-1], count + len(x))
