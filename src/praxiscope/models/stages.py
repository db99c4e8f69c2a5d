"""Cutting an image network after its first stage: what a system does early to every frame, and late to few.

Both halves are the network's own modules, so that its state dict keeps the names that published weights have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.models.named_layers import Layer, NamedLayers, named_layers
from praxiscope.models.residual import is_residual_unit, residual_sum

__all__ = ["early_stage", "late_stages", "without_last_relu"]

# The last layer of the first stage: it ends where frames are a quarter as wide as they came (AlexNet, some MobileNets:
# an eighth), behind a ReLU where the network has one there. By the backbone's name, or by the class of the network.
_FIRST_STAGE_ENDS: dict[str, str] = {
    "vgg16": "features.9",
    "vgg16_bn": "features.13",
    "squeezenet1_0": "features.5",
    "squeezenet1_1": "features.4",
    "torchvision.models.resnet.ResNet": "layer1",
    "torchvision.models.googlenet.GoogLeNet": "conv3",
    "torchvision.models.mobilenetv2.MobileNetV2": "features.3",
    "torchvision.models.alexnet.AlexNet": "features.2",
    "praxiscope.models.mobilenet_v1.MobileNetV1": "blocks.2",
    "timm.models.resnet.ResNet": "layer1",
    "timm.models.regnet.RegNet": "s1",
    "timm.models.convnext.ConvNeXt": "stages.0",
    "timm.models.efficientnet.EfficientNet": "blocks.1",
    "timm.models.mobilenetv3.MobileNetV3": "blocks.1",
}


def _first_stage_end(backbone: nn.Module, name: str) -> str:
    kind = f"{type(backbone).__module__}.{type(backbone).__name__}"
    found = _FIRST_STAGE_ENDS.get(name) or _FIRST_STAGE_ENDS.get(kind)
    if found is None:
        raise ArgumentError(
            f"{name} cannot be cut after its first stage: the end of that stage is not known for "
            f"{type(backbone).__name__}. Choose another backbone: a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, "
            "VGG, GoogLeNet or SqueezeNet"
        )
    return found


def early_stage(backbone: nn.Module, name: str) -> list[Layer]:
    """Return the layers of the first stage, to be applied one after the other.

    Args:
        backbone: an image network.
        name: the name it was built by, see `praxiscope.models.backbones.create_backbone`.

    Raises:
        ArgumentError: the end of the first stage is not known.
    """
    return named_layers(backbone).up_to(_first_stage_end(backbone, name))


def late_stages(backbone: nn.Module, name: str) -> NamedLayers:
    """Return the layers behind the first stage, which take what `early_stage` gives and end with class scores."""
    return named_layers(backbone).behind(_first_stage_end(backbone, name))


def without_last_relu(layers: Sequence[Layer]) -> list[Layer]:
    """The first stage of a torchvision ResNet without the ReLU at its very end.

    Raises:
        ArgumentError: it does not end with a block of a ResNet.
    """
    last = layers[-1]
    if not isinstance(last.run, nn.Sequential) or not is_residual_unit(last.run[-1]):
        raise ArgumentError("aggregate='pre' needs a ResNet of torchvision's, whose stages end with a ReLU")
    *before, final = last.run
    opened = [Layer(last.name, unit) for unit in before]
    return [*layers[:-1], *opened, Layer(last.name, partial(residual_sum, final))]
