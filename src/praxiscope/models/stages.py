"""Split an image network after its first stage, to process every frame early and few frames late.

Both parts are modules of the network, so that its state dict keeps the names of published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.models.named_layers import Layer, NamedLayers, named_layers
from praxiscope.models.residual import is_residual_unit, residual_sum

__all__ = ["early_stage", "late_stages", "without_last_relu"]

# The last layer of the first stage, where the width is a quarter of the input's (AlexNet, some MobileNets: an eighth),
# after a ReLU if the network has one there. By the name of the backbone, or by the class of the network.
_FIRST_STAGE_ENDS: dict[str, str] = {
    "vgg16": "features.9",
    "vgg16_bn": "features.13",
    "squeezenet1_0": "features.5",
    "squeezenet1_1": "features.4",
    "torchvision.models.resnet.ResNet": "layer1",
    "torchvision.models.googlenet.GoogLeNet": "conv3",
    "torchvision.models.mobilenetv2.MobileNetV2": "features.3",
    "torchvision.models.alexnet.AlexNet": "features.2",
    "praxiscope.models.efficientnet_lite.EfficientNetLite": "blocks.1",
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
            f"{name} cannot be split after its first stage: the end of this stage is unknown for "
            f"{type(backbone).__name__}. Choose another backbone: a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, "
            "VGG, GoogLeNet or SqueezeNet"
        )
    return found


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
