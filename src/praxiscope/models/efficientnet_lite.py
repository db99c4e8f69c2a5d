"""EfficientNet-Lite0, -Lite1 and -Lite2 (Tan and Le, ICML 2019; Lite: without squeeze-and-excitation, with ReLU6).

Modules have timm's names (``tf_efficientnet_lite0``), so that weights of timm load. Convolutions pad as TensorFlow does
("same"), because the published weights were trained with it.

Axis letters: N images, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["EfficientNetLite", "efficientnet_lite", "renamed_efficientnet_lite"]


class _Stage(NamedTuple):
    """Repetitions and output channels at depth and width 1, kernel and stride of a stage."""

    repeats: int
    channels: int
    kernel: int
    stride: int


_STAGES = (
    _Stage(1, 16, 3, 1),
    _Stage(2, 24, 3, 2),
    _Stage(2, 40, 5, 2),
    _Stage(3, 80, 3, 2),
    _Stage(3, 112, 5, 1),
    _Stage(4, 192, 5, 2),
    _Stage(1, 320, 3, 1),
)
_EXPANSION = 6
_STEM, _HEAD = 32, 1280  # not scaled by width in Lite

_batchnorm = partial(nn.BatchNorm2d, eps=1e-3)


def _repeats(depth: float) -> list[int]:
    """The number of blocks of each stage; Lite does not repeat the first and the last more often."""
    deeper = [math.ceil(stage.repeats * depth) for stage in _STAGES]
    return [_STAGES[0].repeats, *deeper[1:-1], _STAGES[-1].repeats]


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of 8, but at least 0.9 of the exact number."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class _SameConv2d(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow's "same": for a stride of 2 and an even side, one pixel more
    at the bottom and on the right than at the top and on the left."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (1, 1):
            return super().forward(x)
        rows, columns = (self._missing(side) for side in x.shape[-2:])
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, groups=self.groups)

    def _missing(self, side: int) -> int:
        """Pixels of padding along an axis of ``side`` pixels."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)


class SeparableBlock(nn.Module):
    """The block of the first stage: a depthwise, then a pointwise convolution. [N, C, H, W] -> [N, C', H, W]."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = _SameConv2d(inputs, inputs, kernel, groups=inputs)
        self.bn1 = _batchnorm(inputs)
        self.conv_pw = _SameConv2d(inputs, outputs, 1)
        self.bn2 = _batchnorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        return self.bn2(self.conv_pw(x))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection. [N, C, H, W] -> [N, C', H / stride, W / stride], rounded up.

    Attributes:
        has_skip: whether the input is added to the output: if both have the same shape.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = _EXPANSION * inputs
        self.has_skip = stride == 1 and inputs == outputs
        self.conv_pw = _SameConv2d(inputs, inner, 1)
        self.bn1 = _batchnorm(inner)
        self.conv_dw = _SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.bn2 = _batchnorm(inner)
        self.conv_pwl = _SameConv2d(inner, outputs, 1)
        self.bn3 = _batchnorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        y = F.relu6(self.bn2(self.conv_dw(y)), inplace=True)
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.has_skip else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite.

    Args:
        width: multiplies the channels of the blocks.
        depth: multiplies the number of blocks of each stage, except the first and the last.
        num_classes: K.
        dropout: rate before the classifier.
    """

    def __init__(
        self, *, width: float = 1.0, depth: float = 1.0, num_classes: int = 1000, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.conv_stem = _SameConv2d(3, _STEM, 3, stride=2)
        self.bn1 = _batchnorm(_STEM)
        self.act1 = nn.ReLU6(inplace=True)
        stages: list[nn.Module] = []
        channels = _STEM
        for stage, repeats in zip(_STAGES, _repeats(depth), strict=True):
            blocks: list[nn.Module] = []
            for number in range(repeats):
                outputs = _scaled(stage.channels, width)
                if not stages:
                    blocks.append(SeparableBlock(channels, outputs, stage.kernel))
                else:
                    stride = 1 if number else stage.stride
                    blocks.append(InvertedResidual(channels, outputs, stage.kernel, stride))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _SameConv2d(channels, _HEAD, 1)
        self.bn2 = _batchnorm(_HEAD)
        self.act2 = nn.ReLU6(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(_HEAD, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as TensorFlow's code: the outputs of one group count
                fan_out = module.out_channels * module.kernel_size[0] ** 2 // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, K]."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        x = self.act2(self.bn2(self.conv_head(self.blocks(x))))
        return self.classifier(self.dropout(torch.flatten(self.pool(x), 1)))


_SIZES = {0: (1.0, 1.0, 0.2), 1: (1.0, 1.1, 0.2), 2: (1.1, 1.2, 0.3)}  # width, depth, dropout


def efficientnet_lite(number: int) -> EfficientNetLite:
    """EfficientNet-Lite0, -Lite1 or -Lite2, with random weights and ImageNet's 1000 classes."""
    width, depth, dropout = _SIZES[number]
    return EfficientNetLite(width=width, depth=depth, dropout=dropout)


# ------------------------------------------------------------------------------------- names of other tools

_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)")


def renamed_efficientnet_lite(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the package EfficientNet-PyTorch, which numbers its blocks through all stages.

    Args:
        state: tensors of a Lite network, such as ``_blocks.1._expand_conv.weight``.

    Returns:
        The same tensors under the names of `EfficientNetLite`. Unknown names are kept, and so are all names if no Lite
        network of ours has this number of blocks.
    """
    blocks = {int(found[1]) for name in state if (found := _BLOCK.match(name))}
    for _, depth, _ in _SIZES.values():
        repeats = _repeats(depth)
        if blocks == set(range(sum(repeats))):
            places = [(stage, number) for stage, count in enumerate(repeats) for number in range(count)]
            return {_renamed(name, places): value for name, value in state.items()}
    return state


def _renamed(name: str, places: list[tuple[int, int]]) -> str:
    layer, _, kind = name.rpartition(".")
    if found := _BLOCK.fullmatch(layer):
        stage, number = places[int(found[1])]
        parts = _INVERTED if stage else _SEPARABLE
        return f"blocks.{stage}.{number}.{parts.get(found[2], found[2])}.{kind}"
    return f"{_LAYERS.get(layer, layer)}.{kind}"
