"""Narrow ResNets, for tests of whole runs: what these assert does not depend on the number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn

from praxiscope._compat import torchvision_file
from praxiscope.models import backbones

_BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}  # per stage
_DIVISOR = 8


class _OneConvolution(nn.Module):
    """In the place of a residual block that halves the map, with the names of its first convolution and its ReLU."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, kernel_size=3, stride=2, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.relu(self.conv1(x))
        return found


def narrow_resnet(name: str, stages: int = 4) -> nn.Module:
    """The torchvision ResNet of this name with an eighth of the channels: 8, 16, 32 and 64.

    Stages after the first ``stages`` are one convolution each: of few layers, with maps of the same shapes.
    """
    resnet = torchvision_file("resnet")
    stem = 64 // _DIVISOR

    class NarrowResNet(resnet.ResNet):  # type: ignore[misc, name-defined]
        def _make_layer(self, block: Any, planes: int, *args: Any, **options: Any) -> nn.Sequential:
            if planes == 64:  # the first stage, which follows the stem
                self.inplanes = stem
            if planes > 64 << (stages - 1):
                before, self.inplanes = self.inplanes, planes // _DIVISOR
                return nn.Sequential(_OneConvolution(before, self.inplanes))
            stage: nn.Sequential = super()._make_layer(block, planes // _DIVISOR, *args, **options)
            return stage

    network = NarrowResNet(resnet.BasicBlock, list(_BLOCKS[name]))
    network.__class__ = resnet.ResNet  # by which the names of its layers are found
    network.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.bn1 = nn.BatchNorm2d(stem)
    network.fc = nn.Linear(network.inplanes, 1000)
    return network


@contextmanager
def narrow_resnets(stages: int = 4) -> Iterator[None]:
    """Within, resnet10, resnet18 and resnet34 are those of `narrow_resnet`; resnet18 has 0.2 million weights, not 11.

    Of this process only: a command in a process of its own builds the whole network.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in _BLOCKS:
            family = backbones._FAMILIES[name]._replace(build=partial(narrow_resnet, name, stages))
            patch.setitem(backbones._FAMILIES, name, family)
        yield
