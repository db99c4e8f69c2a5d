"""FlowNets: networks that only estimate optical flow, from two RGB frames or from consecutive ones.

J. Y.-H. Ng et al., "ActionFlowNet: Learning Motion Representation for Action Recognition", WACV 2018, after P. Fischer
et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from praxiscope.models.flow_network import FlowNetwork
from praxiscope.models.registered import register_model

__all__ = ["FlowNet", "flownet", "flownet_3d"]


class FlowNet(FlowNetwork):
    """A network that only estimates flow; see `FlowNetwork`."""

    classifiers: Sequence[nn.Module] = ()

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """As `estimate`."""
        return self.estimate(frames)


@register_model(
    "flownet",
    learns="flow",
    backbones=("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    parts=("encoder", "decoder"),
)
def flownet(
    *, backbone: str = "resnet18", in_channels: int = 6, pretrained: bool = False, standardise: bool = False
) -> FlowNet:
    """Build the two-frame FlowNet, whose parts also start ``actionflownet-2f`` and ``flow-stacked``.

    Args: see `praxiscope.models.flow_network.FlowNetwork`.
    """
    return FlowNet(
        backbone=backbone, in_channels=in_channels, time=False, pretrained=pretrained, standardise=standardise
    )


@register_model(
    "flownet-3d",
    learns="flow",
    backbones=("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    parts=("encoder", "decoder"),
)
def flownet_3d(
    *, backbone: str = "resnet18", in_channels: int = 48, pretrained: bool = False, standardise: bool = False
) -> FlowNet:
    """Build the FlowNet over 16 frames, whose parts also start ``actionflownet``.

    Args: see `praxiscope.models.flow_network.FlowNetwork`.
    """
    return FlowNet(
        backbone=backbone, in_channels=in_channels, time=True, pretrained=pretrained, standardise=standardise
    )
