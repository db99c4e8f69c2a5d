"""Image networks, applied to each snippet: torchvision's, timm's, EfficientNet-Lite, MobileNet v1 and CNN-M-2048.

A backbone maps [N, C, H, W] to class scores [N, K]. Modules keep the names of their library, so that published weights
load and `praxiscope.models.named_layers` can find the layers. Only the first convolution (other input channels) and the
classifier (dropout, then K classes) may change. Axis letters: N images, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope._compat import torchvision_file, torchvision_models
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.layers.stems import Stems
from praxiscope.models.cnn_m import cnn_m_2048, cnn_m_2048_temporal
from praxiscope.models.contract import Normalisation
from praxiscope.models.efficientnet_lite import efficientnet_lite, renamed_efficientnet_lite
from praxiscope.models.installed_weights import checked_weights_file
from praxiscope.models.mobilenet_v1 import MobileNetV1
from praxiscope.models.names import BACKBONES, check_backbone, is_timm
from praxiscope.models.network_ends import (
    classifier,
    classifier_name,
    cross_modality,
    first_convolution,
    first_convolution_name,
    inflated,
)
from praxiscope.models.timm_backbones import timm_network
from praxiscope.tensorfile import read_tensors

__all__ = [
    "DropoutLinear",
    "create_backbone",
    "flow_normalisation",
    "list_backbones",
    "native_input_size",
    "published_normalisation",
]

CLASSIFIER_STD = 0.001  # TSN's and TSM's new classifiers start at N(0, 0.001^2), biases at 0
IMAGENET_CLASSES = 1000


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
MINUS_ONE_TO_ONE = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class DropoutLinear(nn.Linear):
    """Dropout, then a linear layer: a classifier that keeps the plain layer's names in the state dict."""

    def __init__(self, in_features: int, out_features: int, dropout: float) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, self.dropout, self.training))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dropout={self.dropout}"


# --------------------------------------------------------------------------------- torchvision and our own


class _Family(NamedTuple):
    build: Callable[[], nn.Module]  # with ImageNet's 1000 classes and random weights
    pretrained_state: Callable[[], dict[str, Tensor]] | None
    dropout_is_there: bool  # whether the network has its own dropout before the classifier
    normalisation: Normalisation
    size: int = 224  # side in pixels at which the published weights were trained


def _torchvision(name: str, file: str, *, dropout_is_there: bool, **options: object) -> _Family:
    def build() -> nn.Module:
        return getattr(torchvision_file(file), name)(weights=None, **options)

    def pretrained_state() -> dict[str, Tensor]:
        weights = torchvision_models().get_model_weights(name).DEFAULT
        return weights.get_state_dict(progress=True, check_hash=True)

    # GoogLeNet's published weights come from TensorFlow and expect [-1, 1]. torchvision's ``transform_input`` converts
    # to it inside the network, but only works for RGB, so the normalisation does it instead.
    normalisation = MINUS_ONE_TO_ONE if name == "googlenet" else IMAGENET
    return _Family(build, pretrained_state, dropout_is_there, normalisation)


def _resnet10() -> nn.Module:
    """A ResNet-18 with one block per stage, for small machines. Without published weights."""
    resnet = torchvision_file("resnet")
    network: nn.Module = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])
    return network


def _efficientnet_lite(number: int, size: int) -> _Family:
    def installed_state() -> dict[str, Tensor]:
        return renamed_efficientnet_lite(read_tensors(checked_weights_file(f"efficientnet_lite{number}")))

    build = partial(efficientnet_lite, number)
    return _Family(build, installed_state, dropout_is_there=True, normalisation=MINUS_ONE_TO_ONE, size=size)


