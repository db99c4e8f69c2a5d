"""Test protocols: which views of a video are scored, and what is averaged over them.

A *view* is one input of the model: ``together`` snippets with one crop. ``together`` (S) is 1 for models that only
average over snippets, and the model's S for models that mix snippets. A protocol with V temporal views and P crops
scores V * P views of each video.

Axis letters: V temporal views, S snippets of one view.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.video.places import middles

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
    "view_places",
    "views_named",
]

Sampling = Literal["segments", "dense", "all", "random"]
Crops = Literal["center", "three", "ten", "full", "full-mirrored", "random"]

Average = Literal["logits", "softmax"]

# Crops per frame.
_CROP_COUNTS: dict[Crops, int] = {
    "center": 1,
    "three": 3,
    "ten": 10,
    "full": 1,
    "full-mirrored": 2,
    "random": 1,
}
_CROPS_BY_NAME: dict[str, Crops] = {
    "1": "center",
    "3": "three",
    "10": "ten",
    "full": "full",
    "full-mirrored": "full-mirrored",
}

# The short side of the frame over the side of the crop. Frames of 256 rows and crops of 224 are usual. Three crops have
# the height of the frame, so that together they cover it.
_SHORT_SIDE_RATIOS: dict[Crops, float] = {
    "center": 256 / 224,
    "three": 1.0,
    "ten": 256 / 224,
    "full": 256 / 224,
    "full-mirrored": 256 / 224,
    "random": 256 / 224,
}

# Test protocols of papers: the views, and what is averaged. Feichtenhofer et al., 2017, section 4.2: 25 frames and
# their flips, to which a network is applied convolutionally. Simonyan and Zisserman, 2014, section 5: class scores
# after the softmax layer.
_ALIASES: dict[str, tuple[str, Average]] = {
    "fully-convolutional": ("25xfull-mirrored", "logits"),
    "two-stream": ("25x10", "softmax"),
}

_RANDOM = re.compile(r"random([1-9][0-9]{0,3})x(1|10)(?:@([0-9]{1,9}))?")
_RANDOM_CROPS: dict[str, Crops] = {"1": "random", "10": "ten"}
_PATTERN = re.compile(r"(?:(dense)?([1-9][0-9]{0,3})|all)x(1|3|10|full|full-mirrored)")


@dataclass(frozen=True)
class Protocol:
    """Which views of a video are scored.

    Attributes:
        name: the name in commands and scores files, such as "25x10".
        temporal_views: V, the number of temporal views.
        sampling: "segments": the video is cut into S equal segments, and every view takes one snippet from each, so it
            spans the whole video. "dense": every view is a window of S snippets that are ``stride`` frames apart.
            "all": one view of every frame, for models that take any number. "random": the snippets of every view are
            drawn as in training, see `praxiscope.inference.examples`.
        crops: "center": one crop in the middle. "three": left, middle and right (or top to bottom). "ten":
            four corners and the middle, each also flipped. "full": the whole frame, for fully
            convolutional models. "full-mirrored": the whole frame and its horizontal flip. "random": one crop
            at a random place, flipped or not.
        stride: frames between the snippets of a window; only for "dense".
        short_side_ratio: the frame's short side over the crop's side (for whole frames: over the model's
            input size), before cropping.
        average: what is averaged over the views: "logits", scores before softmax (TSN, principal backpropagation), or
            "softmax", probabilities (two-stream); sigmoids if a video may have several labels.
        seed: of the draws of "random".
    """

    name: str
    temporal_views: int
    sampling: Sampling = "segments"
    crops: Crops = "center"
    stride: int = 8
    short_side_ratio: float = 256 / 224
    average: Average = "logits"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temporal_views < 1:
            raise ArgumentError(f"temporal_views must be at least 1, got {self.temporal_views}")
        if self.sampling not in get_args(Sampling):
            raise ArgumentError(
                f"sampling must be one of {', '.join(get_args(Sampling))}, got {self.sampling!r}"
            )
        fits = self.crops in _RANDOM_CROPS.values() if self.sampling == "random" else self.crops != "random"
        if not fits:
            raise ArgumentError(
                f"random views, and no others, have random crops, or else ten; got {self.sampling} and {self.crops}"
            )
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
        """V * P, the number of model inputs per video."""
        return self.temporal_views * self.crop_count

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON; ``seed`` only where something is drawn."""
        content = asdict(self)
        if self.sampling != "random":
            del content["seed"]
        return content


