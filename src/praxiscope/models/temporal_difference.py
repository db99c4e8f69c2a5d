"""Temporal difference networks: an image network, and a network of the differences of its features at several depths.

J. Y.-H. Ng, dissertation, University of Maryland, 2018, chapter 5; J. Y.-H. Ng and L. S. Davis, "Temporal Difference
Networks for Video Action Recognition", WACV 2018. This is not the network of the same name of L. Wang et al., CVPR
2021.

Axis letters: B videos, S snippets, C channels, H rows, W columns, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.normalisation import freeze_batchnorm
from praxiscope.models.backbones import create_backbone
from praxiscope.models.contract import Sees
from praxiscope.models.named_layers import check_layers, named_layers
from praxiscope.models.network_ends import classifier, first_convolution
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode, SnippetNetwork, Stream
from praxiscope.models.stages import stage_ends

__all__ = ["DifferenceOutput", "TemporalDifference", "temporal_difference"]

INPUT = "input"


class DifferenceOutput(NamedTuple):
    """The output of the network.

    logits: [B, K], the mean of the scores of both networks before softmax.
    stream_logits: [2, B, K], scores of the image network and of the difference network; each has its own loss.
    features: by network ("image", "difference"), the input of its classifier before dropout: [B, S, D] of the snippets,
        [B, S - 1, D] of the pairs of neighbours.
    maps: outputs of the requested layers by name: "image.layer4" [B, S, C, h, w], "difference.layer4" [B, S - 1, C, h,
        w].
    head_names: names of the rows of ``stream_logits``.
    """

    logits: Tensor
    stream_logits: Tensor
    features: Mapping[str, Tensor] = {}
    maps: Mapping[str, Tensor] = {}
    head_names: tuple[str, ...] = ("image", "difference")


def differences(x: Tensor) -> Tensor:
    """Later minus earlier of neighbours: [B, S, ...] to [B, S - 1, ...]. A single snippet gives one difference, of
    zero, as two equal ones would."""
    return x[:, 1:] - x[:, :-1] if x.shape[1] > 1 else torch.zeros_like(x)


class TemporalDifference(SnippetNetwork):
    """Scores S snippets by an image network, and the S - 1 pairs of neighbours by a difference network of the same
    shape.

    The image network (``backbone``) sees each snippet once. The input of the difference network is the difference of
    the two snippets, and the difference of the image network's features is added to its own activations at the ends of
    stages (equation 5.1 ff.: after the activation, before the resolution is reduced next). Each network averages its
    scores over snippets or pairs, and has its own loss; the prediction is the mean of both.

    A single snippet counts as a pair of equal ones.

    Args:
        num_classes: K.
        backbone: name of an image network whose stages are known (`praxiscope.models.stages`).
        stream: "rgb" or "flow".
        in_channels: C of a snippet; by default 3 for "rgb", 10 for "flow" (5 fields).
        layers: the deepest layer whose differences are added, with all before it: "input", "conv1", "res2", "res3" or
            "res4"; by default the last that the backbone has. The differences of the last stage are never added.
        dropout: rate before both classifiers.
        pretrained: start both networks from ImageNet weights.
        batchnorm: "train", "partial" (only the first layer of each network learns) or "frozen".
        input_size: side in pixels at which the model is trained and tested; by default the backbone's.

    Raises:
        ArgumentError: a value is unknown, or the backbone has no such layer or cannot be split.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = "efficientnet_lite0",
        stream: Stream = "rgb",
        in_channels: int | None = None,
        layers: str | None = None,
        dropout: float = 0.8,
        pretrained: bool = False,
        batchnorm: BatchNormMode = "train",
        input_size: int | None = None,
    ) -> None:
        if not isinstance(in_channels, int | None):
            raise ArgumentError(
                f"a temporal difference network takes snippets of one length; in_channels must be one number, got "
                f"{in_channels!r}"
            )
        super().__init__(
            backbone=backbone,
            num_classes=num_classes,
            stream=stream,
            in_channels=in_channels,
            dropout=dropout,
            pretrained=pretrained,
            batchnorm=batchnorm,
            consensus="average",
            input_size=input_size,
            sees=Sees(together=None, least=2),
        )
        self.consensus = None  # type: ignore[assignment]  # the difference network scores no single snippet
        self.difference = create_backbone(
            backbone,
            num_classes=num_classes,
            in_channels=self.in_channels,
            dropout=dropout,
            pretrained=pretrained,
            input_size=input_size,
            frames=self.sees_frames,
        )
        ends = stage_ends(self.backbone, backbone)
        known = [INPUT, *ends]
        if layers is not None and layers not in known:
            raise ArgumentError(f"layers must be one of {', '.join(known)} for {backbone}, got {layers!r}")
        count = len(ends) if layers is None else known.index(layers)
        self.added_at = tuple(ends.values())[:count]  # names of layers
        self.train()

    def default_protocol(self, flip: bool) -> str:
        """The neighbours of 25 single frames."""
        return "25x1"

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The two networks by name."""
        return {"image": self.backbone, "difference": self.difference}

    @property
    def start_parts(self) -> dict[str, nn.Module]:
        """The networks that may each start from a run; an image run (TSN) starts the first."""
        return self.parts

    @property
    def frozen_first(self) -> list[nn.Module]:
        """The image network, fixed in the first phase of training but for its classifier (section 5.3.4)."""
        return [self.backbone]

    @property
    def classifiers(self) -> list[nn.Module]:
        """The layers that output class scores."""
        return [classifier(network) for network in self.parts.values()]

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layers that take the input, and the differences of inputs."""
        return [first_convolution(network) for network in self.parts.values()]

    def train(self, mode: bool = True) -> TemporalDifference:
        """Set the training mode, except for the BatchNorm layers that ``batchnorm`` freezes."""
        super().train(mode)
        # The constructor of the base class sets the mode before the difference network exists.
        if self.batchnorm != "train" and "difference" in self._modules:
            freeze_batchnorm(self.difference, keep_first=self.batchnorm == "partial")
        return self

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return, network by network."""
        return [f"{part}.{name}" for part, net in self.parts.items() for name in named_layers(net).names]

    def forward(  # type: ignore[override]
        self, frames: Tensor, *, maps: Sequence[str] = ()
    ) -> DifferenceOutput:
        """Score videos.

        Args:
            frames: float [B, S, C, H, W], normalised by ``normalisation``, in the order of time; any S.
            maps: names of layers (see `layer_names`) whose outputs are also returned.

        Raises:
            ArgumentError: the shape is wrong.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        self.check_frames(frames)
        check_layers(maps, self.layer_names() if maps else [])
        wanted = {
            part: [name.removeprefix(f"{part}.") for name in maps if name.startswith(f"{part}.")]
            for part in self.parts
        }
        rows = (frames.shape[0], frames.shape[1])
        kept = [*self.added_at, *wanted["image"]]
        image = named_layers(self.backbone)(frames.flatten(0, 1), kept, rows)
        motion = {name: differences(image.maps[name]).flatten(0, 1) for name in self.added_at}
        pairs = differences(frames)
        difference = named_layers(self.difference)(
            pairs.flatten(0, 1), wanted["difference"], (rows[0], pairs.shape[1]), motion
        )
        scores = torch.stack([image.scores.mean(1), difference.scores.mean(1)])
        found = {f"image.{name}": image.maps[name] for name in wanted["image"]}
        found |= {f"difference.{name}": x for name, x in difference.maps.items()}
        features = {"image": image.features, "difference": difference.features}
        return DifferenceOutput(scores.mean(0), scores, features, found)


@register_model("temporal-difference", parts=("image", "difference"))
def temporal_difference(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    stream: Stream = "rgb",
    in_channels: int | None = None,
    layers: str | None = None,
    dropout: float = 0.8,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    input_size: int | None = None,
) -> TemporalDifference:
    """Build a temporal difference network; see `TemporalDifference`.

    The paper's network is ``backbone="resnet50"``, with partial BatchNorm (except on FCVID).
    """
    return TemporalDifference(
        num_classes=num_classes,
        backbone=backbone,
        stream=stream,
        in_channels=in_channels,
        layers=layers,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )
