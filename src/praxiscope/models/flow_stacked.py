"""The stacked model: a residual network on the flow that a frozen FlowNet estimates from two frames.

J. Y.-H. Ng et al., "ActionFlowNet: Learning Motion Representation for Action Recognition", WACV 2018, section 4.3.3.1.
The residual network has no conv1 and pool1, because the flow has a quarter of the frames' resolution already. Its first
unit then takes 2 channels instead of 64; its shortcut is a projection (1 x 1 convolution and BatchNorm), as in all
units of a ResNet that change the number of channels.

Axis letters: B videos, S snippets of two frames, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.models.action_over_flow import ActionFlowOutput, ClassifyingFlowNetwork
from praxiscope.models.backbones import create_backbone
from praxiscope.models.named_layers import Layer, check_layers, run_layers
from praxiscope.models.registered import register_model
from praxiscope.models.residual import residual_stages

__all__ = ["FlowStacked", "flow_stacked"]


class FlowStacked(ClassifyingFlowNetwork):
    """A residual network on the finest output of a FlowNet, in pixels. The FlowNet, also its BatchNorm, does not learn.

    Args:
        keywords: see `ClassifyingFlowNetwork`.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        network = create_backbone(self.backbone_name, num_classes=1, dropout=0.0)
        first, *others = residual_stages(network, self.backbone_name)
        _take_flow(first[0])
        self.network = nn.ModuleDict({f"layer{n}": stage for n, stage in enumerate((first, *others), 1)})
        for part in self.frozen:
            part.requires_grad_(False)
        self.train()

    @property
    def frozen(self) -> list[nn.Module]:
        """The parts of the FlowNet."""
        return [part for part in (self.encoder, self.decoder) if part is not None]

    @property
    def stream_networks(self) -> dict[str, nn.Module]:
        """None: weights of images fit neither of the two networks."""
        return {}

    def train(self, mode: bool = True) -> FlowStacked:
        """Set the training mode, except for the FlowNet."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return: the stages on the flow."""
        return list(self.network)

    def forward(self, frames: Tensor, *, maps: Sequence[str] = (), flow: bool = False) -> ActionFlowOutput:
        """Score snippets and their videos.

        Args:
            frames: float [B, S, 6, H, W], normalised by ``normalisation``; any S.
            maps: names of layers (see `layer_names`) whose outputs are also returned.
            flow: also return the estimated flow.

        Raises:
            ArgumentError: the shape is wrong.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        self.check_frames(frames)
        check_layers(maps, self.layer_names())
        shape = tuple(frames.shape[:2])
        with torch.set_grad_enabled(torch.is_grad_enabled() and frames.requires_grad):
            fields = self.estimate(frames.flatten(0, 1))
        pixels = fields[0][:, 0] * self.flow_unit
        last, kept = run_layers([Layer(*each) for each in self.network.items()], pixels, maps, shape)
        return self.answer(last, kept, fields if flow else (), shape)


def _take_flow(unit: Any) -> None:
    """Let the first unit of a ResNet take the two channels of a flow field."""
    old = unit.conv1
    entering = nn.Conv2d(2, old.out_channels, old.kernel_size, padding=old.padding, bias=False)
    width = (unit.conv3 if hasattr(unit, "conv3") else unit.conv2).out_channels
    shortcut = nn.Conv2d(2, width, 1, bias=False)
    for layer in (entering, shortcut):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    unit.conv1, unit.downsample = entering, nn.Sequential(shortcut, nn.BatchNorm2d(width))


@register_model(
    "flow-stacked",
    backbones=("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    parts=("encoder", "decoder"),
)
def flow_stacked(
    *,
    num_classes: int,
    backbone: str = "resnet18",
    in_channels: int = 6,
    dropout: float = 0.5,
    consensus: str = "average",
    standardise: bool = False,
) -> FlowStacked:
    """Build the stacked model, whose FlowNet comes from a trained ``flownet`` (``--from``).

    Args:
        num_classes: K.
        backbone: a torchvision ResNet, for the FlowNet and for the network on its flow.
        in_channels: 6, for two RGB frames.
        dropout: rate before the classifier.
        consensus: name of a function of `praxiscope.layers.consensus`.
        standardise: standardise each clip, as the FlowNet was trained (`praxiscope.layers.standard_clips`).
    """
    return FlowStacked(
        num_classes=num_classes,
        backbone=backbone,
        in_channels=in_channels,
        time=False,
        dropout=dropout,
        pretrained=False,
        consensus=consensus,
        standardise=standardise,
    )
