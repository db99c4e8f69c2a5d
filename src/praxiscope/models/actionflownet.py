"""ActionFlowNet: one encoder of RGB frames that classifies actions and, in training, estimates optical flow.

J. Y.-H. Ng, J. Choi, J. Neumann, L. S. Davis, "ActionFlowNet: Learning Motion Representation for Action Recognition",
WACV 2018. A prediction does not use the flow decoder, so it costs what the plain ResNet costs.

Axis letters: B videos, S snippets, T frames of a snippet, F flow fields, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.layers.normalisation import freeze_batchnorm
from praxiscope.models.action_over_flow import ActionFlowOutput, ClassifyingFlowNetwork
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode

__all__ = ["ActionFlowNet", "actionflownet", "actionflownet_2f"]

_BATCHNORM_MODES = ("train", "partial", "frozen")


class ActionFlowNet(ClassifyingFlowNetwork):
    """A flow network with a linear classifier on the pooled output of its encoder.

    Args:
        batchnorm: "train": all BatchNorm layers learn; "partial": only the first one; "frozen": none.
        others: see `ClassifyingFlowNetwork`. By default the paper's network over 16 frames.
    """

    training_only = ("decoder",)

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = "resnet18",
        in_channels: int = 48,
        time: bool = True,
        dropout: float = 0.5,
        batchnorm: BatchNormMode = "train",
        consensus: str = "average",
        **network: Any,
    ) -> None:
        if batchnorm not in _BATCHNORM_MODES:
            raise ArgumentError(f"batchnorm must be 'train', 'partial' or 'frozen', got {batchnorm!r}")
        super().__init__(
            num_classes=num_classes,
            dropout=dropout,
            consensus=consensus,
            backbone=backbone,
            in_channels=in_channels,
            time=time,
            **network,
        )
        self.batchnorm = batchnorm
        self.train()

    def train(self, mode: bool = True) -> ActionFlowNet:
        """Set the training mode, except for the BatchNorm layers that ``batchnorm`` freezes."""
        super().train(mode)
        if self.batchnorm != "train":
            freeze_batchnorm(self.encoder, keep_first=self.batchnorm == "partial")
        return self

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return, from the input to the classifier."""
        return self.encoder.layer_names()

    def forward(self, frames: Tensor, *, maps: Sequence[str] = (), flow: bool = False) -> ActionFlowOutput:
        """Score snippets and their videos.

        Args:
            frames: float [B, S, 3 T, H, W], normalised by ``normalisation``; any S.
            maps: names of layers (see `layer_names`) whose outputs are also returned.
            flow: also estimate flow.

        Raises:
            ArgumentError: the shape is wrong, or the decoder was not loaded.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        self.check_frames(frames)
        shape = tuple(frames.shape[:2])
        stages, kept = self.encoder(frames.flatten(0, 1), maps, shape)
        return self.answer(stages[-1], kept, self.decode(stages) if flow else (), shape)


@register_model(
    "actionflownet",
    targets="flow",
    backbones=("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    parts=("encoder", "decoder"),
)
def actionflownet(
    *,
    num_classes: int,
    backbone: str = "resnet18",
    in_channels: int = 48,
    dropout: float = 0.5,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    consensus: str = "average",
    standardise: bool = False,
) -> ActionFlowNet:
    """Build ActionFlowNet over 16 consecutive frames, usually from a trained ``flownet-3d`` (``--from``).

    Args:
        num_classes: K.
        backbone: a torchvision ResNet, converted into one over time (`praxiscope.models.encoders`).
        in_channels: 3 T; T is 16 in the paper.
        dropout: rate before the classifier.
        pretrained: start from inflated ImageNet weights.
        batchnorm: see `ActionFlowNet`.
        consensus: name of a function of `praxiscope.layers.consensus`.
        standardise: standardise each clip (`praxiscope.layers.standard_clips`).
    """
    return ActionFlowNet(
        num_classes=num_classes,
        backbone=backbone,
        in_channels=in_channels,
        time=True,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        consensus=consensus,
        standardise=standardise,
    )


@register_model(
    "actionflownet-2f",
    targets="flow",
    backbones=("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    parts=("encoder", "decoder"),
)
def actionflownet_2f(
    *,
    num_classes: int,
    backbone: str = "resnet18",
    in_channels: int = 6,
    dropout: float = 0.5,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    consensus: str = "average",
    standardise: bool = False,
) -> ActionFlowNet:
    """Build ActionFlowNet-2F, which takes two consecutive frames, usually from a trained ``flownet`` (``--from``).

    Args: see `actionflownet`; ``in_channels`` is 6.
    """
    return ActionFlowNet(
        num_classes=num_classes,
        backbone=backbone,
        in_channels=in_channels,
        time=False,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        consensus=consensus,
        standardise=standardise,
    )
