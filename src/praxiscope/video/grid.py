"""The frames of a video at a frame rate: a grid of frame numbers by the real times of the frames.

Axis letters: n positions of the grid, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from praxiscope.video.decode import DecodedFrame, Video

__all__ = ["FrameGrid"]


@dataclass(frozen=True)
class FrameGrid:
    """The frames that are read of a video: those at a frame rate, of its first seconds.

    Position k of the grid is the frame on screen k / fps seconds after the first frame. A frame that stays on screen
    longer than 1 / fps is repeated. The grid ends where the last frame leaves the screen. FFmpeg's filter ``fps`` takes
    the same frames with ``round=up``, for a video whose first frame is at 0; its default is the nearest frame.

    Attributes:
        fps: frames per second; None: every frame once.
        max_seconds: seconds of the video that are read; None: all.
        span: consecutive frames that a snippet needs, from the frame of the grid on. With ``fps``, frames at which a
            snippet does not fit into the video are left out, except the first.

    Raises:
        ArgumentError: a value is not above 0.
    """

    fps: float | None = None
    max_seconds: float | None = None
    span: int = 1

    def __post_init__(self) -> None:
        for name in ("fps", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ArgumentError(f"{name} must be a number above 0, got {value}")
        if self.span < 1:
            raise ArgumentError(f"span must be at least 1, got {self.span}")

    def numbers(self, times: NDArray[np.float64], end_s: float, near_s: float = 1e-6) -> Tensor:
        """The grid of frames with these times.

        Args:
            times: of the frames in seconds, ascending, float64 [T], at least one.
            end_s: when the last frame leaves the screen, seconds.
            near_s: times that differ by up to this many seconds are equal.

        Returns:
            int64 [n], n at least 1, ascending; 0 is the first frame.
        """
        import torch

        return torch.from_numpy(self._numbers(times, end_s, near_s))

    def _numbers(self, times: NDArray[np.float64], end_s: float, near_s: float) -> NDArray[np.int64]:
        end_s = min(end_s, self._end_s(float(times[0])))
        if self.fps is None:
            return np.arange(max(int(np.searchsorted(times, end_s - near_s)), 1))
        count = max(math.ceil((end_s - times[0] - near_s) * self.fps), 1)
        wanted = times[0] + np.arange(count) / self.fps
        shown = np.searchsorted(times, wanted + near_s, side="right") - 1
        return shown[shown < max(len(times) - self.span + 1, 1)]

    def of(self, video: Video, first: int, last: int, end_s: float | None = None) -> Tensor:
        """The grid of a part of a video, by the times of its packets, without decoding.

        Args:
            video: the video.
            first, last: first frame of the part, and the one after its last, as `Video.quick_length` counts them.
            end_s: end of the part in seconds; None: the end of the video.

        Returns:
            int64 [n], n at least 1, ascending; 0 is frame ``first``.
        """
        import torch

        return torch.from_numpy(self.places_of(video, first, last, end_s))

    def places_of(self, video: Video, first: int, last: int, end_s: float | None = None) -> NDArray[np.int64]:
        """What `of` returns, as an array; torch need not be installed."""
        video.quick_length()
        end_s = min(math.inf if end_s is None else end_s, video.duration_s)
        return self._numbers(video.timestamps()[first:last], end_s, _near_s(video))

    def select(
        self, video: Video, start_s: float | None = None, end_s: float | None = None
    ) -> Iterator[DecodedFrame]:
        """Decode a video, and yield the frames of its grid, with repeats, in memory that does not grow with its length.

        Args:
            video: the video.
            start_s, end_s: the part, seconds; None: the start and the end of the video.
        """
        video.quick_length()  # else the duration would need a decode of the whole file
        frames = video.decode(start_s, end_s)
        limit_s = math.inf if end_s is None else end_s
        return self.select_from(frames, min(limit_s, video.duration_s), _near_s(video))

    def select_from(
        self, frames: Iterable[DecodedFrame], end_s: float = math.inf, near_s: float = 1e-6
    ) -> Iterator[DecodedFrame]:
        """The frames of the grid, with repeats, while frames come in order; ``span`` is not used.

        A frame is yielded when the next one comes, which tells how long it was on screen.

        Args:
            frames: decoded frames.
            end_s: when the last frame leaves the screen, seconds. Infinite: the last frame is yielded once, if at all.
            near_s: times that differ by up to this many seconds are equal.
        """
        held: DecodedFrame | None = None
        first_s, done = 0.0, 0  # positions of the grid that were yielded
        for frame in frames:
            if held is None:
                first_s = frame.time_s
                end_s = min(end_s, self._end_s(first_s))
            elif self.fps is not None:
                count = math.ceil((min(frame.time_s, end_s) - first_s - near_s) * self.fps)
                yield from repeat(held, count - done)
                done = max(done, count)
            if held is not None and frame.time_s >= end_s - near_s:
                return
            held = frame
            if self.fps is None:
                yield frame
        if held is None or self.fps is None:
            return
        if end_s == math.inf:
            count = math.floor((held.time_s - first_s + near_s) * self.fps) + 1
        else:
            count = math.ceil((end_s - first_s - near_s) * self.fps)
        yield from repeat(held, max(count, 1) - done)

    def _end_s(self, first_s: float) -> float:
        return math.inf if self.max_seconds is None else first_s + self.max_seconds


def _near_s(video: Video) -> float:
    """Both of two times are rounded to the clock's ticks, so their difference has twice the error of one."""
    return min(2 * video.same_s, 0.5 / video.fps)
