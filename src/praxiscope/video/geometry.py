"""The interface of transforms of frames, and the transforms that keep the whole frame: resize and flip.

Axis letters: T frames, C channels, H rows, W columns, L flow fields in a stack.
Frames are [..., C, H, W]. Kind "rgb" is any image, uint8 or float. Kind "flow" is float [..., 2L, H, W] in pixels, with
channels dx, dy, dx, dy, …: flipping changes the sign of dx, resizing scales the vectors. The result of uint8 is uint8.
Results may share memory with the input, which is never changed.
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
    "flip",
    "frame_size",
    "kind_of",
    "needed",
    "resize",
]

Kind = Literal["rgb", "flow"]
Size = tuple[int, int]  # rows, columns
P = TypeVar("P")


class Box(NamedTuple):
    """A rectangle of a frame, in pixels, with the size of the frame that it was drawn for."""

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
        """Crop frames [..., H, W], as a view. Frames of another size are cropped to the same part."""
        top, left, height, width, _ = self.on(frame_size(frames))
        return frames[..., top : top + height, left : left + width]


class Transform(ABC, Generic[P]):
    """A transform that is drawn once per video and applied to any of its streams.

    ``draw`` returns plain numbers, on the CPU; ``apply`` uses them for frames on any device. Calling the transform
    draws once and applies the draw to every stream, so that RGB frames and flow stay aligned.
    """

    @abstractmethod
    def draw(self, size: Size, generator: torch.Generator | None = None) -> P:
        """Draw for one video.

        Args:
            size: rows and columns of its frames.
            generator: a CPU generator. Transforms that are not random take None.

        Raises:
            ArgumentError: the transform needs a generator, or frames of this size are too small.
        """

    @abstractmethod
    def apply(self, frames: Tensor, params: P, kind: Kind = "rgb") -> Tensor:
        """Transform the frames [..., C, H, W] of one stream of a video with what ``draw`` returned."""

    @abstractmethod
    def size_after(self, size: Size, params: P) -> Size:
        """Rows and columns of the result of ``apply`` for frames of ``size``, the size that was drawn for."""

    def __call__(
        self, streams: Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw once and apply to all streams of one video.

        Args:
            streams: [..., C, H, W] by name. Names that start with "flow" hold flow, the others RGB frames. The draw is
                for the size of the first RGB stream (of the first stream if there is none). From a stream of another
                size the same part of the frame is taken, with the same output size.
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
    """Apply several transforms in order. Their draws are a tuple in the same order."""

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
    """Resize the shorter side to ``size`` pixels and keep the aspect ratio. Its draw is the new size."""

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
    """Flip horizontally with probability ``p``. Its draw is whether to flip."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ArgumentError(f"Flip's p must be a probability from 0 to 1, got {self.p}")

    def draw(self, size: Size, generator: torch.Generator | None = None) -> bool:
        return float(torch.rand((), generator=needed(generator, self))) < self.p

    def apply(self, frames: Tensor, params: bool, kind: Kind = "rgb") -> Tensor:
        return flip(frames, kind) if params else frames

    def size_after(self, size: Size, params: bool) -> Size:
        return size


def kind_of(stream: str) -> Kind:
    """The kind of a stream: "flow" if its name starts with "flow", else "rgb"."""
    return "flow" if stream.startswith("flow") else "rgb"


def flip(frames: Tensor, kind: Kind = "rgb") -> Tensor:
    """Flip frames [..., C, H, W] horizontally. For flow [..., 2L, H, W] the sign of dx changes as well."""
    check_frames(frames, kind)
    flipped = frames.flip(-1)
    if kind == "flow":
        flipped[..., 0::2, :, :].neg_()
    return flipped


def resize(frames: Tensor, size: Size, kind: Kind = "rgb") -> Tensor:
    """Resize frames to ``size``, bilinear with antialiasing. Flow vectors are scaled in proportion.

    Args:
        frames: [..., C, H, W]. For uint8, torch's integer kernel is used on the CPU, and float with rounding on other
            devices. The two differ by at most one grey level.
        size: new rows and columns.
        kind: "rgb", or "flow" for [..., 2L, H, W] in pixels.

    Returns:
        [..., C, h, w] of the same type; the input itself if it has this size.

    Raises:
        ArgumentError: the input does not have the shape of frames, or flow is not float with pairs of channels.
    """
    check_frames(frames, kind)
    before = frame_size(frames)
    if before == size:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    # torch (2.13, CPU) is wrong for results of one column: all rows are equal, and the integer kernel may crash.
    # Results of one row are right, so such a frame is transposed, and resized in float.
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
    """The generator. Raises ArgumentError, naming the transform, if it is None."""
    if generator is None:
        raise ArgumentError(f"{type(transform).__name__} is random and needs a torch.Generator, got None")
    return generator


def _bilinear(frames: Tensor, size: Size) -> Tensor:
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _scaled_span(start: int, extent: int, before: int, after: int) -> tuple[int, int]:
    extent = min(max(1, round(extent * after / before)), after)
    return min(round(start * after / before), after - extent), extent
