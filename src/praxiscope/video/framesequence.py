"""Videos stored as separate images, each of which is read independently.

Axis letters: n frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.video.container import Deadline
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.pixels import Converter, Crop, check_crop, check_indices, scaled_size
from praxiscope.video.times import part, same_within

if TYPE_CHECKING:  # frames are also read where torch is not installed
    from torch import Tensor

__all__ = ["FrameSequence"]


class FrameSequence(Video):
    """Base class of videos of separate images, with the same interface as any other video.

    A subclass sets ``path``, ``time_limit_s``, ``_size`` (width, height) and ``_fps``, and defines ``__len__`` and
    ``_frame(number)``, which returns a decoder's frame in RGB.
    """

    _size: tuple[int, int]
    _fps: float

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._fps

    @property
    def width(self) -> int:
        """Columns of a frame, set upright."""
        return self._size[0]

    @property
    def height(self) -> int:
        """Rows of a frame, set upright."""
        return self._size[1]

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the video to the end of its last frame."""
        return len(self) / self._fps

    @property
    def same_s(self) -> float:
        """Times that differ by up to this many seconds are equal."""
        return same_within(0.0, 1 / self._fps)

    def end_of(self, last_s: float) -> float:
        """The end of a last frame that is shown at ``last_s``, in seconds."""
        return last_s + 1 / self._fps

    def quick_length(self) -> int:
        """Number of frames."""
        return len(self)

    def decode_all(self) -> int:
        """Decode every frame and return their number. Raises VideoError for damage."""
        return sum(1 for _ in self.decode())

    def timestamps(self) -> NDArray[np.float64]:
        """Seconds from the start of the video of each frame: float64 [N]."""
        return np.arange(len(self)) / self._fps

    def arrays(
        self,
        indices: Sequence[int] | Tensor | NDArray[Any],
        *,
        short_side: int | None = None,
        crop: Crop | None = None,
    ) -> NDArray[np.uint8]:
        """Frames by number; see `Video.arrays`."""
        wanted = check_indices(indices, len(self), self.path)
        width, height = scaled_size(self.width, self.height, short_side)
        top, left, rows, columns = check_crop(crop, width, height)
        out = np.empty((len(wanted), rows, columns, 3), dtype=np.uint8)
        convert = Converter(self._size)
        deadline = Deadline(self.path, self.time_limit_s)
        done: dict[int, int] = {}
        for place, number in enumerate(wanted):
            deadline.check()
            if number in done:
                out[place] = out[done[number]]
            else:
                pixels = convert(self._frame(number), short_side)
                out[place] = pixels[top : top + rows, left : left + columns]
            done.setdefault(number, place)
        return out

    def decode(
        self, start_s: float | None = None, end_s: float | None = None, *, motion_vectors: bool = False
    ) -> Iterator[DecodedFrame]:
        """Iterate over frames; see `Video.decode`. Images have no motion vectors."""
        times = self.timestamps()
        first, last = part(times, start_s, end_s, self.same_s)
        convert = Converter(self._size)
        for number in range(first, last):
            yield DecodedFrame(number, float(times[number]), self._frame(number), convert)

    def _frame(self, number: int) -> Any:
        raise NotImplementedError
