"""What every transform of frames is, and those that keep the whole frame: resize and flip.

Axis letters: T frames, C channels, H rows, W columns, L flow fields in a stack.
Frames are [..., C, H, W]. Kind "rgb" is any picture, uint8 or float; kind "flow" is float
[..., 2L, H, W] in pixels, channels dx, dy, dx, dy, …: a mirrored flow turns its dx round, a resized one has
its vectors scaled. uint8 comes back as uint8. Results may share memory with the frames that were given;
these are never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from praxiscope.errors import ArgumentError

__all__ = [
    "Box",
    "Compose",
    "Flip",
    "Kind",
    "ShortSide",
    "Size",
    "Transform",
    "as_pair",
    "check_frames",
    "frame_size",
    "kind_of",
    "mirror",
    "needed",
    "resize",
]

Kind = Literal["rgb", "flow"]
Size = tuple[int, int]  # rows, columns
P = TypeVar("P")


class Box(NamedTuple):
    """A rectangle of a frame, in pixels, with the size of the frame it was drawn on."""

    top: int
    left: int
    height: int
    width: int
    frame: Size

    def on(self, size: Size) -> Box:
        """The same part of a frame of another size: at least one pixel, inside the frame."""
        if size == self.frame:
            return self
        (top, height), (left, width) = (
            _scaled_span(start, extent, before, after)
            for start, extent, before, after in zip(self[0:2], self[2:4], self.frame, size, strict=True)
        )
        return Box(top, left, height, width, size)

    def cut(self, frames: Tensor) -> Tensor:
        """The rectangle of frames [..., H, W] as a view; frames of another size lose the same part."""
        top, left, height, width, _ = self.on(frame_size(frames))
        return frames[..., top : top + height, left : left + width]


class Transform(ABC, Generic[P]):
    """One draw for one video, applied to any of its streams.

    ``draw`` makes plain numbers on the CPU; ``apply`` uses them on frames on any device. Calling the
    transform draws once and applies the draw to every stream, so that colours and flow stay aligned.
    """

    @abstractmethod
    def draw(self, size: Size, generator: torch.Generator | None = None) -> P:
        """Draw for one video.

        Args:
            size: rows and columns of its frames.
            generator: a CPU generator. Transforms without chance take None.

        Raises:
            ArgumentError: the transform needs a generator, or does not fit frames of this size.
        """

    @abstractmethod
    def apply(self, frames: Tensor, params: P, kind: Kind = "rgb") -> Tensor:
        """Transform the frames [..., C, H, W] of one stream of one video as ``draw`` said."""

    @abstractmethod
    def size_after(self, size: Size, params: P) -> Size:
        """Rows and columns of what ``apply`` makes of frames of ``size``, the size drawn for."""

    def __call__(
        self, streams: Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw once and apply to all streams of one video.

        Args:
            streams: [..., C, H, W] by name. Names that start with "flow" hold flow, the others pictures.
                The draw is made for the size of the first picture stream (the first stream if there is
                none); a stream of another size gets the same part of its frame, and the same output size.
            generator: a CPU generator.
        """
        if not streams:
            raise ArgumentError(f"{type(self).__name__} got no streams to transform")
        leading = next((x for name, x in streams.items() if kind_of(name) == "rgb"), None)
        leading = next(iter(streams.values())) if leading is None else leading
        params = self.draw(frame_size(leading), generator)
        return {name: self.apply(x, params, kind_of(name)) for name, x in streams.items()}


@dataclass(frozen=True)
class Compose(Transform[tuple[Any, ...]]):
    """Transforms one after the other; their draws are a tuple in the same order."""

    transforms: tuple[Transform[Any], ...]

    def __init__(self, *transforms: Transform[Any]) -> None:
        object.__setattr__(self, "transforms", transforms)

    def draw(self, size: Size, generator: torch.Generator | None = None) -> tuple[Any, ...]:
        draws = []
        for transform in self.transforms:
            draws.append(transform.draw(size, generator))
            size = transform.size_after(size, draws[-1])
        return tuple(draws)

    def apply(self, frames: Tensor, params: tuple[Any, ...], kind: Kind = "rgb") -> Tensor:
        for transform, drawn in zip(self.transforms, params, strict=True):
            frames = transform.apply(frames, drawn, kind)
        return frames

    def size_after(self, size: Size, params: tuple[Any, ...]) -> Size:
        for transform, drawn in zip(self.transforms, params, strict=True):
            size = transform.size_after(size, drawn)
        return size


