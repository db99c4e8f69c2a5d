"""Pooling of frames over time (Ng et al., "Beyond Short Snippets", CVPR 2015, section 3.1): the models.

The frames of a video pass through one network; the models differ in where the maximum over time is. A network with
fully connected layers of its own (AlexNet, VGG, CNN-M) keeps and uses them; others get two layers of ``width``. Weights
do not depend on the number of frames, except those of the classifier of local-pool.

Arguments of all builders:

* backbone: name of an image network (`praxiscope.models.backbones.create_backbone`).
* snippets: number of frames of a video in training, and at test by default.
* width: width of new fully connected layers.
* dropout: rate of each fully connected layer.
* standardise: new fully connected layers take standardised features
  (`praxiscope.layers.standardise.RunningStandardise`). The maximum of rectified features is far from zero; new layers
  on a network that does not learn need a scale. Own layers of a network take features as they are.
* reduce: "max", or "mean" in its place.
* frozen: the network of the frames does not learn.
* stream, in_channels, pretrained, batchnorm, input_size: see `praxiscope.models.snippets.SnippetNetwork`.

K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from praxiscope.models.contract import Sees
from praxiscope.models.fc_layers import FCLayers
from praxiscope.models.frames_then_time import (
    FramesThenTime,
    MaxFramesThenTime,
    MaxOverTime,
    OnlineFramesThenTime,
    OverTime,
)
from praxiscope.models.named_layers import named_layers, run_layers
from praxiscope.models.over_frames import frame_network
from praxiscope.models.pool_operators import FCThenPool, LocalPool, PoolThenFC, Reduce, SlowPool, TimeConv
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode, Channels, SnippetNetwork, Stream

__all__ = ["conv_pool", "googlenet_conv", "late_pool", "local_pool", "pool", "slow_pool", "time_conv"]


def _build(
    make: Callable[[SnippetNetwork, int], OverTime],
    *,
    num_classes: int,
    snippets: int,
    frozen: bool,
    **frame: Any,
) -> FramesThenTime:
    """A network for each frame, and the operator that ``make`` makes of it and of the width of its features."""
    network = frame_network(**frame)
    (own,) = network.classifiers
    inputs: Any = own.weight
    over_time = make(network, int(inputs.shape[1]))
    kind = OnlineFramesThenTime if over_time.online else FramesThenTime
    if isinstance(over_time, MaxOverTime) and over_time.by_maximum:
        kind = MaxFramesThenTime
    return kind(network, over_time, num_classes=num_classes, frames=snippets, frozen=frozen)


def _last_channels(network: SnippetNetwork) -> int:
    """The channels of the last map, C."""
    side = network.input_size
    weight: Any = network.first_convolutions[0].weight
    mode = network.training
    network.eval()
    with torch.no_grad():
        maps, _ = run_layers(
            named_layers(network.backbone).layers, weight.new_zeros(1, network.in_channels, side, side)
        )
    network.train(mode)
    return int(maps.shape[1])


@register_model("conv-pool", learns="either")
def conv_pool(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    reduce: Reduce = "max",
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build conv pooling: the maximum over time of the last map, its space kept, then two fully connected layers.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        fc = FCLayers(frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise)
        return PoolThenFC("maps", fc, reduce, num_classes)

    return _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )


@register_model("late-pool", learns="either")
def late_pool(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    reduce: Reduce = "max",
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build late pooling: two fully connected layers for each frame, then the maximum over time.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        fc = FCLayers(
            frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise, after_features=True
        )
        return FCThenPool(fc, reduce, num_classes)

    return _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )


@register_model("slow-pool", learns="either")
def slow_pool(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build slow pooling: maxima over windows of 10 frames, a fully connected layer for each, and their maximum.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        return SlowPool(
            FCLayers(frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise),
            num_classes,
        )

    return _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )


@register_model("local-pool", learns="either")
def local_pool(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build local pooling: maxima over windows of 10 frames, and a classifier over all windows of ``snippets`` frames.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        fc = FCLayers(frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise)
        return LocalPool(fc, snippets, num_classes)

    model = _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )
    model.sees = Sees(together=None, fixed_number=True)
    return model


@register_model("time-conv", learns="either")
def time_conv(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build the convolution in time: 256 kernels of 3 x 3 places and 10 frames, and the maximum over time.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        channels, kernels = _last_channels(frame), TimeConv.kernels
        # AlexNet's map has as many channels as there are kernels, so that its own layers fit.
        maps = None if channels == kernels else kernels
        fc = FCLayers(
            frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise, maps=maps
        )
        return TimeConv(channels, fc, num_classes)

    return _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )


@register_model("pool", learns="either")
def pool(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    reduce: Reduce = "max",
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build pooling of features: their maximum over time, then two fully connected layers.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        fc = FCLayers(
            frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise, after_features=True
        )
        return PoolThenFC("features", fc, reduce, num_classes)

    return _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )


@register_model("googlenet-conv", learns="either")
def googlenet_conv(
    *,
    num_classes: int,
    backbone: str = "googlenet",
    snippets: int = 30,
    width: int = 4096,
    dropout: float = 0.6,
    standardise: bool = False,
    reduce: Reduce = "max",
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build the paper's variant with GoogLeNet: `pool`, after the network's global average pooling.

    The arguments are described at the top of this file.
    """

    def over_time(frame: SnippetNetwork, inputs: int) -> OverTime:
        fc = FCLayers(
            frame.backbone, inputs, width=width, dropout=dropout, standardise=standardise, after_features=True
        )
        return PoolThenFC("features", fc, reduce, num_classes)

    return _build(
        over_time,
        num_classes=num_classes,
        snippets=snippets,
        frozen=frozen,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )
