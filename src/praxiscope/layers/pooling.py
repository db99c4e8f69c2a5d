"""Pooling over windows of frames (Ng et al., "Beyond Short Snippets", CVPR 2015, section 3).

T frames, C channels, n windows; ``...`` are any further axes.
"""

from __future__ import annotations

from torch import Tensor

from praxiscope.errors import ArgumentError

__all__ = ["repeated_from_start", "window_count", "window_max", "windows"]


def window_count(frames: int, kernel: int = 10, stride: int = 5) -> int:
    """The number of windows of ``kernel`` frames: (T - kernel) // stride + 1, and 1 for fewer frames than a window.

    Raises:
        ArgumentError: a number is below 1.
    """
    for name, value in (("frames", frames), ("kernel", kernel), ("stride", stride)):
        if value < 1:
            raise ArgumentError(f"{name} must be at least 1, got {value}")
    return max(1, (frames - kernel) // stride + 1)


def windows(x: Tensor, kernel: int = 10, stride: int = 5, dim: int = 0) -> Tensor:
    """Cut frames into windows, without a copy.

    Args:
        x: T frames along the axis ``dim``.
        kernel, stride: frames of a window, and from the start of one to the start of the next. Frames after the last
            whole window are left out; fewer frames than a window are one window of all of them.
        dim: the axis of the frames.

    Returns:
        The axis ``dim`` becomes n windows, and the frames of each are a new last axis.

    Raises:
        ArgumentError: ``kernel`` or ``stride`` is below 1, or there is no frame.
    """
    window_count(x.shape[dim], kernel, stride)
    return x.unfold(dim, min(kernel, x.shape[dim]), stride)


def window_max(x: Tensor, kernel: int = 10, stride: int = 5, dim: int = 0) -> Tensor:
    """The maximum over each window of frames.

    Args:
        x: [T, C, ...], or with ``dim`` another axis of frames: [B, T, C, ...] with ``dim=1``.
        kernel, stride, dim: see `windows`.

    Returns:
        [n, C, ...] with n = (T - kernel) // stride + 1; n = 1 for fewer frames than a window.

    Raises:
        ArgumentError: see `windows`.
    """
    return windows(x, kernel, stride, dim).amax(-1)


def repeated_from_start(x: Tensor, frames: int, dim: int = 0) -> Tensor:
    """Repeat frames from the first, in order, until there are at least ``frames``; longer inputs stay as they are."""
    count = x.shape[dim]
    if count >= frames:
        return x
    repeats = [1] * x.dim()
    repeats[dim] = -(-frames // count)
    return x.repeat(repeats).narrow(dim, 0, frames)