_FAMILIES: dict[str, _Family] = {
    "alexnet": _torchvision("alexnet", "alexnet", dropout_is_there=False),
    **{name: _torchvision(name, "vgg", dropout_is_there=True) for name in ("vgg16", "vgg16_bn")},
    **{
        name: _torchvision(name, "squeezenet", dropout_is_there=True)
        for name in ("squeezenet1_0", "squeezenet1_1")
    },
    **{
        name: _torchvision(name, "resnet", dropout_is_there=False)
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    },
    "resnet10": _Family(_resnet10, None, False, IMAGENET),
    "googlenet": _torchvision(
        "googlenet", "googlenet", dropout_is_there=True, aux_logits=False, init_weights=True
    ),
    "mobilenet_v2": _torchvision("mobilenet_v2", "mobilenetv2", dropout_is_there=True),
    **{
        f"efficientnet_lite{number}": _efficientnet_lite(number, size)
        for number, size in enumerate((224, 240, 260))
    },
    "mobilenet_v1": _Family(MobileNetV1, None, True, MINUS_ONE_TO_ONE),
    "cnn_m_2048": _Family(cnn_m_2048, None, True, IMAGENET),
    "cnn_m_2048_temporal": _Family(cnn_m_2048_temporal, None, True, IMAGENET),
}


def list_backbones() -> list[str]:
    """Return the names of the backbones that need no extra package; ``timm/NAME`` adds all of timm's."""
    return sorted(BACKBONES)


def create_backbone(
    name: str,
    *,
    num_classes: int,
    in_channels: int | Sequence[int] = 3,
    dropout: float = 0.5,
    pretrained: bool = False,
    input_size: int | None = None,
    frames: bool = False,
) -> nn.Module:
    """Build an image network with its own classifier.

    All dropouts of the network before the classifier (AlexNet, VGG and CNN-M have several) get the rate ``dropout``; a
    network without dropout gets one. The ReLU after SqueezeNet's classifier is removed, because it would set all
    negative scores to zero.

    Args:
        name: one of `list_backbones`, or a name of `praxiscope.models.timm_backbones`.
        num_classes: K. The new classifier starts at N(0, 0.001^2); ImageNet's is kept if ``pretrained`` weights have
            the same number of classes.
        in_channels: C. For C != 3, ``pretrained`` filters are averaged over RGB and repeated (cross-modality
            initialisation), or `inflated`; random filters are drawn again. Several numbers: one first convolution for
            each (`praxiscope.layers.stems.Stems`); shorter ones take only the first channels.
        dropout: rate before the classifier, in [0, 1).
        pretrained: start from ImageNet weights: of EfficientNet-Lite from an installed package, of others downloaded
            through torchvision or timm.
        input_size: H and W in pixels, for timm's transformers, which have a fixed size.
        frames: whether the C channels are those of C / 3 RGB frames.

    Returns:
        A module [N, C, H, W] -> [N, K].

    Raises:
        UnknownNameError: the backbone is unknown.
        ArgumentError: an argument is out of range, timm is not installed, or several stems are requested for a network
            without a convolution.
        CheckpointError: the weights cannot be downloaded, or are not installed.
    """
    if num_classes < 1:
        raise ArgumentError(f"num_classes must be at least 1, got {num_classes}")
    if min([in_channels] if isinstance(in_channels, int) else in_channels, default=0) < 1:
        raise ArgumentError(f"in_channels must be at least 1, got {in_channels}")
    if not 0 <= dropout < 1:
        raise ArgumentError(f"dropout must be in [0, 1), got {dropout}")
    if is_timm(name):
        known = timm_network(name, download=pretrained)
        network = known.build(
            num_classes=num_classes, dropout=dropout, pretrained=pretrained, input_size=input_size
        )
        keeps_classifier = pretrained and known.num_classes == num_classes
    else:
        family = _family(name)
        network = family.build()
        if pretrained:
            network.load_state_dict(_download(name, family))
        keeps_classifier = pretrained and num_classes == IMAGENET_CLASSES
        _replace_classifier(network, num_classes, dropout, family.dropout_is_there, keeps_classifier)
    if not keeps_classifier:
        last = classifier(network)
        nn.init.normal_(last.weight, std=CLASSIFIER_STD)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
    if isinstance(in_channels, int):
        if in_channels != 3:
            start = (inflated if frames else cross_modality) if pretrained else None
            _widened(first_convolution(network), in_channels, start)
    else:
        first = first_convolution(network)
        start = cross_modality if pretrained else None
        stems = Stems(_widened(deepcopy(first), count, start) for count in in_channels)
        _put(network, first_convolution_name(network), stems)
    return network


