"""The stages of image networks, at whose ends a network can be split.

The parts are modules of the network, so that its state dict keeps the names of published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.models.named_layers import Layer, NamedLayers, named_layers
from praxiscope.models.residual import is_residual_unit, residual_sum

__all__ = ["STAGES", "early_stage", "late_stages", "stage_ends", "without_last_relu"]

STAGES = ("conv1", "res2", "res3", "res4")
"""Names of the stages of an image network before its last one, after those of a ResNet. With an input of 224 pixels the
width of their outputs is 112 or 56, then 56, 28 and 14."""

# The last layer of each stage but the last, at which the resolution is reduced next: in a ResNet, the max pooling after
# conv1, then res2 to res4. By the name of the backbone, or by the class of the network. AlexNet's second "stage" is its
# first max pooling.
_STAGE_ENDS: dict[str, tuple[str, ...]] = {
    "vgg16": ("features.4", "features.9", "features.16", "features.23"),
    "vgg16_bn": ("features.6", "features.13", "features.23", "features.33"),
    "squeezenet1_0": ("features.2", "features.5", "features.10"),
    "squeezenet1_1": ("features.2", "features.4", "features.7"),
    "torchvision.models.resnet.ResNet": ("maxpool", "layer1", "layer2", "layer3"),
    "torchvision.models.googlenet.GoogLeNet": ("maxpool1", "conv3", "inception3b", "inception4e"),
    "torchvision.models.mobilenetv2.MobileNetV2": ("features.1", "features.3", "features.6", "features.13"),
    "torchvision.models.alexnet.AlexNet": ("features.1", "features.2", "features.5"),
    "praxiscope.models.efficientnet_lite.EfficientNetLite": ("blocks.0", "blocks.1", "blocks.2", "blocks.4"),
    "praxiscope.models.mobilenet_v1.MobileNetV1": ("blocks.0", "blocks.2", "blocks.4", "blocks.10"),
    "timm.models.resnet.ResNet": ("maxpool", "layer1", "layer2", "layer3"),
    "timm.models.regnet.RegNet": ("stem", "s1", "s2", "s3"),
    "timm.models.convnext.ConvNeXt": ("stem", "stages.0", "stages.1", "stages.2"),
    "timm.models.efficientnet.EfficientNet": ("blocks.0", "blocks.1", "blocks.2", "blocks.4"),
}

# MobileNetV3 by its number of blocks: small, large.
_MOBILENET_V3_ENDS: dict[int, tuple[str, ...]] = {
    6: ("bn1", "blocks.0", "blocks.1", "blocks.3"),
    7: ("blocks.0", "blocks.1", "blocks.2", "blocks.4"),
}
_MOBILENET_V3 = "timm.models.mobilenetv3.MobileNetV3"


def stage_ends(backbone: nn.Module, name: str) -> dict[str, str]:
    """Return the name of the last layer of each stage but the last, by the names of `STAGES`, in order. Networks with
    fewer stages lack the last names.

    Args:
        backbone: an image network.
        name: the name it was built with, see `praxiscope.models.backbones.create_backbone`.

    Raises:
        ArgumentError: the stages of this network are not known.
    """
    kind = f"{type(backbone).__module__}.{type(backbone).__name__}"
    found = _STAGE_ENDS.get(name) or _STAGE_ENDS.get(kind)
    if kind == _MOBILENET_V3:
        found = _MOBILENET_V3_ENDS.get(len(backbone.blocks))  # type: ignore[arg-type]
    if found is None:
        raise ArgumentError(
            f"{name} cannot be split: the stages of {type(backbone).__name__} are not known. Choose another backbone: "
            "a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, VGG, GoogLeNet or SqueezeNet"
        )
    return dict(zip(STAGES, found, strict=False))


def _first_stage_end(backbone: nn.Module, name: str) -> str:
    """The layer after which the width is a quarter of the input's (AlexNet, some MobileNets: an eighth)."""
    if f"{type(backbone).__module__}.{type(backbone).__name__}" == _MOBILENET_V3:
        return "blocks.1"
    return stage_ends(backbone, name)["res2"]


def early_stage(backbone: nn.Module, name: str) -> list[Layer]:
    """Return the layers of the first stage, in order.

    Args:
        backbone: an image network.
        name: the name it was built with, see `praxiscope.models.backbones.create_backbone`.

    Raises:
        ArgumentError: the end of the first stage is unknown.
    """
    return named_layers(backbone).up_to(_first_stage_end(backbone, name))


def late_stages(backbone: nn.Module, name: str) -> NamedLayers:
    """Return the layers after the first stage, from the output of `early_stage` to class scores."""
    return named_layers(backbone).behind(_first_stage_end(backbone, name))


def without_last_relu(layers: Sequence[Layer]) -> list[Layer]:
    """The first stage of a torchvision ResNet without its last ReLU.

    Raises:
        ArgumentError: the stage does not end with a ResNet block.
    """
    last = layers[-1]
    if not isinstance(last.run, nn.Sequential) or not is_residual_unit(last.run[-1]):
        raise ArgumentError("aggregate='pre' needs a torchvision ResNet, whose stages end with a ReLU")
    *before, final = last.run
    opened = [Layer(last.name, unit) for unit in before]
    return [*layers[:-1], *opened, Layer(last.name, partial(residual_sum, final))]
