"""Videos in memory: arrays of frames.

Axis letters: T frames, H rows, W columns.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.video.framesequence import FrameSequence

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FrameArray", "Frames"]

Frames: TypeAlias = "NDArray[np.uint8] | Tensor | Iterable[Any]"
"""Frames in memory: uint8 [T, H, W, 3], or an iterable of uint8 [H, W, 3]; numpy arrays or tensors, in RGB."""


class FrameArray(FrameSequence):
    """Frames in memory, read through the same interface as any other video.

    Args:
        frames: uint8 [T, H, W, 3], or an iterable of uint8 [H, W, 3], which is read to its end and kept; numpy arrays
            or tensors, in RGB.
        fps: frames per second; needed only for times, as in a timeline.

    Raises:
        ArgumentError: another type or shape, frames of different sizes, or no frame at all.
    """

    time_limit_s = 300.0

    def __init__(self, frames: Frames, *, fps: float | None = None) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise ArgumentError(f"fps must be a number above 0, got {fps}")
        self.path = Path("<frames>")
        self._fps = 1.0 if fps is None else float(fps)
        self._pixels = _collected(frames)
        self._size = (self._pixels.shape[2], self._pixels.shape[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._pixels, self._fps)

    def __repr__(self) -> str:
        frames, height, width, _ = self._pixels.shape
        return f"FrameArray({frames} frames, {height} x {width})"

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def codec(self) -> str:
        """FFmpeg's name of uncompressed frames."""
        return "rawvideo"

    @property
    def problems(self) -> list[str]:
        """None: all frames are there."""
        return []

    def _frame(self, number: int) -> Any:
        from av import VideoFrame

        return VideoFrame.from_ndarray(np.ascontiguousarray(self._pixels[number]), format="rgb24")


def _collected(frames: Frames) -> NDArray[np.uint8]:
    """Frames [T, H, W, 3] as one array."""
    if isinstance(frames, np.ndarray) or _is_tensor(frames):
        return _checked(frames, "frames", "[T, H, W, 3]", 4)
    if not isinstance(frames, Iterable) or isinstance(frames, (bytes, dict)):
        raise ArgumentError(
            f"expected the path of a video, an array uint8 [T, H, W, 3] or an iterable of frames uint8 [H, W, 3], got "
            f"{type(frames).__name__}"
        )
    read: list[NDArray[np.uint8]] = []
    for number, frame in enumerate(frames):
        pixels = _checked(frame, f"frame {number}", "[H, W, 3]", 3)
        if read and pixels.shape != read[0].shape:
            raise ArgumentError(
                f"frame {number} has shape {list(pixels.shape)}, but frame 0 has {list(read[0].shape)}"
            )
        read.append(pixels.copy())  # the next frame may be written into the same memory
    if not read:
        raise ArgumentError("the iterable of frames is empty; expected at least one frame")
    return np.stack(read)


def _checked(array: object, name: str, shape: str, dimensions: int) -> NDArray[np.uint8]:
    """An array of the expected type and shape."""
    if _is_tensor(array):
        array = array.detach().cpu().numpy()
    if not isinstance(array, np.ndarray):
        raise ArgumentError(
            f"{name}: expected an array or a tensor uint8 {shape}, got {type(array).__name__}"
        )
    if array.dtype != np.uint8 or array.ndim != dimensions or array.shape[-1] != 3 or not array.size:
        raise ArgumentError(f"{name}: expected uint8 {shape}, got {array.dtype} {list(array.shape)}")
    return array


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _reopen(pixels: NDArray[np.uint8], fps: float) -> FrameArray:
    return FrameArray(pixels, fps=fps)