def _family(name: str) -> _Family:
    check_backbone(name)
    return _FAMILIES[name]


def _download(name: str, family: _Family) -> dict[str, Tensor]:
    if family.pretrained_state is None:
        raise CheckpointError(
            f"no pretrained weights of {name} are available for download. Load a file: weights=PATH"
        )
    try:
        state = family.pretrained_state()
    except OSError as error:  # URLError is one
        folder = f"{torch.hub.get_dir()}/checkpoints"
        reason = str(error).partition("\n")[0].rstrip(". ")
        raise CheckpointError(
            f"the ImageNet weights of {name} could not be downloaded ({reason}). Try again with a network connection, "
            f"put the file into {folder}, or load a local file: weights=PATH"
        ) from error
    # GoogLeNet's auxiliary classifiers are only for training from scratch; they are not built here.
    return {key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2."))}


def _replace_classifier(
    network: nn.Module, num_classes: int, dropout: float, dropout_is_there: bool, keeps: bool
) -> None:
    """Replace the classifier by one for ``num_classes``, and set all dropouts before it to ``dropout``."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    name = classifier_name(network)
    old = network.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Conv2d):  # SqueezeNet: dropout, 1x1 convolution, ReLU, spatial mean
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1)
        _put(network, name.rpartition(".")[0] + ".2", nn.Identity())
    else:
        assert isinstance(old, nn.Linear)
        shape = (old.in_features, num_classes)
        new = nn.Linear(*shape) if dropout_is_there else DropoutLinear(*shape, dropout=dropout)
    if keeps:
        new.load_state_dict(old.state_dict())
    _put(network, name, new)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a submodule. (``nn.Module.set_submodule`` is missing in the oldest supported torch.)"""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


# ---------------------------------------------------------------------------------------------- two ends


def _widened(first: nn.Conv2d, in_channels: int, start: Callable[[Tensor, int], Tensor] | None) -> nn.Conv2d:
    """Change the input channels of a first convolution to ``in_channels``; ``start`` computes the filters from the
    original ones, None draws random ones. The module is kept, because timm has its own kinds of convolution."""
    old = first.weight.detach()  # [out, 3, kernel, kernel]
    if start is not None:
        new = start(old, in_channels)
    else:
        # Equal random filters for all channels would be a poor initialisation. Draw new ones with the standard
        # deviation of the original filters, scaled so that the output keeps its variance.
        spread = old.std().item() * (old.shape[1] / in_channels) ** 0.5
        new = torch.empty(old.shape[0], in_channels, *old.shape[2:]).normal_(std=spread)
    first.weight = nn.Parameter(new)
    first.in_channels = in_channels
    return first


# ----------------------------------------------------------------------------------------- normalisation


def published_normalisation(name: str) -> Normalisation:
    """Return the normalisation of RGB input in [0, 1] for the published weights of a backbone.

    Args:
        name: one of `list_backbones`, or ``timm/NAME``.
    """
    if is_timm(name):
        network = timm_network(name)
        return Normalisation(mean=network.mean, std=network.std)
    return _family(name).normalisation


def flow_normalisation(rgb: Normalisation, in_channels: int) -> Normalisation:
    """Return the normalisation of flow in pixels for weights that expect the normalisation ``rgb``.

    TSN stores flow clipped to [-20, 20] pixels as 8-bit images, and uses these, centred, like grey images: 40 pixels
    correspond to a range of 1. This function gives the same scale without images.

    Args:
        rgb: normalisation of pixels in [0, 1] that the weights expect.
        in_channels: two for every flow field of a stack. Three: an image of one field, normalised like a frame.
    """
    if in_channels == 3:
        return rgb
    std = 40.0 * sum(rgb["std"]) / len(rgb["std"])
    return Normalisation(mean=(0.0,) * in_channels, std=(std,) * in_channels)


def native_input_size(name: str) -> int:
    """Return the side in pixels at which the published weights of a backbone were trained."""
    if is_timm(name):
        return timm_network(name).size
    return _family(name).size
