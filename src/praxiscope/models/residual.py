"""The parts of torchvision's residual units, for networks that change their computation.

These functions use the modules of a network, which keep their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope._compat import torchvision_file
from praxiscope.errors import ArgumentError

__all__ = ["branch_width", "is_residual_unit", "residual_branch", "residual_stages", "residual_sum"]


def is_residual_unit(module: nn.Module) -> bool:
    """Whether a module is a unit of a torchvision ResNet: two or three convolutions and a shortcut."""
    resnet = torchvision_file("resnet")
    return isinstance(module, resnet.BasicBlock | resnet.Bottleneck)


def residual_branch(unit: Any, x: Tensor, inner: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The residual branch F of a unit f(x + F(x)).

    Args:
        unit: a unit of a torchvision ResNet.
        x: [N, C, H, W].
        inner: applied after the unit's 3x3 convolution (the first of two), its BatchNorm and ReLU.
    """
    if hasattr(unit, "conv3"):
        x = F.relu(unit.bn1(unit.conv1(x)))
        x = F.relu(unit.bn2(unit.conv2(x)))
        last, norm = unit.conv3, unit.bn3
    else:
        x = F.relu(unit.bn1(unit.conv1(x)))
        last, norm = unit.conv2, unit.bn2
    result: Tensor = norm(last(x if inner is None else inner(x)))
    return result


def residual_sum(unit: Any, x: Tensor) -> Tensor:
    """The output x + F(x) of a unit before its last ReLU."""
    shortcut = x if unit.downsample is None else unit.downsample(x)
    return shortcut + residual_branch(unit, x)


def branch_width(unit: Any) -> int:
    """The number of channels at the position of ``inner`` in `residual_branch`."""
    width: int = unit.conv2.out_channels if hasattr(unit, "conv3") else unit.conv1.out_channels
    return width


def residual_stages(backbone: nn.Module, name: str) -> list[nn.Sequential]:
    """The four stages of a torchvision ResNet (conv2_x to conv5_x).

    Raises:
        ArgumentError: the network is not a torchvision ResNet.
    """
    if not isinstance(backbone, torchvision_file("resnet").ResNet):
        raise ArgumentError(
            f"{name} is not a torchvision ResNet. Choose resnet18, resnet34, resnet50, resnet101 or resnet152"
        )
    return [getattr(backbone, f"layer{number}") for number in (1, 2, 3, 4)]
