"""Choose the frames of a video: pure functions from numbers of frames to indices.

Axis letters: S snippets of a video, T frames, B videos.
Indices are 0-based, int64, on the CPU. A *start* is the first frame of a snippet of ``length`` frames
(one frame, or a stack of flow fields); ``expand`` turns starts into frames.

Every function accepts a video that is too short, and its docstring states what is returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.video.places import at_least, middles, places

if TYPE_CHECKING:
    pass

__all__ = [
    "dense_window",
    "equal_spacing",
    "every_frame",
    "expand",
    "segment_indices",
    "strided",
    "strided_snippets",
]


def segment_indices(
    num_frames: int, segments: int, length: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Choose one snippet in each of ``segments`` equal parts of a video (TSN, section 3.1).

    Args:
        num_frames: frames of the video, at least 1.
        segments: number of snippets.
        length: frames of one snippet.
        generator: draws a start inside every part (training). None takes the middle of every part
            (testing): ``int(tick / 2 + tick * k)`` with ``tick = (num_frames - length + 1) / segments``.

    Returns:
        int64 [S], starts in ascending order. Where there are fewer possible starts than segments, several
        segments share one. A video shorter than ``length`` has the one start 0; ``expand`` with
        ``num_frames`` then repeats the last frame.

    Raises:
        ArgumentError: a count is below 1.

    Example:
        >>> segment_indices(100, 4).tolist()
        [12, 37, 62, 87]
    """
    if generator is None:
        return torch.tensor(middles(num_frames, segments, length), dtype=torch.int64)
    count = places(num_frames, length)
    at_least("segments", segments, 1)
    tick = count / segments
    # A deviation from TSN's code, which cuts parts of floor(tick) starts: there the last
    # places - segments * floor(tick) starts are never drawn, and where starts are scarcer than segments the
    # rule changes (sorted draws with repetition, then all 0). Parts of a real-valued width reach every start
    # equally often and need no second rule. Two neighbours may draw the start that both their parts touch.
    parts = torch.arange(segments, dtype=torch.float64)
    drawn = torch.rand(segments, generator=generator, dtype=torch.float64)
    starts = ((parts + drawn) * tick).floor().to(torch.int64)
    return starts.clamp_(max=count - 1)  # (k + u) may round up to k + 1


def equal_spacing(num_frames: int, count: int = 25, length: int = 1) -> Tensor:
    """Choose ``count`` snippets at equal spacing, from the first possible start to the last.

    The two-stream paper tests on 25 frames "with equal temporal spacing between them" and does not say where
    they begin. Here the first start is 0 and the last one ``num_frames - length``:
    ``floor(k * (num_frames - length) / (count - 1))``. Spacings differ by one frame at most. This is not
    TSN's rule (``segment_indices``), which leaves half a spacing free at both ends. With ``length`` set to a
    window's span these are the starts of dense testing (``dense10x3``).

    Args:
        num_frames: frames of the video, at least 1.
        count: number of snippets. A single one is in the middle, as with ``segment_indices``.
        length: frames of one snippet.

    Returns:
        int64 [count], ascending. A short video repeats starts; one shorter than ``length`` has only start 0.

    Raises:
        ArgumentError: a count is below 1.
    """
    room = places(num_frames, length)
    at_least("count", count, 1)
    if count == 1:
        return segment_indices(num_frames, 1, length)
    steps = torch.arange(count, dtype=torch.int64)
    return steps * (room - 1) // (count - 1)


