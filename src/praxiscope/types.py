"""The data types that modules exchange.

Axis letters, here and in every file that reshapes:
    B videos of a batch, S snippets of a video, T frames, C channels, H rows, W columns,
    L flow fields in a stack, N any number of frames together (for example B * S), K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # reading lists of videos must not import torch
    import torch
    from torch import Tensor

__all__ = [
    "FLOW_TARGET",
    "STEM",
    "Batch",
    "Clip",
    "Example",
    "Prediction",
    "Segment",
    "SnippetOutput",
    "VideoRecord",
]

STEM = "stem"  # the stream of a batch that holds numbers of stems, not frames; see `Batch`
FLOW_TARGET = "flow_target"  # the stream of a batch that holds flow to be estimated; see `Batch`


@dataclass(frozen=True)
class VideoRecord:
    """One labelled video, or a part of one, of a data set.

    Attributes:
        id: unique in its data set; the path below the data set's root, with ``@start-end`` for a part.
        path: the file (a video, or a packed clip), or a folder of frames.
        labels: class names; one, or several for multi-label data. Empty for a test video without a class.
        start_s, end_s: the part of the file in seconds; None is the start or end of the file.
        split: "train", "val" or "test"; None if there is no split yet.
        group: videos of one group (one source, one person) must be on the same side of a split.
    """

    id: str
    path: Path
    labels: tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None
    split: str | None = None
    group: str | None = None

    @property
    def source(self) -> str:
        """The group; without one, the file: parts of a video look alike. Clips of one source stay together."""
        return self.group or str(self.path)


class Example(NamedTuple):
    """A view of a video that was drawn at random.

    rows: int64 [S], which of the clip's frames it consists of.
    cut: its crop, and its flip if it has one: frames [S, C, H, W] and their kind ("rgb" or "flow") to [S, C, h, w].
    """

    rows: Tensor
    cut: Callable[[Tensor, Any], Tensor]


@dataclass
class Clip:
    """A sample: the frames that are read from one video for one step.

    Attributes:
        streams: frames by name ("rgb", "flow") at the same times: [S, C, H, W], uint8 for RGB, float32 for flow (in
            pixels, x first).
        target: int64 [] class number, or float32 [K] of zeros and ones for multi-label data.
        id: the record's id.
        seed: of the random transforms that are applied later (flip, colour jitter).
        damage: the frames of the video that do not decode, as a clause; empty for none.
        long: the video has too many frames to be read at once; ``streams`` is empty.
        examples: the views of these frames, if they were drawn at random; None: the views follow from the protocol.
    """

    streams: dict[str, Tensor]
    target: Tensor
    id: str
    seed: int = 0
    damage: str = ""
    long: bool = False
    examples: Sequence[Example] | None = None


@dataclass
class Batch:
    """A batch of clips.

    Dense: every stream is [B, S, C, H, W] and ``offsets`` is None. Packed: every stream is
    [sum of T, C, H, W], and video b owns the rows ``offsets[b]:offsets[b + 1]`` (int64 [B + 1]).

    Padded: every stream is [B, largest T, C, H, W] with the same offsets; after the ``offsets[b + 1] - offsets[b]``
    frames of video b, its last frame is repeated.

    For networks with several stems a dense batch has one more stream, ``STEM``: int64 [B, S], the number of the stem
    for each snippet.

    For networks that learn to estimate flow it has one more stream, ``FLOW_TARGET``: float32 [B, S, 2F, h, w], the F
    flow fields of each snippet in pixels of the frames, x first, at a lower resolution; NaN where flow is unknown.
    """

    streams: dict[str, Tensor]
    targets: Tensor
    ids: list[str]
    seeds: list[int] = field(default_factory=list)
    offsets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory."""
        return replace(
            self,
            streams={name: x.pin_memory() for name, x in self.streams.items()},
            targets=self.targets.pin_memory(),
            offsets=None if self.offsets is None else self.offsets.pin_memory(),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return replace(
            self,
            streams={name: x.to(device, non_blocking=non_blocking) for name, x in self.streams.items()},
            targets=self.targets.to(device, non_blocking=non_blocking),
            offsets=None if self.offsets is None else self.offsets.to(device, non_blocking=non_blocking),
        )


class SnippetOutput(NamedTuple):
    """The output of a snippet model.

    logits: [B, K], the video's scores before softmax.
    snippet_logits: [B, S, K], those of every snippet; their consensus is ``logits``.
    features: [B, S, D], the input of the classifier, before its dropout.
    maps: the outputs of the requested layers, by name, [B, S, C, H, W].
    """

    logits: Tensor
    snippet_logits: Tensor
    features: Tensor | None = None
    maps: Mapping[str, Tensor] = {}


class Segment(NamedTuple):
    """A segment of a video with its most probable classes: a row of a timeline."""

    start_s: float
    end_s: float
    labels: list[str]
    scores: list[float]
    none_of_these: bool = False  # the best class is less probable than the threshold of the prediction

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]

    @property
    def score(self) -> float:
        """Its probability."""
        return self.scores[0]


@dataclass(frozen=True)
class Prediction:
    """The result for one video.

    Attributes:
        source: the file.
        labels: class names, the most probable first.
        scores: their probabilities (softmax, or sigmoid for multi-label models).
        segments: the timeline, if one was requested.
        damage: the frames of the video that do not decode, as a clause; empty for none.
        none_of_these: the best class is less probable than ``none_below``, so the video may well show none of the
            classes. For a timeline: this holds for all of its segments.
        none_below: the threshold; None if there is none.
        runtime: the library that computed the scores: "torch", "onnxruntime" or "openvino".
    """

    source: str
    labels: list[str]
    scores: list[float]
    segments: list[Segment] = field(default_factory=list)
    damage: str = ""
    none_of_these: bool = False
    none_below: float | None = None
    runtime: str = "torch"
