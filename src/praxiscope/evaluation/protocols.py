"""Test protocols as data: which views of a video are scored, and what of them is averaged.

A *view* is one input of the model: ``together`` snippets (S; 1 for single-frame models and for those
that only average over snippets, the model's own S for models that mix snippets), cut out at one place of
the frame. A protocol with V temporal views and P crops scores V * P views of each video.

Axis letters: V temporal views, S snippets of one view.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Average",
    "Crops",
    "Protocol",
    "Sampling",
    "name_with_average",
    "parse_protocol",
    "view_indices",
    "views_named",
]

Sampling = Literal["segments", "dense", "all"]
Crops = Literal["center", "three", "ten", "full", "full-mirrored"]

Average = Literal["logits", "softmax"]

# Crops per frame.
_CROP_COUNTS: dict[Crops, int] = {"center": 1, "three": 3, "ten": 10, "full": 1, "full-mirrored": 2}
_CROPS_BY_NAME: dict[str, Crops] = {
    "1": "center",
    "3": "three",
    "10": "ten",
    "full": "full",
    "full-mirrored": "full-mirrored",
}

# The short side of the frame over the side of the crop. Frames of 256 rows and crops of 224 are the field's
# habit; three crops are as high as the frame, so that together they cover it.
_SHORT_SIDE_RATIOS: dict[Crops, float] = {
    "center": 256 / 224,
    "three": 1.0,
    "ten": 256 / 224,
    "full": 256 / 224,
    "full-mirrored": 256 / 224,
}

# Tests of papers: the views, and what is averaged. Feichtenhofer et al., 2017, section 4.2: 25 instants and their
# flipped frames, in which a network is applied at every place of the frame. Simonyan and Zisserman, 2014, section 5:
# class scores, which are those of the softmax layer.
_ALIASES: dict[str, tuple[str, Average]] = {
    "fully-convolutional": ("25xfull-mirrored", "logits"),
    "two-stream": ("25x10", "softmax"),
}

_PATTERN = re.compile(r"(?:(dense)?([1-9][0-9]{0,3})|all)x(1|3|10|full|full-mirrored)")


@dataclass(frozen=True)
class Protocol:
    """Which views of a video are scored.

    Attributes:
        name: as it is written in commands and scores files, "25x10".
        temporal_views: V, places in time.
        sampling: "segments": the video is cut into S equal segments, and every view takes one snippet from
            each, so that it spans the whole video. "dense": every view is a window of S snippets that are
            ``stride`` frames apart. "all": one view, which has every frame, for models that take any number.
        crops: "center": one crop in the middle. "three": left, middle and right (or top to bottom). "ten":
            four corners and the middle, each also flipped. "full": the whole frame, for fully
            convolutional models. "full-mirrored": the whole frame and its horizontal flip.
        stride: frames from one snippet of a window to the next; used by "dense" only.
        short_side_ratio: the frame's short side over the crop's side (for whole frames: over the model's
            input size), before cropping.
        average: what of the views is averaged: "logits", scores before softmax (TSN, principal backpropagation), or
            "softmax", the probabilities behind it (two-stream); sigmoids where a video may have several labels.
    """

    name: str
    temporal_views: int
    sampling: Sampling = "segments"
    crops: Crops = "center"
    stride: int = 8
    short_side_ratio: float = 256 / 224
    average: Average = "logits"

    def __post_init__(self) -> None:
        if self.temporal_views < 1:
            raise ArgumentError(f"temporal_views must be at least 1, got {self.temporal_views}")
        if self.sampling not in ("segments", "dense", "all"):
            raise ArgumentError(f"sampling must be 'segments', 'dense' or 'all', got {self.sampling!r}")
        if self.crops not in _CROP_COUNTS:
            raise ArgumentError(f"crops must be one of {', '.join(_CROP_COUNTS)}, got {self.crops!r}")
        if self.average not in get_args(Average):
            raise ArgumentError(f"average must be {' or '.join(get_args(Average))}, got {self.average!r}")
        if self.stride < 1:
            raise ArgumentError(f"stride must be at least 1 frame, got {self.stride}")
        if not 1.0 <= self.short_side_ratio < 100.0:
            raise ArgumentError(f"short_side_ratio must be at least 1, got {self.short_side_ratio}")

    @property
    def crop_count(self) -> int:
        """P, crops per frame: 1, 2, 3 or 10."""
        return _CROP_COUNTS[self.crops]

    @property
    def views(self) -> int:
        """V * P, the model inputs that one video gives."""
        return self.temporal_views * self.crop_count

    def as_dict(self) -> dict[str, Any]:
        """The fields, as plain values that JSON can hold."""
        return asdict(self)


def parse_protocol(text: str, average: str | None = None) -> Protocol:
    """Read a protocol's name.

    Args:
        text: ``VxP``, ``denseVxP`` or ``allxP``: V temporal views (1 to 9999), and P one of 1 (a centre crop), 3, 10
            (corners and centre, flipped), ``full`` (the whole frame) or ``full-mirrored`` (and its flip). Or
            ``fully-convolutional``, which is 25xfull-mirrored, or ``two-stream``, 25x10 with ``average="softmax"``.
            Case does not matter.
        average: "logits" or "softmax", in place of the protocol's own: "softmax" of ``two-stream``, else "logits".

    Returns:
        The protocol, with the stride and the frame size that the field uses for it.

    Raises:
        ArgumentError: the name, or ``average``, is none of these.

    Example:
        >>> parse_protocol("25x10").views
        250
    """
    name = text.strip().lower()
    written, own = _ALIASES.get(name, (name, "logits"))
    found = _PATTERN.fullmatch(written)
    if found is None:
        raise ArgumentError(
            f"unknown protocol {text!r}. Write VIEWSxCROPS with crops 1, 3, 10, full or full-mirrored, for "
            "example 1x1 (one centre view), 25x1, 25x10, 2x3, 1xfull, dense10x3 (windows of neighbouring frames), "
            "allx1 (every frame, for models that take all frames), two-stream (25x10, averages probabilities), or "
            "fully-convolutional (25 whole frames and their horizontal flips)."
        )
    dense, views, crops = found.groups()
    kind = _CROPS_BY_NAME[crops]
    return Protocol(
        name=name,
        temporal_views=int(views or 1),
        sampling="dense" if dense else "segments" if views else "all",
        crops=kind,
        short_side_ratio=_SHORT_SIDE_RATIOS[kind],
        average=own if average is None else average,  # type: ignore[arg-type]  # checked there
    )


def name_with_average(protocol: Mapping[str, Any]) -> str:
    """The name of a protocol as scores record it, with what was averaged where that is not the name's own: "25x10",
    "25x10 (softmax)"."""
    name, average = str(protocol.get("name", "")), protocol.get("average")
    own = _ALIASES.get(name, (name, "logits"))[1]
    return name if average in (None, own) else f"{name} ({average})"


def views_named(name: str) -> str:
    """The views that a protocol's name stands for, as they are written: "25x10" for "two-stream"."""
    return _ALIASES.get(name, (name, "logits"))[0]