def dense_window(
    num_frames: int,
    length: int,
    stride: int = 1,
    start: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose ``length`` frames, ``stride`` apart, at one place of the video (I3D, non-local, TSM "dense").

    Args:
        num_frames: frames of the video, at least 1.
        length: number of frames.
        stride: from one frame to the next.
        start: the first frame. None draws it from ``generator``, uniformly among the places where the window
            fits; without a generator the window is in the middle.
        generator: for training.

    Returns:
        int64 [length]. A window that runs over the end goes on at the first frame (the video loops), as
        often as needed: the convention of TSM's dense sampling.

    Raises:
        ArgumentError: a count is below 1, ``start`` is not a frame of the video, or both ``start`` and
            ``generator`` were given.
    """
    at_least("length", length, 1)
    at_least("stride", stride, 1)
    room = places(num_frames, (length - 1) * stride + 1)
    if start is None:
        start = room // 2 if generator is None else int(torch.randint(room, (), generator=generator))
    elif generator is not None:
        raise ArgumentError("dense_window takes either start or generator, got both")
    elif not 0 <= start < num_frames:
        raise ArgumentError(f"start must be a frame of the video (0 to {num_frames - 1}), got {start}")
    frames = start + stride * torch.arange(length, dtype=torch.int64)
    return frames % num_frames


def strided_snippets(
    num_frames: int,
    count: int,
    length: int = 1,
    strides: tuple[int, int] = (5, 35),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose snippets at one stride, which is drawn for each video (Feichtenhofer et al., 2017, section 4.1).

    Args:
        num_frames: frames of the video, at least 1.
        count: number of snippets.
        length: frames of one snippet.
        strides: the smallest and the largest stride, in frames. For a video that is too short for the largest, strides
            up to the largest that fits are drawn; for one that is too short for the smallest, snippets are equally
            spaced.
        generator: draws the stride and the first start, uniformly. None takes the middle stride, in the middle.

    Returns:
        int64 [count], ascending.

    Raises:
        ArgumentError: a count is below 1, or ``strides`` is not a range.
    """
    room = places(num_frames, length)
    at_least("count", count, 1)
    low, high = strides
    if not 1 <= low <= high:
        raise ArgumentError(f"strides must be a range of 1 or more, got {strides}")
    fits = (room - 1) // (count - 1) if count > 1 else high
    if fits < low:
        return equal_spacing(num_frames, count, length)
    high = min(high, fits)
    if generator is None:
        stride = (low + high) // 2
        start = (room - 1 - stride * (count - 1)) // 2
    else:
        stride = int(torch.randint(low, high + 1, (), generator=generator))
        start = int(torch.randint(room - stride * (count - 1), (), generator=generator))
    return start + stride * torch.arange(count, dtype=torch.int64)


def strided(num_frames: int, stride: int) -> Tensor:
    """Choose every ``stride``-th frame, from the first on.

    Args:
        num_frames: frames of the video, at least 1.
        stride: from one frame to the next.

    Returns:
        int64 [ceil(num_frames / stride)]. A video shorter than the stride gives its first frame.

    Raises:
        ArgumentError: a count is below 1.
    """
    at_least("num_frames", num_frames, 1)
    at_least("stride", stride, 1)
    return torch.arange(0, num_frames, stride, dtype=torch.int64)


def every_frame(num_frames: int) -> Tensor:
    """Choose all frames: int64 [num_frames]. Raises ArgumentError for a video without frames."""
    return strided(num_frames, 1)


def expand(starts: Tensor, length: int, stride: int = 1, num_frames: int | None = None) -> Tensor:
    """List the frames of snippets.

    Args:
        starts: int64 [n], first frames.
        length: frames of one snippet.
        stride: from one frame of a snippet to the next.
        num_frames: frames of the video. Frames past its end become its last frame. None leaves them.

    Returns:
        int64 [n, length].

    Raises:
        ArgumentError: a count is below 1, or ``starts`` is not int64 [n].
    """
    if starts.ndim != 1 or starts.dtype != torch.int64:
        raise ArgumentError(f"starts must be int64 [n], got {starts.dtype} {list(starts.shape)}")
    at_least("length", length, 1)
    at_least("stride", stride, 1)
    frames = starts[:, None] + stride * torch.arange(length, dtype=torch.int64, device=starts.device)
    if num_frames is None:
        return frames
    at_least("num_frames", num_frames, 1)
    return frames.clamp_(max=num_frames - 1)
