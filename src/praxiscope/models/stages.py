"""Cutting an image network after its first stage: what a system does early to every frame, and late to few.

Both halves share the network's own modules, so that its state dict keeps the names that published weights have.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.models.residual import is_residual_unit, residual_sum

__all__ = ["early_stage", "late_stages", "without_last_relu"]

_Part: TypeAlias = (
    "tuple[str, int | None]"  # a child of the network; of a sequence, its first so many modules
)


def _whole(*names: str) -> tuple[_Part, ...]:
    return tuple((name, None) for name in names)


# The first stage ends where frames are a quarter as wide as they came (AlexNet, some MobileNets: an eighth), behind a
# ReLU where the network has one there. By "module.Class", or by the backbone's name where classes say too little.
_FIRST_STAGES: dict[str, tuple[_Part, ...]] = {
    "torchvision.models.resnet.ResNet": _whole("conv1", "bn1", "relu", "maxpool", "layer1"),
    "torchvision.models.googlenet.GoogLeNet": _whole("conv1", "maxpool1", "conv2", "conv3"),
    "torchvision.models.mobilenetv2.MobileNetV2": (("features", 4),),
    "torchvision.models.alexnet.AlexNet": (("features", 3),),
    "vgg16": (("features", 10),),
    "vgg16_bn": (("features", 14),),
    "squeezenet1_0": (("features", 6),),
    "squeezenet1_1": (("features", 5),),
    "praxiscope.models.mobilenet_v1.MobileNetV1": (("stem", None), ("blocks", 3)),
    "timm.models.resnet.ResNet": _whole("conv1", "bn1", "act1", "maxpool", "layer1"),
    "timm.models.regnet.RegNet": _whole("stem", "s1"),
    "timm.models.convnext.ConvNeXt": (("stem", None), ("stages", 1)),
    "timm.models.efficientnet.EfficientNet": (("conv_stem", None), ("bn1", None), ("blocks", 2)),
    "timm.models.mobilenetv3.MobileNetV3": (("conv_stem", None), ("bn1", None), ("blocks", 2)),
}


def _first_stage(backbone: nn.Module, name: str) -> tuple[_Part, ...]:
    kind = f"{type(backbone).__module__}.{type(backbone).__name__}"
    found = _FIRST_STAGES.get(name) or _FIRST_STAGES.get(kind)
    if found is None:
        raise ArgumentError(
            f"{name} cannot be cut after its first stage: no place is known in {type(backbone).__name__}. Choose "
            "another backbone: a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, VGG, GoogLeNet or SqueezeNet"
        )
    return found


def early_stage(backbone: nn.Module, name: str) -> list[nn.Module]:
    """The modules of the first stage, to be applied one after the other.

    Args:
        backbone: an image network.
        name: what `praxiscope.models.backbones.create_backbone` made it by.

    Raises:
        ArgumentError: no place to cut is known.
    """
    modules: list[nn.Module] = []
    for child, count in _first_stage(backbone, name):
        module = getattr(backbone, child)
        modules += [module] if count is None else list(module[:count])
    return modules


def late_stages(backbone: nn.Module, name: str) -> nn.Module:
    """The network with its first stage left out: takes what `early_stage` gives, and gives class scores.

    A shallow copy: modules and weights are the network's own. It is made for each use, so that it is in training mode
    when the network is.
    """
    late = copy.copy(backbone)
    late._modules = dict(backbone._modules)
    for child, count in _first_stage(backbone, name):
        late._modules[child] = nn.Identity() if count is None else getattr(backbone, child)[count:]
    return late


def without_last_relu(modules: Sequence[nn.Module]) -> list[Callable[[Tensor], Tensor]]:
    """The first stage of a torchvision ResNet without the ReLU at its very end.

    Raises:
        ArgumentError: it does not end with a block of a ResNet.
    """
    last = modules[-1]
    if not isinstance(last, nn.Sequential) or not is_residual_unit(last[-1]):
        raise ArgumentError("aggregate='pre' needs a ResNet of torchvision's, whose stages end with a ReLU")
    *before, final = last
    return [*modules[:-1], *before, partial(residual_sum, final)]
