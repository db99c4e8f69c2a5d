"""The common part of models that learn from features of single frames: a frozen network, then a head over time.

Axis letters: B videos, S frames, C channels, H rows, W columns, D features of a frame, P features of a video, K
classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from praxiscope.models.over_frames import OverFrames, frame_network
from praxiscope.models.snippets import SnippetNetwork

__all__ = ["FeatureModel", "FeatureOutput", "frame_network"]


class FeatureOutput(NamedTuple):
    """The output of a model on features.

    logits: [B, K], the video's scores before softmax.
    features: [B, S, D], of each frame.
    maps: the outputs of the requested layers, by name, [B, S, C, H, W].
    """

    logits: Tensor
    features: Tensor
    maps: Mapping[str, Tensor] = {}


class FeatureModel(OverFrames):
    """A frozen network for each frame, and a head that scores a video by the features of its frames.

    A subclass sets ``head``, the layers that learn, and defines ``score`` and ``classifiers``. A head computes in
    float32, whatever the precision of the network, so that stored features and videos get the same scores.

    Args:
        frame: the network of each frame, of one stream.
        num_classes: K.
        layer: name of the layer whose map, averaged over space, is the features; None: the input of the classifier.
        frames: number of frames of a video that are scored together by default.

    Attributes:
        width: D.

    Raises:
        UnknownNameError: the network has no such layer.
        ArgumentError: the network has several stems, or ``frames`` is less than 1.
    """

    head: nn.Module

    def __init__(self, frame: SnippetNetwork, num_classes: int, layer: str | None, frames: int) -> None:
        super().__init__(frame.requires_grad_(False), num_classes, frames)
        self.layer = layer
        self.width = _width(frame, layer)

    def train(self, mode: bool = True) -> FeatureModel:
        """Set the mode of the head. The network stays in evaluation mode: it computes the features that are stored."""
        super().train(mode)
        self.frame.eval()
        return self

    def features(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, S, C, H, W] to features [B, S, D], as a feature store holds them."""
        return self._seen(frames, ())[0]

    def score(self, features: Tensor) -> FeatureOutput:
        """Features [B, S, D] to scores [B, K]."""
        raise NotImplementedError

    def forward(self, frames: Tensor, *, maps: Sequence[str] = ()) -> FeatureOutput:
        """Score videos.

        Args:
            frames: float [B, S, C, H, W], normalised by ``normalisation``; any S.
            maps: names of layers (see `layer_names`) whose outputs are also returned.

        Raises:
            ArgumentError: the shape is wrong.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        features, found = self._seen(frames, maps)
        with torch.autocast(frames.device.type, enabled=False):
            return self.score(features.float())._replace(maps=found)

    def _seen(self, frames: Tensor, maps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Features of the frames, and the requested maps."""
        if self.layer is None or isinstance(maps, str):  # the network refuses a string
            seen = self.frame(frames, maps=maps)
            return seen.features, dict(seen.maps)
        seen = self.frame(frames, maps=tuple({*maps, self.layer}))
        return seen.maps[self.layer].float().mean((-2, -1)), {name: seen.maps[name] for name in maps}


def _width(frame: SnippetNetwork, layer: str | None) -> int:
    """D, the number of features."""
    if layer is None:
        (classifier,) = frame.classifiers
        weight: Any = classifier.weight
        return int(weight.shape[1])
    side = frame.input_size
    frame.eval()
    with torch.no_grad():
        maps = frame(torch.zeros(1, 1, frame.in_channels, side, side), maps=(layer,)).maps
    return int(maps[layer].shape[2])
