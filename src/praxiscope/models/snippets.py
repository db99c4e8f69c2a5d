"""The common network of snippet models: one backbone for all snippets, then a consensus.

Axis letters: B videos, S snippets, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.consensus import consensus_functions
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.normalisation import freeze_batchnorm
from praxiscope.layers.shift import VideoRows
from praxiscope.layers.stems import Stems
from praxiscope.models.backbones import (
    create_backbone,
    flow_normalisation,
    native_input_size,
    published_normalisation,
)
from praxiscope.models.contract import Normalisation, Sees
from praxiscope.models.named_layers import BackboneOutput, named_layers
from praxiscope.models.network_ends import classifier, first_convolutions
from praxiscope.types import STEM, SnippetOutput

__all__ = ["BatchNormMode", "Channels", "SnippetNetwork", "Stream"]

BatchNormMode: TypeAlias = Literal["train", "partial", "frozen"]
Stream: TypeAlias = Literal["rgb", "flow"]
Channels: TypeAlias = int | Sequence[int]

# Default channels of a stream: an RGB frame, or TSN's stack of L = 5 flow fields of dx and dy.
STREAM_CHANNELS = {"rgb": 3, "flow": 10}
_BATCHNORM_MODES = ("train", "partial", "frozen")


class SnippetNetwork(nn.Module):
    """A backbone that scores each snippet of a video, and the consensus of these scores.

    Args:
        backbone: name of an image network (`praxiscope.models.backbones.create_backbone`).
        num_classes: K.
        stream: name of the input: "rgb" or "flow".
        in_channels: C; by default 3 for "rgb", 10 for "flow". For "rgb", a multiple of 3 means a stack of frames. For
            "flow", several numbers in ascending order give a stem for each length of stack (Huang et al., section
            III.B.4): the last is C, and a shorter stack is its first channels.
        dropout: rate before the classifier.
        pretrained: start from ImageNet weights; for C != 3 with cross-modality initialisation, or inflated for RGB
            frames.
        batchnorm: "train": all BatchNorm layers learn; "partial": only the first one (TSN's partial BN); "frozen":
            none. Applies to the backbone, also after ``.train()``.
        consensus: name of a function of `praxiscope.layers.consensus`.
        input_size: side in pixels at which the model is trained and tested; by default the backbone's.
        sees: the frames that the model takes; its ``together`` is above 1 if layers mix snippets.

    Attributes:
        streams: names of the inputs, in the order of ``forward``; with several stems ("flow", "stem").
        normalisation: mean and std of the input (RGB in [0, 1], flow in pixels) by the stream's name; for a stack of
            RGB frames, those of one frame.
        snippet_rows: the rows of each video in the batch, for layers that mix snippets; set during each forward pass.
    """

    def __init__(
        self,
        *,
        backbone: str,
        num_classes: int,
        stream: Stream,
        in_channels: Channels | None,
        dropout: float,
        pretrained: bool,
        batchnorm: BatchNormMode,
        consensus: str,
        input_size: int | None,
        sees: Sees,
    ) -> None:
        super().__init__()
        if stream not in STREAM_CHANNELS:
            raise ArgumentError(f"stream must be 'rgb' or 'flow', got {stream!r}")
        if batchnorm not in _BATCHNORM_MODES:
            raise ArgumentError(f"batchnorm must be 'train', 'partial' or 'frozen', got {batchnorm!r}")
        channels = STREAM_CHANNELS[stream] if in_channels is None else in_channels
        if isinstance(channels, int):
            self.streams: tuple[str, ...] = (stream,)
            self.in_channels = channels
        elif stream == "flow" and len(channels) > 1 and sorted(set(channels)) == list(channels):
            self.streams = (stream, STEM)
            self.in_channels = channels[-1]
        else:
            raise ArgumentError(
                "in_channels must be one number or, for the stream 'flow', several in ascending "
                f"order; got {channels!r} for the stream {stream!r}"
            )
        self.num_classes = num_classes
        self.sees = sees
        self.batchnorm = batchnorm
        self.backbone_name = backbone
        # First, as it may download the description that the other functions read.
        self.backbone = create_backbone(
            backbone,
            num_classes=num_classes,
            in_channels=channels,
            dropout=dropout,
            pretrained=pretrained,
            input_size=input_size,
            frames=self.sees_frames,
        )
        self.input_size = native_input_size(backbone) if input_size is None else input_size
        rgb = published_normalisation(backbone)
        self.normalisation: dict[str, Normalisation] = {
            stream: rgb if self.sees_frames else flow_normalisation(rgb, self.in_channels)
        }
        self.snippet_rows: ForwardValue[VideoRows | None] = ForwardValue(None)
        self.consensus = consensus_functions.get(consensus)
        self.train()

    @property
    def sees_frames(self) -> bool:
        """Whether the input is RGB frames."""
        return self.streams == ("rgb",) and self.in_channels % 3 == 0

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the input, by the stream's name."""
        return {self.streams[0]: self.in_channels}

    @property
    def stream_networks(self) -> dict[str, nn.Module]:
        """The backbone, by the stream's name."""
        return {self.streams[0]: self.backbone}

    def default_protocol(self, flip: bool) -> str:
        """25 single frames if snippets are independent, otherwise one centred clip."""
        return "25x1" if self.sees.together == 1 else "1x1"

    @property
    def classifiers(self) -> list[nn.Module]:
        """The layers that output class scores; they may have their own learning rate."""
        return [classifier(self.backbone)]

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layers that take the input; they may have their own learning rate."""
        return list(first_convolutions(self.backbone))

    def train(self, mode: bool = True) -> SnippetNetwork:
        """Set the training mode, except for the BatchNorm layers that ``batchnorm`` freezes."""
        super().train(mode)
        if self.batchnorm != "train":
            freeze_batchnorm(self.backbone, keep_first=self.batchnorm == "partial")
        return self

    @property
    def stems(self) -> Stems | None:
        """The first convolutions, if there is one for each length of stack."""
        return next((module for module in self.backbone.modules() if isinstance(module, Stems)), None)

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return, from the input to the classifier."""
        return named_layers(self.backbone).names

    def check_frames(self, frames: Tensor) -> None:
        """Raise ArgumentError if frames are not floats [B, S, C, H, W]."""
        if frames.dim() != 5 or frames.shape[2] != self.in_channels or frames.shape[1] < 1:
            raise ArgumentError(
                f"frames must be [B, S, {self.in_channels}, H, W] for the stream {self.streams[0]!r}, "
                f"got {list(frames.shape)}"
            )
        if not frames.is_floating_point():
            raise ArgumentError(
                f"frames must be floats, normalised by model.normalisation; got {frames.dtype}"
            )

    def forward(
        self, frames: Tensor, stem: Tensor | None = None, *, maps: Sequence[str] = ()
    ) -> SnippetOutput:
        """Score snippets and their videos.

        Args:
            frames: float [B, S, C, H, W], normalised by ``normalisation``; any S.
            stem: for a network with several stems, the stem of each snippet, int64 [B, S]. None: use all stems for each
                snippet, and average scores, features and maps (for testing).
            maps: names of layers (see `layer_names`) whose outputs are also returned.

        Returns:
            logits [B, K], snippet_logits [B, S, K], features [B, S, D] and maps by layer name [B, S, C, H, W].

        Raises:
            ArgumentError: the shape is wrong, or a stem does not exist.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        self.check_frames(frames)
        rows = frames.flatten(0, 1)
        stems = self.stems
        if stem is not None and (stems is None or stem.shape != frames.shape[:2]):
            raise ArgumentError(
                f"stem must be int64 {list(frames.shape[:2])}, for a network with several stems, got {list(stem.shape)}"
            )
        network = partial(named_layers(self.backbone), rows, maps, tuple(frames.shape[:2]))
        with self.snippet_rows.set(VideoRows.equal(frames.shape[0], frames.shape[1], frames.device)):
            if stems is None:
                seen = network()
            elif stem is None:
                seen = _mean([_through(stems, number, network) for number in range(len(stems))])
            else:
                seen = _through(stems, stem.flatten(), network)
        return SnippetOutput(self.consensus(seen.scores), *seen)


def _through(stems: Stems, choice: Tensor | int, network: Callable[[], BackboneOutput]) -> BackboneOutput:
    """Run a network with the stem of each row: int64 [N], or one index for all rows."""
    with stems.choice.set(choice):
        return network()


def _mean(outputs: Sequence[BackboneOutput]) -> BackboneOutput:
    scores, features, maps = zip(*outputs, strict=True)
    means = {name: torch.stack([one[name] for one in maps]).mean(0) for name in maps[0]}
    return BackboneOutput(torch.stack(scores).mean(0), torch.stack(features).mean(0), means)
