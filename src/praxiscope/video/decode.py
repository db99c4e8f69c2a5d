"""Read video files: frames by number, or one after the other.

Axis letters: n frames, H rows, W columns.

Frame numbers are those of a decode from start to end. Frames that are requested by number are decoded from the nearest
key frame (see `praxiscope.video.index` and `praxiscope.video.frames`). If a frame is missing or another one comes, the
read is repeated without omissions, and as a last resort by counting the frames from the start.

For files of ordinary length `len`, `timestamps` and `frames` first confirm the index by decoding the file once per
process. After `quick_length`, which training uses, they do not: an undamaged file gives the same frames, and damage
that a read meets is still found. The frame that is on screen at the time of a lost frame then replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import VideoError
from praxiscope.video import container as files
from praxiscope.video.container import CONVERT, Deadline
from praxiscope.video.frames import count_frames, read_frames
from praxiscope.video.index import FrameIndex
from praxiscope.video.index_cache import cached_index, index_of
from praxiscope.video.pixels import Converter, Crop, Orientation, check_crop, check_indices, scaled_size
from praxiscope.video.times import part, same_within
from praxiscope.video.verify import verify

if TYPE_CHECKING:  # frames are also read where torch is not installed
    from torch import Tensor

__all__ = ["DecodedFrame", "Video", "known_damage"]

_SHORT_FILE = 4000  # packets; the index of a file of up to this length is confirmed by a full decode


def known_damage(path: str | Path) -> str:
    """The frames of a file that this process has found to be lost, as "3 of 40 frames do not decode: …"; else ""."""
    index = cached_index(Path(path))
    return index.problems[0] if index is not None and index.lost else ""


@dataclass
class DecodedFrame:
    """A decoded frame. Its pixels are converted by `rgb`.

    Attributes:
        index: number of the frame, from 0.
        time_s: seconds from the start of the file.
        raw: PyAV's frame, before any conversion.
    """

    index: int
    time_s: float
    raw: Any = field(repr=False)
    _convert: Converter = field(repr=False)

    @property
    def upright(self) -> Orientation:
        """The rotation and flip that set ``raw`` upright."""
        return self._convert.upright(self.raw)

    def rgb(self, short_side: int | None = None) -> Tensor:
        """The pixels, uint8 [3, H, W], with the short side scaled to ``short_side`` pixels if given."""
        import torch

        return torch.from_numpy(self.array(short_side)).permute(2, 0, 1)

    def array(self, short_side: int | None = None) -> NDArray[np.uint8]:
        """The pixels as `rgb` returns them, as an array [H, W, 3]."""
        return self._convert(self.raw, short_side)


class Video:
    """A video file: see `open_video`.

    Attributes:
        path: the file.
        time_limit_s: seconds that one call may take.
    """

    # float64 [N] seconds: times of the frames that `quick_length` has counted; None before.
    _promised: NDArray[np.float64] | None = None

    def __init__(self, path: str | Path, *, time_limit_s: float = 300.0) -> None:
        self.path = Path(path)
        self.time_limit_s = time_limit_s
        self._known: FrameIndex | None = cached_index(self.path)
        if self._known is None:
            container, _ = files.open_container(self.path, time_limit_s)
            container.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.time_limit_s)

    def __repr__(self) -> str:
        return f"Video({str(self.path)!r})"

    @property
    def _index(self) -> FrameIndex:
        if self._known is None:
            self._known = index_of(self.path, Deadline(self.path, self.time_limit_s))
        return self._known

    @property
    def fps(self) -> float:
        """Frames per second: from the container, or from the typical time between frames."""
        return self._index.fps

    @property
    def width(self) -> int:
        """Columns of a frame, set upright."""
        return self._index.upright.size(*self._index.size)[0]

    @property
    def height(self) -> int:
        """Rows of a frame, set upright."""
        return self._index.upright.size(*self._index.size)[1]

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the file to the end of the last frame that decodes.

        After `quick_length`, from the packets, without decoding.
        """
        return (self._confirmed() if self._promised is None else self._index).duration_s

    @property
    def same_s(self) -> float:
        """Times that differ by up to this many seconds are equal on the clock of this file."""
        return same_within(self._index.tick, self._index.step)

    def end_of(self, last_s: float) -> float:
        """The end of a last frame that is shown at ``last_s``, in seconds from the start of the file."""
        index = self._index
        return index.duration_s if abs(index.times[-1] - last_s) <= self.same_s else last_s + index.step

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return self._index.codec

    @property
    def problems(self) -> list[str]:
        """Damage found so far, one clause each. Where frames are lost, the first clause has their number and times."""
        return list(self._index.problems)

    @property
    def lost(self) -> list[tuple[float, float]]:
        """(first, last) seconds of each stretch of frames that are known not to decode."""
        return list(self._index.lost)

    def __len__(self) -> int:
        """Number of frames that decode."""
        return len(self._confirmed())

    def quick_length(self) -> int:
        """Number of frames according to the packets, without decoding; equal to `len` for undamaged files.

        After this call `frames` takes indices up to this number, and `timestamps` returns their times, without
        confirming them first. This holds for the life of this object: the last frame before it that decodes replaces a
        frame that turns out not to decode.
        """
        if self._promised is None:
            index = self._index
            if not index.trusted and not index.verified:
                self._verify()
            self._promised = index.times
        return len(self._promised)

    def timestamps(self) -> NDArray[np.float64]:
        """Seconds from the start of the file of each frame, float64 [N]. After `quick_length`, from the packets."""
        return (self._confirmed().times if self._promised is None else self._promised).copy()

    def renumbered(self, numbers: Tensor) -> Tensor:
        """Convert frame numbers as `quick_length` counts them to numbers among the frames that decode.

        They differ from the first lost frame on.

        Args:
            numbers: int64, any shape.

        Returns:
            int64 of the same shape.
        """
        import torch

        return torch.from_numpy(self._renumbered(numbers.numpy()))

    def _renumbered(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._promised is None or self._promised is self._index.times:
            return numbers
        return self._on_screen(self._promised[numbers])

    def _on_screen(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Numbers of the frames that are on screen at these times; 0 for times before the first frame."""
        shown = self._index.times
        return np.maximum(np.searchsorted(shown, times + self.same_s, side="right") - 1, 0)

    def decode_all(self) -> int:
        """Decode every frame once, however long the file is, so that `problems` lists all damage.

        Returns:
            Number of frames that decode.

        Raises:
            VideoError: no frame decodes, none came for ``time_limit_s``, or a packed clip is damaged.
        """
        index = self._index
        if not index.verified:
            verify(self.path, index, Deadline(self.path, self.time_limit_s), per_frame=True)
        return len(index)

    def frames(
        self,
        indices: Sequence[int] | Tensor | NDArray[Any],
        *,
        short_side: int | None = None,
        crop: Crop | None = None,
    ) -> Tensor:
        """Frames by number, in any order, with repeats.

        Args:
            indices: numbers of frames, from 0.
            short_side: scale the short side to this many pixels (bilinear, aspect ratio kept).
            crop: (top, left, height, width) in pixels, after the scaling.

        Returns:
            uint8 [n, 3, H, W], RGB, upright. The memory layout is [n, H, W, 3].

        Raises:
            ArgumentError: an index outside ``0 … len(self) - 1``, a crop outside the frame.
            VideoError: the file cannot be read.
        """
        import torch

        return torch.from_numpy(self.arrays(indices, short_side=short_side, crop=crop)).permute(0, 3, 1, 2)

    def arrays(
        self,
        indices: Sequence[int] | Tensor | NDArray[Any],
        *,
        short_side: int | None = None,
        crop: Crop | None = None,
    ) -> NDArray[np.uint8]:
        """Frames by number as `frames` returns them, as an array [n, H, W, 3]; torch need not be installed."""
        index = self._confirmed() if self._promised is None else self._index
        wanted = check_indices(
            indices, len(index.times if self._promised is None else self._promised), self.path
        )
        width, height = scaled_size(self.width, self.height, short_side)
        top, left, rows, columns = check_crop(crop, width, height)
        places = _places(self._renumbered(np.array(wanted, dtype=np.int64)).tolist())
        out = np.empty((len(wanted), rows, columns, 3), dtype=np.uint8)
        convert = Converter(index.size, index.upright)
        deadline = Deadline(self.path, self.time_limit_s)
        missing = set(places)
        for remedy in ("none", "no omissions", "full pass", "counting"):
            if remedy == "no omissions":
                if not index.skip or index.sequential:
                    continue
                index.skip = False
            elif remedy == "full pass":
                if index.verified:
                    continue
                before = index.times
                self._verify()
                if index.times is not before:
                    times = before if self._promised is None else self._promised
                    places = _places(self._on_screen(times[np.asarray(wanted, dtype=np.int64)]).tolist())
            elif remedy == "counting":
                index.sequential = True
            missing = set(places)
            for number, raw in read_frames(self.path, index, sorted(places), deadline):
                if number in missing:
                    missing.remove(number)
                    first, *others = places[number]
                    out[first] = convert(raw, short_side)[top : top + rows, left : left + columns]
                    for place in others:
                        out[place] = out[first]
            if not missing:
                break
        if missing:
            raise VideoError(self.path, "decoded once, but not a second time", CONVERT, min(missing))
        return out

    def __iter__(self) -> Iterator[Tensor]:
        """All frames, uint8 [3, H, W], in bounded memory."""
        for frame in self.decode():
            yield frame.rgb()

    def decode(
        self, start_s: float | None = None, end_s: float | None = None, *, motion_vectors: bool = False
    ) -> Iterator[DecodedFrame]:
        """Iterate over frames in bounded memory, for files of any length.

        Args:
            start_s, end_s: frames with ``start_s <= time < end_s``, in seconds from the start of the file. Times that
                differ by less than a tick of the container's clock are equal.
            motion_vectors: export the codec's motion vectors as side data MOTION_VECTORS of `DecodedFrame.raw`, for
                which the file is decoded from its start. The pixels are then not finished, and not to be used.

        Yields:
            Frames in presentation order. Their pixels are converted when `DecodedFrame.rgb` is called.

        Raises:
            VideoError: the file cannot be read, no frame decodes, or none came for ``time_limit_s``.
        """
        index, same_s = self._index, self.same_s
        first, last = part(index.times, start_s, end_s, same_s)
        short = len(index.ranks) <= _SHORT_FILE
        # Reading a part starts in the middle: damage before it, which can affect it, would not be found.
        unsure = short or index.doubtful if not index.trusted else short and first > 0
        if unsure and not index.verified:
            verify(self.path, index, Deadline(self.path, self.time_limit_s), per_frame=True)
            first, last = part(index.times, start_s, end_s, same_s)
        convert = Converter(index.size, index.upright)
        deadline = Deadline(self.path, self.time_limit_s)
        expected = -1
        if first > 0 and not index.sequential and not motion_vectors:
            for number, raw in read_frames(self.path, index, range(first, last), deadline):
                if first <= number < last:
                    yield DecodedFrame(number, float(index.times[number]), raw, convert)
                    deadline.restart()
                    expected = number
            if expected == last - 1 or first >= last:
                return
        # From the start the index is not needed: all frames that the decoder returns count.
        after = index.times[expected] if expected >= 0 else -math.inf
        for number, raw, time_s in count_frames(self.path, index, deadline, motion_vectors=motion_vectors):
            if end_s is not None and time_s >= end_s - same_s:
                return
            if time_s > after and (start_s is None or time_s >= start_s - same_s):
                yield DecodedFrame(number, time_s, raw, convert)
                deadline.restart()

    def _confirmed(self) -> FrameIndex:
        index = self._index
        if not index.verified and (len(index.ranks) <= _SHORT_FILE or not index.trusted):
            self._verify()
        return index

    def _verify(self) -> None:
        if not self._index.verified:
            verify(self.path, self._index, Deadline(self.path, self.time_limit_s))


def _places(numbers: list[int]) -> dict[int, list[int]]:
    """The positions of each number."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    return places


def _reopen(path: str, time_limit_s: float) -> Video:
    return Video(path, time_limit_s=time_limit_s)
