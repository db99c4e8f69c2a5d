"""Reading videos: the frames of a sequential decode, by index or one after the other.

n frames, H rows, W columns.

A few frames are fetched by one pass over the packets in which the decoder sees only what it needs: from
the key frame before a wanted frame to that frame, without the B-frames that nobody asked for. What comes
out names itself (see `praxiscope.video.index`); if a frame is missing or another one arrives, the read is
made again without omissions, and at last by counting through a sequential decode.

For a file of ordinary length `len`, `timestamps` and `frames` first confirm the index by decoding the file
once per process. Who samples by `quick_length`, as training does, has chosen to do without: an undamaged
file gives the same frames, and damage that a read meets is still noticed: then the frame that is on screen at the time
of a lost one stands in for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import VideoError
from praxiscope.video import container as files
from praxiscope.video import index as indexing
from praxiscope.video.container import CONVERT, Deadline
from praxiscope.video.index import FrameIndex
from praxiscope.video.pixels import Converter, Crop, Orientation, check_crop, check_indices, scaled_size
from praxiscope.video.times import part, rising, same_within

__all__ = ["DecodedFrame", "Video", "known_damage"]

_SHORT_FILE = 4000  # packets; up to here an index is confirmed by a full decode
_WORTH_SEEKING = 500  # packets to pass over; reading fewer is as fast as a seek


def known_damage(path: str | Path) -> str:
    """What reads of a file by this process have found lost, as a clause ("3 of 40 frames do not decode: …"), or ""."""
    index = indexing.recalled(Path(path))
    return index.problems[0] if index is not None and index.lost else ""


@dataclass
class DecodedFrame:
    """A frame of a sequential decode; its pixels are converted when asked for.

    Attributes:
        index: number of the frame, from 0.
        time_s: seconds from the start of the file.
        raw: the decoder's own frame, before any conversion.
    """

    index: int
    time_s: float
    raw: Any = field(repr=False)
    _convert: Converter = field(repr=False)

    @property
    def upright(self) -> Orientation:
        """How ``raw`` is set upright."""
        return self._convert.upright(self.raw)

    def rgb(self, short_side: int | None = None) -> Tensor:
        """The pixels: uint8 [3, H, W], the short side scaled to ``short_side`` pixels if given."""
        return torch.from_numpy(self._convert(self.raw, short_side)).permute(2, 0, 1)


class Video:
    """A video file: see `open_video`.

    Attributes:
        path: the file.
        time_limit_s: seconds that one call may take.
    """

    # When each frame is shown that `quick_length` has counted; None before.
    _promised: NDArray[np.float64] | None = None

    def __init__(self, path: str | Path, *, time_limit_s: float = 300.0) -> None:
        self.path = Path(path)
        self.time_limit_s = time_limit_s
        self._known: FrameIndex | None = indexing.recalled(self.path)
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
            self._known = indexing.recall(self.path, Deadline(self.path, self.time_limit_s))
        return self._known

    @property
    def fps(self) -> float:
        """Frames per second, as the container says, or as most frames follow one another."""
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

        After `quick_length`, as the packets say.
        """
        return (self._confirmed() if self._promised is None else self._index).duration_s

    @property
    def same_s(self) -> float:
        """Seconds up to which two times are the same on the clock of this file."""
        return same_within(self._index.tick, self._index.step)

    def end_of(self, last_s: float) -> float:
        """When the last frame that was read, shown at ``last_s``, ends: seconds from the start of the file."""
        index = self._index
        return index.duration_s if abs(index.times[-1] - last_s) <= self.same_s else last_s + index.step

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return self._index.codec

    @property
    def problems(self) -> list[str]:
        """Damage met so far, one clause each; where frames are lost, the first one says how many, and when."""
        return list(self._index.problems)

    @property
    def lost(self) -> list[tuple[float, float]]:
        """(first, last) seconds of each stretch of frames that are known not to decode."""
        return list(self._index.lost)

    def __len__(self) -> int:
        """Number of frames that decode."""
        return len(self._confirmed())

    def quick_length(self) -> int:
        """Number of frames that the packets promise, without decoding; `len` for undamaged files.

        After this call `frames` takes indices up to this number, and `timestamps` gives their times, without
        confirming them first. Both stay so for this object: where a frame turns out not to decode, the one that is on
        screen at its time, the last before it that decodes, stands in for it.
        """
        if self._promised is None:
            index = self._index
            if not index.trusted and not index.verified:
                self._verify()
            self._promised = index.times
        return len(self._promised)

    def timestamps(self) -> NDArray[np.float64]:
        """Seconds from the start of the file of each frame: float64 [N]. After `quick_length`, as the packets say."""
        return (self._confirmed().times if self._promised is None else self._promised).copy()

    def renumbered(self, numbers: Tensor) -> Tensor:
        """Frames as `quick_length` counts them, by their numbers among those that decode: int64, any shape.

        The two differ where frames are known to be lost: for the numbers of those, and for all that come after.
        """
        if self._promised is None or self._promised is self._index.times:
            return numbers
        return torch.from_numpy(self._on_screen(self._promised[numbers.numpy()]))

    def _on_screen(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """The numbers of the frames that are on screen at these times; the first one before it begins."""
        shown = self._index.times
        return np.maximum(np.searchsorted(shown, times + self.same_s, side="right") - 1, 0)

    def decode_all(self) -> int:
        """Decode every frame once, however long the file is, so that `problems` names all damage.

        Returns:
            Number of frames that decode.

        Raises:
            VideoError: no frame decodes, or none came for ``time_limit_s``; a damaged packed clip.
        """
        index = self._index
        if not index.verified:
            indexing.verify(self.path, index, Deadline(self.path, self.time_limit_s), per_frame=True)
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
            indices: numbers of frames, 0 the first.
            short_side: scale so that the short side has this many pixels (bilinear, aspect kept).
            crop: (top, left, height, width) in pixels, after the scaling.

        Returns:
            uint8 [n, 3, H, W], RGB, set upright. Laid out in memory as [n, H, W, 3].

        Raises:
            ArgumentError: an index outside ``0 … len(self) - 1``, a crop outside the frame.
            VideoError: the file cannot be read.
        """
        index = self._confirmed() if self._promised is None else self._index
        wanted = check_indices(
            indices, len(index.times if self._promised is None else self._promised), self.path
        )
        width, height = scaled_size(self.width, self.height, short_side)
        top, left, rows, columns = check_crop(crop, width, height)
        places = _places(self.renumbered(torch.tensor(wanted, dtype=torch.int64)).tolist())
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
            for number, raw in self._read(sorted(places), deadline):
                if number in missing:
                    missing.remove(number)
                    first, *others = places[number]
                    out[first] = convert(raw, short_side)[top : top + rows, left : left + columns]
                    for place in others:
                        out[place] = out[first]
            if not missing:
                break
        if missing:
            raise VideoError(self.path, "could be read once, but not a second time", CONVERT, min(missing))
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def __iter__(self) -> Iterator[Tensor]:
        """All frames, uint8 [3, H, W], in bounded memory."""
        for frame in self.decode():
            yield frame.rgb()

    def decode(self, start_s: float | None = None, end_s: float | None = None) -> Iterator[DecodedFrame]:
        """Frames one after the other in bounded memory, for files of any length.

        Args:
            start_s, end_s: seconds from the start of the file; frames with ``start_s <= time < end_s``. Times that
                differ by less than a tick of the container's clock are the same.

        Yields:
            Frames in presentation order, whose pixels are converted only when asked for.

        Raises:
            VideoError: the file cannot be read, no frame decodes, or none came for ``time_limit_s``.
        """
        index, same_s = self._index, self.same_s
        first, last = part(index.times, start_s, end_s, same_s)
        short = len(index.ranks) <= _SHORT_FILE
        # A part is entered in the middle: damage before it, which can reach into it, would not be met.
        unsure = short or index.doubtful if not index.trusted else short and first > 0
        if unsure and not index.verified:
            indexing.verify(self.path, index, Deadline(self.path, self.time_limit_s), per_frame=True)
            first, last = part(index.times, start_s, end_s, same_s)
        convert = Converter(index.size, index.upright)
        deadline = Deadline(self.path, self.time_limit_s)
        expected = -1
        if first > 0 and not index.sequential:
            for number, raw in self._read(range(first, last), deadline):
                if first <= number < last:
                    yield DecodedFrame(number, float(index.times[number]), raw, convert)
                    deadline.restart()
                    expected = number
            if expected == last - 1 or first >= last:
                return
        # From the start nothing is looked up: what a decoder gives is what there is.
        after = index.times[expected] if expected >= 0 else -math.inf
        for number, raw, time_s in self._count(deadline):
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
            indexing.verify(self.path, self._index, Deadline(self.path, self.time_limit_s))

    def _count(self, deadline: Deadline) -> Iterator[tuple[int, Any, float]]:
        """(number, frame, time) of every frame of a sequential decode; times rise."""
        index, count, read = self._index, 0, 0
        before = -math.inf
        came: list[int] = []
        container, stream = files.open_container(self.path, self.time_limit_s)
        with container:
            packets = files.demux(container, stream)
            more = True
            while more:
                deadline.check(count)
                try:
                    packet = next(packets, None)
                    more = packet is not None
                    if packet is not None:
                        packet.pts = read  # a frame that comes out says which packet it is of
                    frames = files.decode_packet(stream, packet)
                except files.failures() as error:
                    what = f"packet {read}" if more else "the end"
                    index.note(f"{what} did not decode: {getattr(error, 'strerror', error)}")
                    frames = []
                read += 1
                for frame in frames:
                    at = index.time_of(None if index.verified else frame.pts)
                    if math.isnan(at):
                        at = float(index.times[count]) if count < len(index) else before + index.step
                    if frame.pts is not None:
                        came.append(frame.pts)
                    before = rising(at, before, index.step)
                    yield count, frame, before
                    count += 1
        if count == 0:
            raise VideoError(self.path, f"no frame decodes ({read} packets read)", CONVERT)
        if not index.verified and max(came, default=0) < len(index.ranks) == read - 1:
            index.note_lost(np.array(came, dtype=np.int64), np.append(index.times, np.nan)[index.ranks])

    def _read(self, wanted: Sequence[int], deadline: Deadline) -> Iterator[tuple[int, Any]]:
        """(number, frame) of the wanted frames that come, ascending; ends early at any surprise."""
        index = self._index
        if not len(wanted):
            return
        if index.sequential:
            last = wanted[-1]
            for number, frame, _ in self._count(deadline):
                yield number, frame
                if number >= last:
                    return
            return
        feed, need = _plan(index, np.asarray(wanted))
        before = -1
        starts = set(index.ranks[np.flatnonzero(feed & ~np.r_[False, feed[:-1]])].tolist())
        for frame in self._feed(feed, need, deadline):
            number = frame.pts
            if number is None or number <= before or number >= len(index):
                return
            if number in starts and not frame.key_frame:
                return  # the container's key flag was wrong
            before = number
            yield number, frame

    def _feed(self, feed: NDArray[np.bool_], need: NDArray[np.bool_], deadline: Deadline) -> Iterator[Any]:
        """Send the packets that ``feed`` marks to a decoder, which may omit those without ``need``."""
        index = self._index
        numbers = np.flatnonzero(feed)
        at, last = int(numbers[0]), int(numbers[-1])
        container, stream = files.open_container(self.path, self.time_limit_s)
        packets = self._seek(at, container, stream)
        if packets is None:
            if at >= _WORTH_SEEKING:  # the seek may have left the container anywhere
                container.close()
                container, stream = files.open_container(self.path, self.time_limit_s)
            packets, at = files.demux(container, stream, index.unpack), 0
        with container:
            decoder = stream.codec_context
            fed, skipping = True, False
            try:
                for packet in packets:
                    if at > last:
                        break
                    number, at = at, at + 1
                    if not feed[number]:
                        fed = False
                        continue
                    deadline.check()
                    if not fed:
                        yield from files.decode_packet(stream, None)
                        decoder.flush_buffers()
                        fed = True
                    if index.skip and skipping == bool(need[number]):
                        skipping = not skipping
                        decoder.skip_frame = "NONREF" if skipping else "DEFAULT"
                    packet.pts = int(index.ranks[number]) if index.ranks[number] >= 0 else None
                    packet.dts = None
                    yield from files.decode_packet(stream, packet)
                yield from files.decode_packet(stream, None)
            except VideoError:
                raise
            except files.failures():
                # Not reported here: the missing frames make the caller look at the whole file.
                return

    def _seek(self, number: int, container: Any, stream: Any) -> Iterator[Any] | None:
        """The packets from packet ``number`` on, or None where a seek does not pay or does not arrive."""
        index = self._index
        place, stamp = (int(x) for x in index.places[number])
        if number < _WORTH_SEEKING or index.unpack or place < 0 or stamp < 0:
            return None
        try:
            container.seek(stamp, stream=stream)
            packets = files.demux(container, stream)
            for packet in packets:
                if packet.pos == place:
                    return _chain(packet, packets)
                if packet.pos is None or packet.pos > place:
                    return None
        except files.failures():
            pass
        return None


def _plan(index: FrameIndex, wanted: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which packets the decoder must see, and which of them make wanted frames: bool [packets] each.

    A frame is decoded from the last key frame before it in the file that is also shown before it:
    the leading frames of an open group of pictures stand on the group before.
    """
    count = len(index.ranks)
    need = np.zeros(count, dtype=bool)
    need[np.isin(index.ranks, wanted)] = True
    positions = np.flatnonzero(need)
    # The second field of a picture makes no frame of its own, and belongs to the packet before.
    bare = index.ranks < 0
    if bare.any():
        for number in positions:
            while number + 1 < count and bare[number + 1]:
                number += 1
                need[number] = True
    keys = np.flatnonzero(index.keys)
    edges = np.zeros(count + 1, dtype=np.int64)
    for number in positions:
        k = int(np.searchsorted(keys, number, side="right")) - 1
        while k >= 0 and index.ranks[keys[k]] > index.ranks[number]:
            k -= 1
        end = int(number) + 1
        while end < count and need[end] and bare[end]:
            end += 1
        edges[keys[k] if k >= 0 else 0] += 1
        edges[end] -= 1
    return np.cumsum(edges[:-1]) > 0, need


def _places(numbers: list[int]) -> dict[int, list[int]]:
    """Where each number stands."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    return places


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _reopen(path: str, time_limit_s: float) -> Video:
    return Video(path, time_limit_s=time_limit_s)