@dataclass(frozen=True)
class ShortSide(Transform[Size]):
    """Resize so that the shorter side has ``size`` pixels and the aspect stays; draws the new size."""

    size: int

    def __post_init__(self) -> None:
        as_pair(self.size)

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Size:
        short = min(size)
        rows, columns = (max(1, round(side * self.size / short)) for side in size)
        return rows, columns

    def apply(self, frames: Tensor, params: Size, kind: Kind = "rgb") -> Tensor:
        return resize(frames, params, kind)

    def size_after(self, size: Size, params: Size) -> Size:
        return params


@dataclass(frozen=True)
class Flip(Transform[bool]):
    """Mirror left and right with probability ``p``; draws whether to."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ArgumentError(f"Flip's p must be a probability from 0 to 1, got {self.p}")

    def draw(self, size: Size, generator: torch.Generator | None = None) -> bool:
        return float(torch.rand((), generator=needed(generator, self))) < self.p

    def apply(self, frames: Tensor, params: bool, kind: Kind = "rgb") -> Tensor:
        return mirror(frames, kind) if params else frames

    def size_after(self, size: Size, params: bool) -> Size:
        return size


def kind_of(stream: str) -> Kind:
    """What a stream of this name holds: "flow" if the name starts so, else "rgb"."""
    return "flow" if stream.startswith("flow") else "rgb"


def mirror(frames: Tensor, kind: Kind = "rgb") -> Tensor:
    """Mirror frames [..., C, H, W] left and right; flow [..., 2L, H, W] changes the sign of dx as well."""
    check_frames(frames, kind)
    mirrored = frames.flip(-1)
    if kind == "flow":
        mirrored[..., 0::2, :, :].neg_()
    return mirrored


def resize(frames: Tensor, size: Size, kind: Kind = "rgb") -> Tensor:
    """Resize frames to ``size``, bilinear with antialiasing; flow vectors grow and shrink along.

    Args:
        frames: [..., C, H, W]. uint8 on the CPU goes through torch's integer kernel, elsewhere through
            float and rounding: the two differ by one grey level at most.
        size: new rows and columns.
        kind: "rgb", or "flow" for [..., 2L, H, W] in pixels.

    Returns:
        [..., C, h, w] of the same type; the frames themselves where they have this size.

    Raises:
        ArgumentError: the frames are no frames, or flow that is not float with pairs of channels.
    """
    check_frames(frames, kind)
    before = frame_size(frames)
    if before == size:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    # torch (2.13, CPU) is wrong where the result is one column wide: every row is the same, and the integer
    # kernel may stop. Results of one row are right, so such a picture is turned over, and goes through float.
    narrow = size[1] == 1
    rounds = frames.dtype == torch.uint8 and (narrow or frames.device.type != "cpu")
    flat = flat.float() if rounds else flat
    if narrow:
        resized = _bilinear(flat.transpose(-1, -2), (1, size[0])).transpose(-1, -2)
    else:
        resized = _bilinear(flat, size)
    if rounds:
        resized = resized.round_().clamp_(0, 255).to(torch.uint8)
    resized = resized.reshape(*frames.shape[:-2], *size)
    if kind == "flow":
        resized[..., 0::2, :, :] *= size[1] / before[1]
        resized[..., 1::2, :, :] *= size[0] / before[0]
    return resized


def check_frames(frames: Tensor, kind: Kind) -> None:
    """Raise ArgumentError unless these are frames [..., C, H, W], or flow [..., 2L, H, W] in float."""
    if frames.ndim < 3:
        raise ArgumentError(f"frames must be [..., C, H, W], got {list(frames.shape)}")
    if kind == "flow" and (not frames.is_floating_point() or frames.shape[-3] % 2):
        raise ArgumentError(
            f"flow must be float [..., 2L, H, W] with channels dx, dy, …; got {frames.dtype} "
            f"{list(frames.shape)}. Decode stored flow to pixels first."
        )


def frame_size(frames: Tensor) -> Size:
    """Rows and columns of frames [..., H, W]."""
    return frames.shape[-2], frames.shape[-1]


def as_pair(size: int | Size) -> Size:
    """Rows and columns from both or from one number. Raises ArgumentError below one pixel."""
    rows, columns = (size, size) if isinstance(size, int) else size
    if min(rows, columns) < 1:
        raise ArgumentError(f"size must be at least 1 pixel, got {size}")
    return rows, columns


def needed(generator: torch.Generator | None, transform: Transform[Any]) -> torch.Generator:
    """The generator. Raises ArgumentError, naming the transform, where none was given."""
    if generator is None:
        raise ArgumentError(f"{type(transform).__name__} draws at random: give it a torch.Generator")
    return generator


def _bilinear(frames: Tensor, size: Size) -> Tensor:
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _scaled_span(start: int, extent: int, before: int, after: int) -> tuple[int, int]:
    extent = min(max(1, round(extent * after / before)), after)
    return min(round(start * after / before), after - extent), extent
