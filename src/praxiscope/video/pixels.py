"""Convert decoded frames to pixels, and check indices and crops.

Axis letters: H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.units import counted

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Converter", "Crop", "Orientation", "check_crop", "check_indices", "orientation", "scaled_size"]

Crop = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""

_SCALED_AS_THEY_ARE = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p")


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """The (width, height) of a frame whose short side is scaled to ``short_side`` pixels."""
    if short_side is None:
        return width, height
    if short_side < 1:
        raise ArgumentError(f"short_side must be at least 1 pixel, got {short_side}")
    scale = short_side / min(width, height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def check_indices(indices: Sequence[int] | Tensor | NDArray[Any], length: int, path: Path) -> list[int]:
    """The indices as a list. Raises ArgumentError for one that is not an integer from 0 to ``length - 1``."""
    wanted = [int(i) for i in indices]
    if any(i != whole for i, whole in zip(indices, wanted, strict=True)):
        raise ArgumentError(f"frame numbers must be integers, got {list(indices)[:5]}")
    for i in wanted:
        if not 0 <= i < length:
            raise ArgumentError(
                f"there is no frame {i} in {path}, which has {counted(length, 'frame')} (0 to {length - 1})"
            )
    return wanted


def check_crop(crop: Crop | None, width: int, height: int) -> Crop:
    """The crop, or the whole frame for None. Raises ArgumentError if it is not inside the frame."""
    if crop is None:
        return 0, 0, height, width
    top, left, rows, columns = crop
    if top < 0 or left < 0 or rows < 1 or columns < 1 or top + rows > height or left + columns > width:
        raise ArgumentError(
            f"crop (top, left, height, width) = {tuple(crop)} is not inside a frame "
            f"of {height} rows and {width} columns"
        )
    return crop


class Orientation(NamedTuple):
    """How stored pixels are set upright: rows and columns are swapped first, then the result is flipped.

    Attributes:
        transposed: rows become columns.
        flipped: flipped horizontally.
        upside_down: flipped vertically.
    """

    transposed: bool = False
    flipped: bool = False
    upside_down: bool = False

    @property
    def quarter_turns(self) -> int:
        """The angle that FFmpeg computes from the matrix: quarter turns counter-clockwise."""
        return (1 if self.upside_down else 3) if self.transposed else 2 * self.flipped

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) of an upright frame that is stored with these."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Set pixels [H, W, …] upright."""
        if not any(self):
            return pixels
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        pixels = pixels[:, ::-1] if self.flipped else pixels
        return np.ascontiguousarray(pixels[::-1] if self.upside_down else pixels)


def orientation(frame: Any) -> Orientation:
    """The orientation of a decoded frame, from the display matrix of its file or stream.

    The matrix (a b; c d) sends the pixel in column p of row q to column ``a p + c q`` of row ``b p + d q``, up to a
    shift. Angles are rounded to quarter turns.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, flipped=c < 0, upside_down=b < 0)
    return Orientation(False, flipped=a < 0, upside_down=d < 0)


class Converter:
    """Convert decoded frames to upright uint8 [H, W, 3], with scalers that are created once.

    At native size, the pixels equal those of PyAV's ``to_ndarray(format="rgb24")``. Frames are scaled by swscale,
    bilinear. Downscaling is part of the colour conversion. Upscaling is applied to the decoded planes before the
    colour conversion: they have half the samples, it takes a third of the time, and the result is closer to that of
    scaling the RGB frame. (For downscaling, this would halve the resolution of the colours once more.)

    Args:
        size: (width, height) as stored; frames of another size are scaled to it.
        upright: the orientation of the file's frames. The matrix of a frame is read only if its angle differs,
            because PyAV's frame and its side data refer to each other, which delays freeing the frame's memory.
    """

    def __init__(self, size: tuple[int, int], upright: Orientation = Orientation()) -> None:
        from av.video.reformatter import VideoReformatter

        self._scale = VideoReformatter().reformat
        self._colour = VideoReformatter().reformat
        self._size = size
        self._upright = upright

    def upright(self, frame: Any) -> Orientation:
        """How a frame is set upright."""
        turns = round(frame.rotation / 90) % 4
        return self._upright if turns == self._upright.quarter_turns else orientation(frame)

    def __call__(self, frame: Any, short_side: int | None = None) -> NDArray[np.uint8]:
        width, height = scaled_size(*self._size, short_side)
        upright = self.upright(frame)
        larger = (
            (width, height) != (frame.width, frame.height) and width >= frame.width and height >= frame.height
        )
        if larger and frame.format.name in _SCALED_AS_THEY_ARE:
            frame = self._scale(frame, width, height, threads=1)
        pixels: Any = self._colour(frame, width, height, "rgb24", threads=1).to_ndarray()
        return upright.apply(pixels)
