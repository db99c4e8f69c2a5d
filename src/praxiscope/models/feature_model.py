"""The common part of models that learn from features of single frames: a frozen network, then a head over time.

Axis letters: B videos, S frames, C channels, H rows, W columns, D features of a frame, P features of a video, K
classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.models.contract import Normalisation, Sees
from praxiscope.models.snippets import Channels, SnippetNetwork, Stream

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


def frame_network(
    backbone: str,
    *,
    stream: Stream,
    in_channels: Channels | None,
    pretrained: bool,
    input_size: int | None,
) -> SnippetNetwork:
    """The network of the features. Its classifier, of one class, is not used.

    Args: see `praxiscope.models.snippets.SnippetNetwork`.
    """
    return SnippetNetwork(
        backbone=backbone,
        num_classes=1,
        stream=stream,
        in_channels=in_channels,
        dropout=0.0,
        pretrained=pretrained,
        batchnorm="frozen",
        consensus="average",
        input_size=input_size,
        sees=Sees(),
    )


class FeatureModel(nn.Module):
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

    sees = Sees(together=None)
    consensus = None
    head: nn.Module

    def __init__(self, frame: SnippetNetwork, num_classes: int, layer: str | None, frames: int) -> None:
        super().__init__()
        if frame.stems is not None:
            raise ArgumentError(
                "features need a network with one length of stacks; give in_channels one number"
            )
        if frames < 1:
            raise ArgumentError(f"frames must be at least 1, got {frames}")
        self.frame = frame.requires_grad_(False)
        self.num_classes, self.layer, self.frames = num_classes, layer, frames
        self.width = _width(frame, layer)

    @property
    def streams(self) -> tuple[str, ...]:
        """The stream of the network."""
        return self.frame.streams

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the input, by the stream's name."""
        return self.frame.channels

    @property
    def normalisation(self) -> dict[str, Normalisation]:
        """Mean and std of the input, by the stream's name."""
        return self.frame.normalisation

    @property
    def stream_networks(self) -> dict[str, nn.Module]:
        """The backbone, by the stream's name."""
        return self.frame.stream_networks

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layer that takes the input."""
        return self.frame.first_convolutions

    def default_protocol(self, flip: bool) -> str:
        """As many frames as the features were computed of, in the centre crop."""
        return f"{self.frames}x1"

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return."""
        return self.frame.layer_names()

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
