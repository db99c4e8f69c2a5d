"""What networks that classify snippets of several frames with a flow network share.

Axis letters: B videos, S snippets, T frames of a snippet, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.consensus import consensus_functions
from praxiscope.models.backbones import CLASSIFIER_STD, DropoutLinear
from praxiscope.models.contract import Sees
from praxiscope.models.flow_network import FlowNetwork

__all__ = ["ActionFlowOutput", "ClassifyingFlowNetwork"]


class ActionFlowOutput(NamedTuple):
    """The output of a network that classifies actions and may estimate flow.

    logits: [B, K], the video's scores before softmax.
    snippet_logits: [B, S, K], those of every snippet; their consensus is ``logits``.
    features: [B, S, D], the input of the classifier, before its dropout.
    maps: the outputs of the requested layers, by name, [B, S, C, h, w] or [B, S, C, t, h, w].
    flow: if it was requested, [B, S, F, 2, h, w] in units of ``flow_unit`` pixels, the finest resolution first.
    """

    logits: Tensor
    snippet_logits: Tensor
    features: Tensor | None = None
    maps: Mapping[str, Tensor] = {}
    flow: tuple[Tensor, ...] = ()


class ClassifyingFlowNetwork(FlowNetwork):
    """Base class of networks that classify each snippet of a video, and average over its snippets.

    Args:
        num_classes: K.
        features: D.
        dropout: rate before the classifier.
        consensus: name of a function of `praxiscope.layers.consensus`.
        network: further arguments of `FlowNetwork`.
    """

    sees = Sees()

    def __init__(
        self,
        *,
        num_classes: int,
        dropout: float,
        consensus: str,
        **network: Any,
    ) -> None:
        super().__init__(**network)
        if num_classes < 1:
            raise ArgumentError(f"num_classes must be at least 1, got {num_classes}")
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout must be in [0, 1), got {dropout}")
        self.num_classes = num_classes
        self.consensus = consensus_functions.get(consensus)
        self.classifier = DropoutLinear(self.encoder.widths[-1], num_classes, dropout)
        nn.init.normal_(self.classifier.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(self.classifier.bias)

    @property
    def classifiers(self) -> list[nn.Module]:
        """The layer that outputs class scores."""
        return [self.classifier]

    def default_protocol(self, flip: bool) -> str:
        """25 snippets of a video."""
        return "25x1"

    def check_frames(self, frames: Tensor) -> None:
        """Raise ArgumentError if frames are not floats [B, S, 3 T, H, W]."""
        if frames.dim() != 5 or frames.shape[2] != self.in_channels or frames.shape[1] < 1:
            raise ArgumentError(
                f"frames must be [B, S, {self.in_channels}, H, W], {self.frames} RGB frames in a snippet, got "
                f"{list(frames.shape)}"
            )
        if not frames.is_floating_point():
            raise ArgumentError(
                f"frames must be floats, normalised by model.normalisation; got {frames.dtype}"
            )

    def answer(
        self, last: Tensor, maps: Mapping[str, Tensor], flow: tuple[Tensor, ...], shape: tuple[int, ...]
    ) -> ActionFlowOutput:
        """Classify the last maps of snippets.

        Args:
            last: [B S, D, ...].
            maps, flow: for the output; of flow [B S, F, 2, h, w].
            shape: (B, S).
        """
        features = last.flatten(2).mean(2).reshape(*shape, -1)
        scores = self.classifier(features)
        return ActionFlowOutput(
            self.consensus(scores),
            scores,
            features,
            maps,
            tuple(x.reshape(*shape, *x.shape[1:]) for x in flow),
        )