def parse_protocol(text: str, average: str | None = None) -> Protocol:
    """Parse the name of a protocol.

    Args:
        text: ``VxP``, ``denseVxP`` or ``allxP``: V temporal views (1 to 9999), and P one of 1 (a centre crop), 3, 10
            (corners and centre, flipped), ``full`` (the whole frame) or ``full-mirrored`` (and its flip). Or
            ``fully-convolutional``, which is 25xfull-mirrored, or ``two-stream``, 25x10 with ``average="softmax"``. Or
            ``randomVx1``, V random examples, with ``@SEED`` for another seed than 0; ``randomVx10``: ten crops of the
            snippets of each. Case does not matter.
        average: "logits" or "softmax"; by default "softmax" for ``two-stream`` and random examples, otherwise "logits".

    Returns:
        The protocol, with its usual stride and frame size.

    Raises:
        ArgumentError: the name or ``average`` is unknown.

    Example:
        >>> parse_protocol("25x10").views
        250
    """
    name = text.strip().lower()
    if drawn := _RANDOM.fullmatch(name):
        return Protocol(
            name=name,
            temporal_views=int(drawn[1]),
            sampling="random",
            crops=_RANDOM_CROPS[drawn[2]],
            average=_own_average(name) if average is None else average,  # type: ignore[arg-type]  # checked there
            seed=int(drawn[3] or 0),
        )
    found = _PATTERN.fullmatch(views_named(name))
    if found is None:
        raise ArgumentError(
            f"unknown protocol {text!r}. Use VIEWSxCROPS with crops 1, 3, 10, full or full-mirrored, for "
            "example 1x1 (one centre view), 25x1, 25x10, 2x3, 1xfull, dense10x3 (windows of neighbouring frames), "
            "allx1 (every frame, for models that take all frames), random240x1 (240 random examples), random25x10 (ten "
            "crops of 25), two-stream "
            "(25x10, averages probabilities), or fully-convolutional (25 whole frames and their horizontal flips)."
        )
    dense, views, crops = found.groups()
    kind = _CROPS_BY_NAME[crops]
    return Protocol(
        name=name,
        temporal_views=int(views or 1),
        sampling="dense" if dense else "segments" if views else "all",
        crops=kind,
        short_side_ratio=_SHORT_SIDE_RATIOS[kind],
        average=_own_average(name) if average is None else average,  # type: ignore[arg-type]  # checked there
    )


def name_with_average(protocol: Mapping[str, Any]) -> str:
    """The name of a protocol as recorded in scores, with ``average`` if it is not the default: "25x10", "25x10
    (softmax)"."""
    name, average = str(protocol.get("name", "")), protocol.get("average")
    return name if average in (None, _own_average(name)) else f"{name} ({average})"


def _own_average(name: str) -> Average:
    """What a named protocol averages by default. Ng (2018, section 3.4) averages the predictions of random examples."""
    return "softmax" if _RANDOM.fullmatch(name) else _ALIASES.get(name, (name, "logits"))[1]


def views_named(name: str) -> str:
    """The views of a named protocol: "25x10" for "two-stream"."""
    return _ALIASES.get(name, (name, "logits"))[0]


def view_indices(
    protocol: Protocol, num_frames: int, together: int | None, snippet_length: int = 1
) -> Tensor:
    """First frames of the snippets of all temporal views.

    Segments: view k takes from each of the S segments the frame at (k + 1/2) / V of its length. One view equals the
    centred sampling of training; with S = 1 the V views are ``segment_indices(num_frames, V)``. TSM's "twice sampling"
    takes its two views at 0 and 1/2 of each segment; here they are at 1/4 and 3/4.

    Dense: V windows of S snippets, ``stride`` frames apart, with starts equally spaced from the video's first frame to
    the last start whose window fits (one view: a window in the middle). A video that is shorter than a window is
    repeated from its beginning, as in the tests of TSM and of non-local networks.

    All: one view of every frame at which a snippet can start.

    Args:
        protocol: the protocol.
        num_frames: frames of the video.
        together: S, snippets of one model input. None, for segments: the V frames are one input, for models that take
            any number.
        snippet_length: frames of a snippet (1; more for stacks of frames).

    Returns:
        int64 [V, S] ([1, frames] for "all", [1, V] for S = None), 0-based. Every snippet fits into the video if it has
        at least ``snippet_length`` frames; otherwise all values are 0.

    Raises:
        ArgumentError: a number is less than 1.
    """
    import torch  # names are parsed without torch

    return torch.from_numpy(view_places(protocol, num_frames, together, snippet_length))


def view_places(
    protocol: Protocol, num_frames: int, together: int | None, snippet_length: int = 1
) -> NDArray[np.int64]:
    """What `view_indices` returns, as an array; torch need not be installed."""
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
        return np.arange(starts)[None]
    if protocol.sampling == "random":
        raise ArgumentError(
            f"protocol {protocol.name} draws its views, so they are not those of a number of frames"
        )
    if together is None:
        if protocol.sampling != "segments":
            raise ArgumentError(f"protocol {protocol.name} needs a number of snippets, together; got None")
        return np.array(middles(num_frames, views, snippet_length))[None]
    if protocol.sampling == "segments":
        # Segment s begins at tick * s, and view k lies (k + 1/2) / V further: the middle of part s * V + k
        # of S * V equal parts.
        found = np.array(middles(num_frames, together * views, snippet_length))
        return np.ascontiguousarray(found.reshape(together, views).T)  # [S * V] -> [V, S]
    window = together * protocol.stride
    last = max(starts - window, 0)  # TSM: a window counts S * stride frames, with S * stride = 64
    if views == 1:
        begins = np.array([last // 2])
    else:
        begins = np.arange(views) * last // (views - 1)
    offsets = np.arange(together) * protocol.stride
    return (begins[:, None] + offsets[None, :]) % starts  # [V, 1] + [1, S] -> [V, S]
