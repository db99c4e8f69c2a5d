"""Crops of frames, drawn for training, and views for testing.

Axis letters: C channels, H rows, W columns. Frames are [..., C, H, W], as in ``geometry``. A crop returns [..., C, h,
w], views return [views, ..., C, h, w]. Draws are boxes of plain numbers, so a reader can decode only a part of a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.video.geometry import (
    Box,
    Kind,
    Size,
    Transform,
    as_pair,
    check_frames,
    flip,
    needed,
    resize,
)

__all__ = [
    "CenterCrop",
    "FullFrame",
    "JitteredCrop",
    "MultiScaleCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "TenCrop",
    "ThreeCrop",
]


@dataclass(frozen=True)
class _Crop(Transform[Box]):
    """A crop, resized to ``size`` (rows and columns, or one number for both) where it has another size."""

    size: int | Size

    def __post_init__(self) -> None:
        as_pair(self.size)

    def box(self, params: Box) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part of a frame that must be decoded."""
        return params.top, params.left, params.height, params.width

    def apply(self, frames: Tensor, params: Box, kind: Kind = "rgb") -> Tensor:
        return resize(params.cut(frames), as_pair(self.size), kind)

    def size_after(self, size: Size, params: Box) -> Size:
        return as_pair(self.size)


@dataclass(frozen=True)
class CenterCrop(_Crop):
    """The centre of the frame."""

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        (height, width), (down, right) = _slack(self, as_pair(self.size), size)
        return Box(down // 2, right // 2, height, width, size)


@dataclass(frozen=True)
class RandomCrop(_Crop):
    """A crop whose place is drawn uniformly."""

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        return _anywhere(self, as_pair(self.size), size, needed(generator, self))


@dataclass(frozen=True)
class RandomResizedCrop(_Crop):
    """A part of the frame of random area and aspect ratio, resized (GoogLeNet, section 6; as in torchvision).

    Args:
        size: rows and columns of the result, or one number for both.
        scale: smallest and largest area, as fractions of the frame's.
        ratio: smallest and largest width over height.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ArgumentError(
                "RandomResizedCrop needs ranges (low, high), scale in (0, 1] and ratio above 0; "
                f"got scale={self.scale} and ratio={self.ratio}"
            )

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        generator = needed(generator, self)
        for _ in range(10):
            area = size[0] * size[1] * _uniform(*self.scale, generator)
            ratio = math.exp(_uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), generator))
            crop = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < crop[0] <= size[0] and 0 < crop[1] <= size[1]:
                return _anywhere(self, crop, size, generator)
        # No drawn shape fits: the largest centred part of an allowed aspect ratio.
        ratio = min(max(size[1] / size[0], self.ratio[0]), self.ratio[1])
        crop = min(size[0], round(size[1] / ratio)), min(size[1], round(size[0] * ratio))
        (height, width), (down, right) = _slack(self, (max(1, crop[0]), max(1, crop[1])), size)
        return Box(down // 2, right // 2, height, width, size)


@dataclass(frozen=True)
class JitteredCrop(_Crop):
    """A crop of about the result's size near the borders, resized (Feichtenhofer et al., 2017, section 4.1).

    Height and width are drawn independently. Along each axis, the place is drawn among those that are near one of the
    two borders.

    Args:
        size: rows and columns of the result, or one number for both.
        jitter: largest difference of height and width from the result's, as a fraction of them.
        border: largest distance of the crop from the nearer border, as a fraction of the frame's side.
    """

    size: int | Size = 224
    jitter: float = 0.25
    border: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.jitter < 1 and 0 <= self.border <= 1):
            raise ArgumentError(
                f"JitteredCrop needs jitter in [0, 1) and border in [0, 1], "
                f"got jitter={self.jitter} and border={self.border}"
            )

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        generator = needed(generator, self)
        low, high = 1 - self.jitter, 1 + self.jitter
        drawn = (round(side * _uniform(low, high, generator)) for side in as_pair(self.size))
        height, width = (max(1, min(length, side)) for length, side in zip(drawn, size, strict=True))
        top, left = (
            self._offset(side - length, side, generator)
            for length, side in zip((height, width), size, strict=True)
        )
        return Box(top, left, height, width, size)

    def _offset(self, slack: int, side: int, generator: torch.Generator) -> int:
        reach = int(self.border * side)
        if slack <= 2 * reach:  # every place is near one of the borders
            return _below(slack + 1, generator)
        offset = _below(2 * (reach + 1), generator)
        return offset if offset <= reach else slack - (offset - reach - 1)


@dataclass(frozen=True)
class MultiScaleCrop(_Crop):
    """Corner cropping with scale jittering (TSN, section 3.2), resized to ``size``.

    Height and width are drawn together from the shorter side times ``scales``, the place from fixed ones.

    Args:
        size: rows and columns of the result, or one number for both.
        scales: the steps, fractions of the shorter side.
        max_distort: largest number of steps between the scale of the height and that of the width.
        fix_crop: draw the place among fixed offsets; False draws it uniformly.
        more_fix_crop: 13 offsets (corners, centre, middles of the sides, quarters); False for the first 5.
    """

    size: int | Size = 224
    scales: tuple[float, ...] = (1, 0.875, 0.75, 0.66)
    max_distort: int = 1
    fix_crop: bool = True
    more_fix_crop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales) or self.max_distort < 0:
            raise ArgumentError(
                "MultiScaleCrop needs scales in (0, 1] and max_distort of 0 or more, "
                f"got scales={self.scales} and max_distort={self.max_distort}"
            )

    def crop_sizes(self, size: Size) -> list[Size]:
        """The heights and widths that may be drawn for frames of ``size``, each pair equally probable."""
        sides = [max(1, int(min(size) * scale)) for scale in self.scales]
        # As in TSN's code, a side within 3 pixels of the result's is made equal to it, which saves a resize; here only
        # where the frame is large enough.
        heights, widths = (
            [wanted if abs(side - wanted) < 3 and wanted <= most else side for side in sides]
            for wanted, most in zip(as_pair(self.size), size, strict=True)
        )
        return [
            (height, width)
            for i, height in enumerate(heights)
            for j, width in enumerate(widths)
            if abs(i - j) <= self.max_distort
        ]

    def offsets(self, crop: Size, size: Size) -> list[tuple[int, int]]:
        """The 5 or 13 fixed (top, left) offsets of a crop, in quarters of the free rows and columns."""
        (_, _), (down, right) = _slack(self, crop, size)
        quarters = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
        if self.more_fix_crop:
            quarters += [(2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
        # TSN's code takes multiples of room // 4, which miss the far corner by up to 3 pixels.
        return [(down * y // 4, right * x // 4) for y, x in quarters]

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        generator = needed(generator, self)
        sizes = self.crop_sizes(size)
        crop = sizes[_below(len(sizes), generator)]
        if not self.fix_crop:
            return _anywhere(self, crop, size, generator)
        places = self.offsets(crop, size)
        return Box(*places[_below(len(places), generator)], *crop, size)


class _Views(Transform[tuple[Box, ...]]):
    """Several views of the same frames: ``apply`` returns [views, ..., C, h, w]."""


@dataclass(frozen=True)
class FullFrame(_Views):
    """The whole frame as the only view, [1, ..., C, H, W]. Every stream keeps its own size."""

    def draw(self, size: Size, generator: torch.Generator | None = None) -> tuple[Box, ...]:
        return (Box(0, 0, *size, size),)

    def apply(self, frames: Tensor, params: tuple[Box, ...], kind: Kind = "rgb") -> Tensor:
        check_frames(frames, kind)
        return frames[None]

    def size_after(self, size: Size, params: tuple[Box, ...]) -> Size:
        return size


@dataclass(frozen=True)
class _CropViews(_Views):
    size: int | Size

    def __post_init__(self) -> None:
        as_pair(self.size)

    def apply(self, frames: Tensor, params: tuple[Box, ...], kind: Kind = "rgb") -> Tensor:
        return torch.stack([resize(box.cut(frames), as_pair(self.size), kind) for box in params])

    def size_after(self, size: Size, params: tuple[Box, ...]) -> Size:
        return as_pair(self.size)


@dataclass(frozen=True)
class ThreeCrop(_CropViews):
    """Three crops along the longer side (non-local networks, section 4): left, centre, right of a wide
    frame; top, centre, bottom of a tall one. The other direction is centred."""

    def draw(self, size: Size, generator: torch.Generator | None = None) -> tuple[Box, ...]:
        crop, (down, right) = _slack(self, as_pair(self.size), size)
        if size[0] > size[1]:
            places = [(top, right // 2) for top in (0, down // 2, down)]
        else:
            places = [(down // 2, left) for left in (0, right // 2, right)]
        return tuple(Box(*place, *crop, size) for place in places)


@dataclass(frozen=True)
class TenCrop(_CropViews):
    """Four corners and the centre, then the same flipped (two-stream, section 3; torchvision's order).

    Views 0-4: top left, top right, bottom left, bottom right, centre. Views 5-9: the same five, flipped.
    """

    def draw(self, size: Size, generator: torch.Generator | None = None) -> tuple[Box, ...]:
        crop, (down, right) = _slack(self, as_pair(self.size), size)
        places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
        return tuple(Box(*place, *crop, size) for place in places)

    def apply(self, frames: Tensor, params: tuple[Box, ...], kind: Kind = "rgb") -> Tensor:
        views = super().apply(frames, params, kind)
        return torch.cat([views, flip(views, kind)])


def _slack(transform: Transform[Any], crop: Size, size: Size) -> tuple[Size, Size]:
    """The crop, and the rows and columns that it leaves free. Raises ArgumentError if it is larger than the frame."""
    if crop[0] > size[0] or crop[1] > size[1]:
        raise ArgumentError(
            f"{type(transform).__name__} of {crop[0]} x {crop[1]} pixels is larger than the frame of "
            f"{size[0]} x {size[1]} (rows x columns). Resize first (ShortSide), or use a smaller crop."
        )
    return crop, (size[0] - crop[0], size[1] - crop[1])


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _anywhere(transform: Transform[Any], crop: Size, size: Size, generator: torch.Generator) -> Box:
    (height, width), (down, right) = _slack(transform, crop, size)
    return Box(_below(down + 1, generator), _below(right + 1, generator), height, width, size)
