"""Two residual networks, for RGB frames and for flow, that interact and take several snippets together.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017.
With the additive gate this is a spatiotemporal residual network (NIPS 2016), without a gate a two-stream network.

Axis letters: B videos, S snippets of a video (an RGB frame and a stack of flow around it), C channels, H rows,
W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.gating import Gate, GatedInput, gates
from praxiscope.layers.normalisation import freeze_batchnorm
from praxiscope.layers.shift import VideoRows
from praxiscope.layers.temporal import AVERAGE, CENTRE, TemporalConvolution, temporal_max
from praxiscope.models.backbones import IMAGENET, create_backbone, flow_normalisation
from praxiscope.models.contract import Sees
from praxiscope.models.named_layers import Layer, check_layers, named_layers, run_layers
from praxiscope.models.network_ends import classifier
from praxiscope.models.registered import register_model
from praxiscope.models.residual import branch_width, residual_branch, residual_stages, residual_sum

__all__ = ["Direction", "TemporalPlace", "TwoStreamOutput", "TwoStreamResidualNetwork", "multiplier"]

Direction: TypeAlias = Literal["motion-to-appearance", "appearance-to-motion", "both"]
TemporalPlace: TypeAlias = Literal["residual", "shortcut", "last"]

_DIRECTIONS = ("motion-to-appearance", "appearance-to-motion", "both")
_PLACES = ("residual", "shortcut", "last")
_TAPS = {"centre": CENTRE, "average": AVERAGE}


class TwoStreamOutput(NamedTuple):
    """The output of the network.

    logits: [B, K], the mean of the scores of both streams before softmax.
    stream_logits: [2, B, K], scores of appearance and of motion; each has its own loss.
    features: by stream ("rgb", "flow"), the input of its classifier before dropout: [B, n, D], for each snippet, or for
        each window of snippets if features are max-pooled.
    maps: outputs of the requested layers by name ("rgb.layer3"), [B, S, C, H, W].
    """

    logits: Tensor
    stream_logits: Tensor
    features: Mapping[str, Tensor] = {}
    maps: Mapping[str, Tensor] = {}


def _ungated(x: Tensor, y: Tensor) -> GatedInput:
    """The input of a plain unit: f(x), twice."""
    own = F.relu(x)
    return GatedInput(own, own)


class TwoStreamResidualNetwork(nn.Module):
    """Appearance and motion, joined at the second residual unit of each stage.

    The input of this unit, in each stream, is the output of the stage's first unit before its last ReLU. The gate
    computes the inputs of the unit's shortcut and branch from those of both streams.

    Args:
        appearance, motion: torchvision ResNets with equal numbers of channels in each stage and classifiers of K
            classes.
        names: names of both, for messages.
        gate: a function of `praxiscope.layers.gating.gates`; None: the streams do not interact.
        direction: which stream the gate acts on.
        temporal: position of temporal convolutions in both streams. "residual" (double dagger in the paper, the best):
            in the second unit of each stage, after the 3x3 convolution; "shortcut" (dagger): in the shortcut of this
            unit; "last" (section sign): as "residual", in the last stage only; None: no temporal convolutions.
        taps: their initialisation, see `praxiscope.layers.temporal.TemporalConvolution`.
        pool_window: snippets over which features are max-pooled, with stride 1, before the spatial mean; None: average
            the scores of snippets instead.
        batchnorm: "train", "partial" (only the first layer of each stream learns) or "frozen".

    Attributes:
        streams: names of the inputs, in the order of ``forward``.
        sees: any number of snippets, which are scored together.
        consensus: None, because snippets have no scores.
        normalisation: mean and std of RGB (in [0, 1]) and of flow (in pixels), by stream.

    Raises:
        ArgumentError: the networks do not match, or a value is unknown.
    """

    streams = ("rgb", "flow")
    consensus = None

    def __init__(
        self,
        appearance: nn.Module,
        motion: nn.Module,
        *,
        names: tuple[str, str],
        gate: Gate | None,
        direction: Direction,
        temporal: TemporalPlace | None,
        taps: Sequence[float],
        pool_window: int | None,
        batchnorm: Literal["train", "partial", "frozen"],
    ) -> None:
        super().__init__()
        for what, value, known in (
            ("direction", direction, _DIRECTIONS),
            ("temporal", temporal, (*_PLACES, None)),
            ("batchnorm", batchnorm, ("train", "partial", "frozen")),
        ):
            if value not in known:
                raise ArgumentError(f"{what} must be one of {', '.join(map(str, known))}, got {value!r}")
        if pool_window is not None and (type(pool_window) is not int or pool_window < 1):
            raise ArgumentError(f"pool_window must be an integer of at least 1, got {pool_window!r}")
        self.appearance, self.motion = appearance, motion
        self.batchnorm = batchnorm
        self.pool_window = pool_window
        self.sees = Sees(together=None, instants_apart=temporal is None and pool_window is None)
        into = gate or _ungated
        self._into_appearance = into if direction != "appearance-to-motion" else _ungated
        self._into_motion = into if direction != "motion-to-appearance" else _ungated
        self.snippet_rows: ForwardValue[VideoRows | None] = ForwardValue(None)
        stages = [
            residual_stages(network, name) for network, name in zip((appearance, motion), names, strict=True)
        ]
        self.num_classes: int = classifier(appearance).weight.shape[0]
        channels: int = motion.conv1.in_channels  # type: ignore[assignment, union-attr]
        self.channels = {"rgb": 3, "flow": channels}
        self.normalisation = {"rgb": IMAGENET, "flow": flow_normalisation(IMAGENET, channels)}
        for number, (one, other) in enumerate(zip(*stages, strict=True), start=2):
            if min(len(one), len(other)) < 2:
                raise ArgumentError(
                    f"{names[0]} and {names[1]}: conv{number}_x has a single residual unit, but the streams are "
                    "joined at the second. Choose resnet18 or a deeper one"
                )
            widths = [_stage_width(stage) for stage in (one, other)]
            if gate is not None and widths[0] != widths[1]:
                raise ArgumentError(
                    f"{names[0]} and {names[1]} have {widths[0]} and {widths[1]} channels in conv{number}_x and cannot "
                    "be joined there. Choose two of resnet18 and resnet34, or two of resnet50, resnet101 and resnet152"
                )
        self.temporal_place = temporal
        self.temporal = nn.ModuleDict()
        for stream, own in zip(("appearance", "motion"), stages, strict=True):
            for number, stage in enumerate(own, start=2):
                if temporal is None or (temporal == "last" and number < 5):
                    continue
                width = _stage_width(stage) if temporal == "shortcut" else branch_width(stage[1])
                name = f"{stream}_conv{number}"
                self.temporal[name] = TemporalConvolution(width, self.snippet_rows, taps)
        self.train()

    def default_protocol(self, flip: bool) -> str:
        """25 uncropped frames, and their flips if training flips videos (section 4.2)."""
        return "fully-convolutional" if flip else "25xfull"

    @property
    def stream_networks(self) -> dict[str, nn.Module]:
        """The network of each stream."""
        return {"rgb": self.appearance, "flow": self.motion}

    @property
    def classifiers(self) -> list[nn.Module]:
        """The layers that output class scores."""
        return [classifier(self.appearance), classifier(self.motion)]

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layers that take the input."""
        return [self.appearance.conv1, self.motion.conv1]  # type: ignore[list-item]

    def train(self, mode: bool = True) -> TwoStreamResidualNetwork:
        """Set the training mode, except for the BatchNorm layers that ``batchnorm`` freezes."""
        super().train(mode)
        if self.batchnorm != "train":
            for network in (self.appearance, self.motion):
                freeze_batchnorm(network, keep_first=self.batchnorm == "partial")
        return self

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return, stream by stream."""
        return [
            f"{stream}.{name}"
            for stream, network in self.stream_networks.items()
            for name in named_layers(network).names
        ]

    def gate_names(self) -> list[str]:
        """The names of the gates, of the stream on which they act: "rgb.gate2" to "rgb.gate5", "flow.gate2" and so on.
        Their maps are what the other stream adds or multiplies by, f(y) of `praxiscope.layers.gating`."""
        acted = {"rgb": self._into_appearance, "flow": self._into_motion}
        return [
            f"{name}.gate{n}" for name, gate in acted.items() if gate is not _ungated for n in range(2, 6)
        ]

    def forward(self, frames: Tensor, flow: Tensor, *, maps: Sequence[str] = ()) -> TwoStreamOutput:
        """Score videos.

        Args:
            frames: normalised RGB frames [B, S, 3, H, W].
            flow: normalised stacks of flow [B, S, 2 L, H, W] at the same times; any S, H and W.
            maps: names of layers (see `layer_names`) whose outputs are also returned, and of gates (see `gate_names`).

        Raises:
            ArgumentError: the shapes do not match.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        if frames.dim() != 5 or flow.dim() != 5 or frames.shape[:2] != flow.shape[:2]:
            raise ArgumentError(
                "frames [B, S, C, H, W] and flow [B, S, 2 L, H, W] must have equal B and S; got "
                f"{list(frames.shape)} and {list(flow.shape)}"
            )
        check_layers(maps, [*self.layer_names(), *self.gate_names()] if maps else [])
        rows = (frames.shape[0], frames.shape[1])
        with self.snippet_rows.set(VideoRows.equal(*rows, frames.device)):
            a, m, kept = self._stages(frames.flatten(0, 1), flow.flatten(0, 1), maps, rows)
        features = {"rgb": self._features(a, rows), "flow": self._features(m, rows)}
        scores = torch.stack(
            [classifier(net)(features[stream]).mean(1) for stream, net in self.stream_networks.items()]
        )
        return TwoStreamOutput(scores.mean(0), scores, features, kept)

    def _stages(
        self, a: Tensor, m: Tensor, maps: Sequence[str], rows: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """RGB frames and flow [B * S, C, H, W] to the last maps of both streams, and the maps by layer name."""
        kept: dict[str, Tensor] = {}

        def run(stream: str, layers: Sequence[Layer], x: Tensor) -> Tensor:
            named = [Layer(f"{stream}.{layer.name}", layer.run) for layer in layers]
            x, found = run_layers(named, x, maps, rows)
            kept.update(found)
            return x

        a = run("rgb", named_layers(self.appearance).up_to("maxpool"), a)
        m = run("flow", named_layers(self.motion).up_to("maxpool"), m)
        stages = zip(residual_stages(self.appearance, ""), residual_stages(self.motion, ""), strict=True)
        for number, (own, other) in enumerate(stages, start=2):
            a, m = residual_sum(own[0], a), residual_sum(other[0], m)
            for gate, other_x in ((f"rgb.gate{number}", m), (f"flow.gate{number}", a)):
                if gate in maps:
                    kept[gate] = F.relu(other_x).reshape(*rows, *other_x.shape[1:])
            into_a, into_m = self._into_appearance(a, m), self._into_motion(m, a)
            a = self._second_unit(own[1], into_a, f"appearance_conv{number}")
            m = self._second_unit(other[1], into_m, f"motion_conv{number}")
            name = f"layer{number - 1}"
            a, m = run("rgb", [Layer(name, own[2:])], a), run("flow", [Layer(name, other[2:])], m)
        return a, m, kept

    def _second_unit(self, unit: nn.Module, taken: GatedInput, name: str) -> Tensor:
        along_time = self.temporal._modules.get(name)
        shortcut, inner = taken.shortcut, along_time
        if self.temporal_place == "shortcut" and along_time is not None:
            shortcut, inner = along_time(shortcut), None
        return F.relu(shortcut + residual_branch(unit, taken.branch, inner))

    def _features(self, x: Tensor, rows: tuple[int, ...]) -> Tensor:
        """Maps [B * S, C, h, w] to features [B, n, C] of snippets or of windows of snippets: the spatial mean."""
        x = x.reshape(*rows, *x.shape[1:])
        if self.pool_window is not None:
            x = temporal_max(x, self.pool_window)
        return x.mean((3, 4))


def _stage_width(stage: nn.Sequential) -> int:
    last = stage[-1]
    width: int = (last.conv3 if hasattr(last, "conv3") else last.conv2).out_channels  # type: ignore
    return width


@register_model("multiplier", backbones=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"))
def multiplier(
    *,
    num_classes: int,
    backbone: str = "resnet50",
    motion_backbone: str | None = None,
    stream: Literal["both"] = "both",
    in_channels: int = 20,
    gate: str | None = "residual-multiplicative",
    direction: Direction = "motion-to-appearance",
    temporal: TemporalPlace | None = "residual",
    taps: Literal["centre", "average"] = "centre",
    pool_window: int | None = 5,
    dropout: float = 0.0,
    motion_dropout: float = 0.8,
    pretrained: bool = False,
    batchnorm: Literal["train", "partial", "frozen"] = "train",
) -> TwoStreamResidualNetwork:
    """Build a spatiotemporal multiplier network, usually with a warm start from two trained streams.

    The defaults are the paper's best model, except that its motion stream has 152 layers. ``gate="residual-additive"``
    is the spatiotemporal residual network (ST-ResNet), ``gate=None, temporal=None, pool_window=None`` the two-stream
    network.

    Args:
        num_classes: K.
        backbone, motion_backbone: torchvision ResNets for RGB frames and for flow; by default the same.
        stream: "both", the only value.
        in_channels: channels of a stack of flow, 2 L; L is 10 in the paper.
        gate: a name of `praxiscope.layers.gating.gates`, or None.
        direction, temporal, pool_window, batchnorm: see `TwoStreamResidualNetwork`.
        taps: initialisation of temporal convolutions: "centre", (0, 1, 0), or "average", (1/3, 1/3, 1/3).
        dropout, motion_dropout: rates before the two classifiers.
        pretrained: start from ImageNet weights; the motion stream's with cross-modality initialisation.
    """
    if stream != "both":
        raise ArgumentError(f"multiplier needs RGB frames and flow; remove stream = {stream!r}")
    if not isinstance(in_channels, int):
        raise ArgumentError(
            f"multiplier takes stacks of one length; in_channels must be one number, got {in_channels!r}"
        )
    if taps not in _TAPS:
        raise ArgumentError(f"taps must be 'centre' or 'average', got {taps!r}")
    names = (backbone, motion_backbone or backbone)
    appearance, motion = (
        create_backbone(
            name, num_classes=num_classes, in_channels=channels, dropout=rate, pretrained=pretrained
        )
        for name, channels, rate in zip(names, (3, in_channels), (dropout, motion_dropout), strict=True)
    )
    return TwoStreamResidualNetwork(
        appearance,
        motion,
        names=names,
        gate=None if gate is None else gates.get(gate),
        direction=direction,
        temporal=temporal,
        taps=_TAPS[taps],
        pool_window=pool_window,
        batchnorm=batchnorm,
    )