def view_indices(
    protocol: Protocol, num_frames: int, together: int | None, snippet_length: int = 1
) -> Tensor:
    """First frames of the snippets of every temporal view.

    Segments: view k takes from each of the S segments the frame at (k + 1/2) / V of its length. One view is
    the centred sampling of training; with S = 1 the V views are ``segment_indices(num_frames, V)``. TSM's
    "twice sampling" takes its two views at 0 and 1/2 of each segment; here two views lie at 1/4 and 3/4.

    Dense: V windows of S snippets, ``stride`` frames apart, with starts equally spaced from the video's
    first frame to the last start whose window fits (one view: a window in the middle). A video that is
    shorter than a window starts again from its beginning, as in the tests of TSM and of non-local networks.

    All: one view of every frame with which a snippet can start, however many there are.

    Args:
        protocol: the views that are asked for.
        num_frames: frames of the video.
        together: S, snippets of one model input. None, of segments: the V instants are one input, for models
            that see any number together.
        snippet_length: frames that a snippet needs from its first frame on (1; more for stacks of frames).

    Returns:
        int64 [V, S] (of "all" [1, frames], of S = None [1, V]), 0-based. Where the video has ``snippet_length`` frames,
        every snippet fits into it; a shorter video gives zeros.

    Raises:
        ArgumentError: a number is less than 1.
    """
    import torch  # a protocol's name is read without it

    from praxiscope.video.sampling import segment_indices

    for label, value in (
        ("num_frames", num_frames),
        ("together", 1 if together is None else together),
        ("snippet_length", snippet_length),
    ):
        if value < 1:
            raise ArgumentError(f"{label} must be at least 1, got {value}")
    views = protocol.temporal_views
    starts = max(num_frames - snippet_length + 1, 1)  # frames at which a snippet can start
    if protocol.sampling == "all":
        return torch.arange(starts)[None]
    if together is None:
        if protocol.sampling != "segments":
            raise ArgumentError(f"protocol {protocol.name} needs a number of snippets, together; got None")
        return segment_indices(num_frames, views, snippet_length)[None]
    if protocol.sampling == "segments":
        # Segment s begins at tick * s, and view k lies (k + 1/2) / V further: the middle of part s * V + k
        # of S * V equal parts.
        middles = segment_indices(num_frames, together * views, snippet_length)
        return middles.reshape(together, views).T.contiguous()  # [S * V] -> [V, S]
    window = together * protocol.stride
    last = max(starts - window, 0)  # TSM: a window counts S * stride frames, with S * stride = 64
    if views == 1:
        begins = torch.tensor([last // 2])
    else:
        begins = torch.arange(views) * last // (views - 1)
    offsets = torch.arange(together) * protocol.stride
    return (begins[:, None] + offsets[None, :]) % starts  # [V, 1] + [1, S] -> [V, S]
