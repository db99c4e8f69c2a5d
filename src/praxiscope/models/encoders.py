"""Residual networks as encoders: the outputs of their four stages, in two dimensions or also over time.

In three dimensions every k x k kernel of the image network becomes 3 x k x k (also 1 x 1 becomes 3 x 1 x 1); time is
halved together with space, but only by the strided convolutions of the stages 3 to 5 (``layer2`` to ``layer4``), and
poolings do not mix frames. J. Y.-H. Ng et al., "ActionFlowNet: Learning Motion Representation for Action Recognition",
WACV 2018, section 4.3.1.

Modules keep the names of torchvision's ResNet. Axis letters: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.standard_clips import standard_clips
from praxiscope.models.backbones import create_backbone
from praxiscope.models.named_layers import Layer, check_layers, run_layers
from praxiscope.models.residual import residual_stages

__all__ = ["Encoded", "ResNetEncoder", "create_encoder", "inflated_in_time", "looking_ahead", "over_time"]

TAPS = 3
"""Frames of a kernel over time."""


class Encoded(NamedTuple):
    """The outputs of an encoder.

    stages: those of ``layer1`` to ``layer4`` (res2 to res5), [N, C, h, w] or [N, C, t, h, w].
    maps: those of the requested layers by name, with other axes in the place of N.
    """

    stages: tuple[Tensor, ...]
    maps: dict[str, Tensor]


class ResNetEncoder(nn.Module):
    """A ResNet without its pooling and classifier.

    Args:
        network: a torchvision ResNet; its modules are taken over.
        time: whether it was converted by `over_time`; inputs [N, 3 T, H, W] are then T frames.
        standardise: standardise each clip (`praxiscope.layers.standard_clips`).

    Attributes:
        widths: channels of the four stages.
    """

    published_classifier: str = "fc"
    """The layer of published weights that an encoder does not have."""

    def __init__(self, network: Any, *, time: bool, standardise: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = (
            network.conv1,
            network.bn1,
            network.relu,
            network.maxpool,
        )
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.time, self.standardise = time, standardise
        width = int(network.fc.in_features)
        self.widths = (width // 8, width // 4, width // 2, width)

    def adapted(self, came: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of an encoder of this network over time, from those of one of two frames: `looking_ahead`. Other
        weights stay as they are.

        Args:
            came: tensors of another encoder, by name.
        """
        own = self.state_dict()
        return {
            name: looking_ahead(value, own[name].shape[1])
            if self.time and name in own and (value.dim(), own[name].dim()) == (4, 5)
            else value
            for name, value in came.items()
        }

    def layer_names(self) -> list[str]:
        """The names of the layers whose outputs can be requested, in order."""
        return [name for name, _ in self.named_children()]

    def forward(self, x: Tensor, maps: Sequence[str] = (), rows: tuple[int, ...] = (-1,)) -> Encoded:
        """Encode clips.

        Args:
            x: [N, C, H, W]; over time C is 3 T, the frames one after the other.
            maps: names of layers whose outputs are also returned.
            rows: axes that replace N in the maps.

        Raises:
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        check_layers(maps, self.layer_names())
        if self.standardise:
            x = standard_clips(x)
        if self.time:
            x = x.reshape(x.shape[0], -1, 3, *x.shape[2:]).transpose(1, 2)
        layers = [Layer(name, module) for name, module in self.named_children()]
        stages: list[Tensor] = []
        kept: dict[str, Tensor] = {}
        for part in (layers[:-3], *([layer] for layer in layers[-3:])):
            x, found = run_layers(part, x, maps, rows)
            kept |= found
            stages.append(x)
        return Encoded(tuple(stages), kept)


def create_encoder(
    backbone: str, *, in_channels: int, time: bool, pretrained: bool = False, standardise: bool = False
) -> ResNetEncoder:
    """Build an encoder.

    Args:
        backbone: name of a torchvision ResNet.
        in_channels: C: three for each frame.
        time: convert it by `over_time`; otherwise the frames are channels of one image.
        pretrained: start from ImageNet weights, inflated (`inflated_in_time`, or for the channels of several frames
            `praxiscope.models.network_ends.inflated`).
        standardise: see `ResNetEncoder`.

    Raises:
        ArgumentError: not a torchvision ResNet, or not three channels for each frame.
        CheckpointError: the weights cannot be downloaded.
    """
    if in_channels < 3 or in_channels % 3:
        raise ArgumentError(
            f"in_channels must be three for each RGB frame, got {in_channels}. Set input.frames."
        )
    network = create_backbone(
        backbone,
        num_classes=1,
        in_channels=3 if time else in_channels,
        dropout=0.0,
        pretrained=pretrained,
        frames=True,
    )
    residual_stages(network, backbone)  # raises if it is another network
    network = over_time(network, inflate=pretrained) if time else network
    return ResNetEncoder(network, time=time, standardise=standardise)


def over_time(network: nn.Module, *, inflate: bool) -> nn.Module:
    """Convert a 2-D ResNet into a 3-D one, in place.

    Args:
        network: a torchvision ResNet.
        inflate: keep its weights, by `inflated_in_time`; otherwise weights are drawn as torchvision draws them.

    Returns:
        The network, [N, 3, T, H, W] -> stages of [N, C, t, h, w].
    """
    for name, module in network.named_children():
        setattr(network, name, _over_time(module, inflate, strided=name != "conv1"))
    return network


def _over_time(module: Any, inflate: bool, strided: bool) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        return _convolution(module, inflate, strided)
    if isinstance(module, nn.BatchNorm2d):
        norm = nn.BatchNorm3d(module.num_features, module.eps, module.momentum)
        norm.load_state_dict(module.state_dict())
        return norm
    if isinstance(module, nn.MaxPool2d):
        sizes: list[Any] = [module.kernel_size, module.stride, module.padding]
        kernel, stride, padding = ((still, n, n) for still, n in zip((1, 1, 0), sizes, strict=True))
        return nn.MaxPool3d(kernel, stride, padding)
    for name, child in module.named_children():
        setattr(module, name, _over_time(child, inflate, strided))
    converted: nn.Module = module
    return converted


def _convolution(plain: Any, inflate: bool, strided: bool) -> nn.Conv3d:
    """The convolution over 3 x k x k; ``strided``: its stride, if any, is also one in time."""
    layer = nn.Conv3d(
        plain.in_channels,
        plain.out_channels,
        (TAPS, *plain.kernel_size),
        (plain.stride[0] if strided else 1, *plain.stride),
        (TAPS // 2, *plain.padding),
        groups=plain.groups,
        bias=plain.bias is not None,
    )
    if inflate:
        layer.load_state_dict(
            {k: inflated_in_time(x) if k == "weight" else x for k, x in plain.state_dict().items()}
        )
    else:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def inflated_in_time(weight: Tensor) -> Tensor:
    """Inflate filters of images: repeat them for each frame of a kernel, and divide by the number of frames, so that
    equal frames give the activations of one, except at both ends in time, which are padded with zeros.

    Args:
        weight: [out, in, k, k].

    Returns:
        [out, in, 3, k, k].
    """
    return weight[:, :, None].repeat(1, 1, TAPS, 1, 1) / TAPS


def looking_ahead(weight: Tensor, channels: int) -> Tensor:
    """Filters over time that do at each frame what those of a network of two stacked frames do with it and the next.

    Args:
        weight: [out, in, k, k]; of the first layer in = 2 ``channels``, of others in = ``channels``.
        channels: input channels of the filters over time.

    Returns:
        [out, channels, 3, k, k]: the first frame at the centre of time, the second after it, zeros elsewhere.
    """
    frames = weight.shape[1] // channels
    result = weight.new_zeros(weight.shape[0], channels, TAPS, *weight.shape[2:])
    for number, part in enumerate(torch.split(weight, channels, dim=1)[: TAPS // 2 + 1]):
        result[:, :, TAPS // 2 + number] = part
    return result if frames <= TAPS // 2 + 1 else weight  # of more frames: does not fit
