"""The network that the snippet models share: one backbone for every snippet, then a consensus.

Axis letters: B videos, S snippets, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.consensus import consensus_functions
from praxiscope.layers.normalisation import freeze_batchnorm
from praxiscope.layers.shift import SnippetCount
from praxiscope.layers.stems import Stems
from praxiscope.models.backbones import (
    InputContract,
    classifier,
    create_backbone,
    first_convolutions,
    flow_contract,
    input_contract,
    native_input_size,
)
from praxiscope.models.contract import Sees
from praxiscope.types import STEM, SnippetOutput

__all__ = ["BatchNormMode", "Channels", "SnippetNetwork", "Stream"]

BatchNormMode: TypeAlias = Literal["train", "partial", "frozen"]
Stream: TypeAlias = Literal["rgb", "flow"]
Channels: TypeAlias = int | Sequence[int]

# Channels of a stream when none are named: a picture, or TSN's stack of L = 5 flow fields of dx and dy.
STREAM_CHANNELS = {"rgb": 3, "flow": 10}
_BATCHNORM_MODES = ("train", "partial", "frozen")


class SnippetNetwork(nn.Module):
    """A backbone over every snippet of a video, and the consensus of their scores.

    Args:
        backbone: name of an image network (`praxiscope.models.backbones.create_backbone`).
        num_classes: K.
        stream: name of the input: "rgb" or "flow".
        in_channels: C; by default 3 for "rgb", 10 for "flow". Of "rgb" a multiple of 3 is a stack of frames. Several
            numbers in ascending order, of "flow", are a stem for each length of stack (Huang et al., section
            III.B.4): the last is C, and a shorter stack is the first channels of it.
        dropout: rate before the classifier.
        pretrained: download ImageNet weights; for C != 3 with cross-modality initialisation, or of RGB frames
            inflated.
        batchnorm: "train": all BatchNorm layers learn; "partial": only the first one (TSN's partial BN);
            "frozen": none. Applies to the backbone, and holds through ``.train()``.
        consensus: name of a function of `praxiscope.layers.consensus`.
        input_size: side in pixels at which the model is trained and tested; by default the backbone's own.
        sees: what is taken of a video; its ``together`` is above 1 where layers mix snippets.

    Attributes:
        streams: names of the inputs, in forward's order; with several stems ("flow", "stem").
        input_contract: mean and std that normalise the input (colours in [0, 1], flow in pixels); of a stack of frames
            those of one.
        snippet_count: how many snippets the present forward has, for layers that mix them.
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
                "in_channels must be one number or, of the stream 'flow', a stem for each of several in ascending "
                f"order; got {channels!r} for the stream {stream!r}"
            )
        self.num_classes = num_classes
        self.input_size = native_input_size(backbone) if input_size is None else input_size
        self.sees = sees
        self.batchnorm = batchnorm
        self.backbone_name = backbone
        self.set_rgb_contract(input_contract(backbone))
        self.snippet_count = SnippetCount()
        self.consensus = consensus_functions.get(consensus)
        self.backbone = create_backbone(
            backbone,
            num_classes=num_classes,
            in_channels=channels,
            dropout=dropout,
            pretrained=pretrained,
            input_size=input_size,
            frames=self.sees_frames,
        )
        self.train()

    @property
    def sees_frames(self) -> bool:
        """Whether the channels are those of RGB frames."""
        return self.streams == ("rgb",) and self.in_channels % 3 == 0

    def set_rgb_contract(self, rgb: InputContract) -> None:
        """Set ``input_contract`` from what the backbone's weights expect of RGB input in [0, 1]."""
        if self.sees_frames:
            self.input_contract = rgb
        else:
            self.input_contract = flow_contract(rgb, self.in_channels)

    @property
    def input_contracts(self) -> dict[str, InputContract]:
        """``input_contract`` by the stream's name."""
        return {self.streams[0]: self.input_contract}

    @property
    def classifiers(self) -> list[nn.Module]:
        """The layers that give class scores; optimisers may give them a rate of their own."""
        return [classifier(self.backbone)]

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layers that see the input; optimisers may give them a rate of their own."""
        return list(first_convolutions(self.backbone))

    def train(self, mode: bool = True) -> SnippetNetwork:
        """Set training mode for all but the BatchNorm layers that ``batchnorm`` holds still."""
        super().train(mode)
        if self.batchnorm != "train":
            freeze_batchnorm(self.backbone, keep_first=self.batchnorm == "partial")
        return self

    @property
    def stems(self) -> Stems | None:
        """The first convolutions, where there is one for each length of stack."""
        return next((module for module in self.backbone.modules() if isinstance(module, Stems)), None)

    def forward(self, frames: Tensor, stem: Tensor | None = None) -> SnippetOutput:
        """Score snippets and their videos.

        Args:
            frames: float [B, S, C, H, W], normalised as ``input_contract`` says; any S.
            stem: of a network with several stems, int64 [B, S]: which of them each snippet takes. None: all, and a
                snippet's scores are their mean (the test).

        Returns:
            logits [B, K] and snippet_logits [B, S, K].

        Raises:
            ArgumentError: another shape, or a stem that there is not.
        """
        if frames.dim() != 5 or frames.shape[2] != self.in_channels or frames.shape[1] < 1:
            raise ArgumentError(
                f"frames must be [B, S, {self.in_channels}, H, W] for the stream {self.streams[0]!r}, "
                f"got {list(frames.shape)}"
            )
        if not frames.is_floating_point():
            raise ArgumentError(
                f"frames must be normalised floats, got {frames.dtype}: (frames / 255 - mean) / std of input_contract"
            )
        videos, snippets = frames.shape[:2]
        self.snippet_count.value = snippets
        rows = frames.flatten(0, 1)
        stems = self.stems
        if stem is not None and (stems is None or stem.shape != frames.shape[:2]):
            raise ArgumentError(
                f"stem must be int64 {list(frames.shape[:2])}, for a network with several, got {list(stem.shape)}"
            )
        if stems is None:
            scores = self.backbone(rows)
        elif stem is None:
            scores = torch.stack([self._scores(stems, rows, number) for number in range(len(stems))]).mean(0)
        else:
            scores = self._scores(stems, rows, stem.flatten())
        snippet_logits = scores.unflatten(0, (videos, snippets))
        return SnippetOutput(self.consensus(snippet_logits), snippet_logits)

    def _scores(self, stems: Stems, rows: Tensor, choice: Tensor | int) -> Tensor:
        """Scores [N, K] of rows [N, C, H, W], each through its stem: int64 [N], or one number for all."""
        stems.choice = choice
        scores: Tensor = self.backbone(rows)
        return scores
