"""Where the frames of a file are: one pass over its packets, without decoding.

A packet's *rank* is the number of the frame that it makes, in presentation order; -1 where it makes
none. Before a packet goes to the decoder its timestamp is replaced by its rank, so that every frame
that comes out says which one it is: a wrong index cannot give a wrong frame silently, it is noticed.

Ranks come from the timestamps where a container is known to keep them (mp4, Matroska), and from the
picture types for MPEG-4 part 2, whose timestamps in AVI are guesses; packed B-frames are unpacked first.
Everything else, and every file with a sign of damage, is decoded once from start to end (`verify`),
without converting pixels. That pass is what "the frames of this file" means. After it the ranks are
facts, unless damage was met: then frames depend on what was decoded before, and are counted from
the start each time (`sequential`).

The time of a frame is that of its packet, so that a frame which does not decode moves no other one. Second 0 is the
start of the file, as for FFmpeg and players: where its earliest stream begins.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope._memory import trim_memory
from praxiscope.errors import VideoError
from praxiscope.units import counted
from praxiscope.video.container import CONVERT, Deadline, decode_packet, demux, failures, open_container
from praxiscope.video.pixels import Orientation, orientation
from praxiscope.video.times import alone, as_shown, continued, shown_for, typical_step

__all__ = ["FrameIndex", "build", "forget", "recall", "recalled", "verify"]

# From so many packets on, what making the index took is given back to the system at once.
_MANY = 20_000
_KEEPS_TIMESTAMPS = ("mov", "matroska")
_SMALLEST_FRAME = 19  # bytes; an MPEG-4 packet up to this size may say "not coded" (FFmpeg's MAX_NVOP_SIZE)
_VOP = b"\0\0\1\xb6"
# These have no timeline of their own: a stream that is cut out of another one begins anywhere.
_CUT_ANYWHERE = ("mpegts", "mpeg")
_REMEMBERED_PACKETS = 2_000_000
_MOST_PROBLEMS = 20


@dataclass
class FrameIndex:
    """What is known of a file's frames.

    Attributes:
        codec: FFmpeg's name of the codec.
        fps: frames per second.
        step: seconds from a frame to the next, as a rule.
        tick: seconds of one count of the container's clock.
        size: (width, height) of the first frame as coded; other frames are scaled to it.
        upright: how the frames are set upright.
        ranks: int64 [packets], in decode order.
        keys: bool [packets], decoding can start here.
        places: int64 [packets, 2], byte position and the timestamp to seek for; -1 where not known.
        stamps: float64 [packets] seconds from the start of the file, as each packet says; NaN where it does not. In
            AVI, whose packets know only when they are decoded, the order of decoding.
        in_order: whether a stamp is that of the packet's own frame.
        lasts: float64 [packets] seconds for which each packet's frame is shown; 0 where not known.
        times: float64 [N] seconds from the start of the file at which each frame is shown.
        duration_s: seconds from the start of the file to the end of the last frame.
        unpack: B-frames are packed: the packets above are those behind the filter that unpacks them.
        trusted: the ranks may be used before a full pass has confirmed them.
        doubtful: a packet's time is far from those around it, which can be right.
        verified: a full pass has been made.
        sequential: frames can only be counted from the start.
        skip: frames that nobody needs may be skipped by the decoder.
        kinds: types (I, P, B, S) of the frames in order, where B-frames are packed; else empty.
        problems: damage met so far, one clause each.
        lost: (first, last) seconds of each stretch of frames that did not decode.
    """

    codec: str
    fps: float
    step: float
    tick: float
    size: tuple[int, int]
    upright: Orientation
    ranks: NDArray[np.int64]
    keys: NDArray[np.bool_]
    places: NDArray[np.int64]
    stamps: NDArray[np.float64]
    in_order: bool
    lasts: NDArray[np.float64]
    times: NDArray[np.float64]
    duration_s: float
    unpack: bool = False
    trusted: bool = True
    doubtful: bool = False
    verified: bool = False
    sequential: bool = False
    skip: bool = True
    kinds: str = ""
    problems: list[str] = field(default_factory=list)
    lost: list[tuple[float, float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def note(self, problem: str) -> None:
        """Remember a problem, once, and only so many."""
        if problem not in self.problems and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def time_of(self, packet: int | None) -> float:
        """When the frame of a packet is shown, as the packets say; NaN where they do not."""
        if packet is None or not 0 <= packet < len(self.ranks) or self.ranks[packet] < 0:
            return math.nan
        return float(self.times[self.ranks[packet]])

    def set_times(self, packets: NDArray[np.int64]) -> None:
        """Make the times of the frames, given the packet of each in their order (-1: not known)."""
        if packets.max() >= len(self.stamps):
            self.times = np.arange(len(packets), dtype=np.float64) * self.step
        else:
            stamps = np.append(self.stamps, np.nan)[packets]
            self.times = as_shown(stamps, self.step, in_order=self.in_order, doubtful=self.doubtful)
        last = packets[-1] if packets[-1] < len(self.lasts) else -1
        self.duration_s = float(self.times[-1]) + shown_for(float(np.append(self.lasts, 0)[last]), self.step)

    def note_lost(self, decoded: NDArray[np.int64], times: NDArray[np.float64]) -> None:
        """Say which frames are missing where damage was met.

        Args:
            decoded: the packets whose frames came.
            times: when the frames of all packets are shown; NaN for those that make none.
        """
        came = np.zeros(len(times), dtype=bool)
        came[decoded] = True
        # What comes before second 0 cannot be shown: packets before the first key frame of a stream that was cut out.
        gone = np.sort(times[~came & (times > -0.5 * self.step)])
        shown = np.sort(times[came & np.isfinite(times)])
        # The second field of a picture makes no frame of its own: there is one half a frame away.
        if len(shown):
            after = np.searchsorted(shown, gone)
            near = np.minimum(
                np.abs(gone - shown[np.minimum(after, len(shown) - 1)]),
                np.abs(gone - shown[np.maximum(after - 1, 0)]),
            )
            gone = gone[near > 0.6 * self.step]
        if not len(gone):
            return
        # Frames between two lost ones end a stretch.
        stretch = np.searchsorted(shown, gone)
        edges = np.flatnonzero(np.diff(stretch, prepend=-1, append=-1))
        self.lost = [(float(gone[a]), float(gone[b - 1])) for a, b in pairwise(edges)]
        spans = [f"{a:.2f} s" if a == b else f"{a:.2f} to {b:.2f} s" for a, b in self.lost]
        more = f" and {len(spans) - 4} more stretches" if len(spans) > 4 else ""
        total = int(np.isfinite(times).sum())
        problem = (
            f"{len(gone)} of {counted(total, 'frame')} {'does' if len(gone) == 1 else 'do'} not decode: "
            f"{', '.join(spans[:4])}{more}"
        )
        if problem not in self.problems:  # first of all: this is what the damage means to who uses the file
            self.problems.insert(0, problem)


def _picture_types(packet: bytes) -> str:
    """The types (I, P, B, S) of the pictures in an MPEG-4 packet."""
    types, at = "", packet.find(_VOP)
    while 0 <= at < len(packet) - 4:
        types += "IPBS"[packet[at + 4] >> 6]
        at = packet.find(_VOP, at + 4)
    return types


def _headers(packet: bytes) -> set[bytes]:
    """The settings (layer header and the encoder's name) in front of the pictures of an MPEG-4 packet."""
    parts = packet.partition(_VOP)[0].split(b"\0\0\1")
    return {part for part in parts if part and (part[0] == 0xB2 or 0x20 <= part[0] <= 0x2F)}


def _unpacks_cleanly(packets: list[tuple[str, int]]) -> bool:
    """Whether the filter that unpacks B-frames loses nothing: (types, bytes) of each packed packet.

    It holds the second picture of a packet back, gives it out in place of the next packet, and holds that
    one if it is no filler. At the joint of two streams it so comes to hold a picture that others need.
    """
    held = ""
    for types, size in packets:
        if len(types) == 2:
            if held:
                return False
            held = types[1]
        elif len(types) != 1:
            return False
        elif held:
            held = "" if size <= _SMALLEST_FRAME else types
        if held not in ("", "B"):
            return False
    return True


def _reordered(types: list[str]) -> NDArray[np.int64]:
    """Ranks from picture types: a reference picture is shown when the next one arrives."""
    ranks = np.empty(len(types), dtype=np.int64)
    held, rank = -1, 0
    for number, kind in enumerate(types):
        if kind == "B" and held >= 0:
            ranks[number] = rank
        else:
            if held >= 0:
                ranks[held] = rank
            else:
                rank -= 1
            held = number
        rank += 1
    if held >= 0:
        ranks[held] = rank
    return ranks


def build(path: Path, deadline: Deadline) -> FrameIndex:
    """Make the index of a file from its packets, and decode its first frame for size and rotation."""
    container, stream = open_container(path, deadline.limit_s)
    with container:
        index = _scan(path, container, stream, False, deadline)
    if len(index.ranks) > _MANY:
        trim_memory()
    if index.unpack:
        container, stream = open_container(path, deadline.limit_s)
        with container:
            unpacked = _scan(path, container, stream, True, deadline)
        unpacked.sequential = index.sequential
        unpacked.trusted &= not index.sequential
        return unpacked
    return index


def _scan(path: Path, container: Any, stream: Any, unpack: bool, deadline: Deadline) -> FrameIndex:
    codec = stream.codec_context.codec.canonical_name
    mpeg4 = codec == "mpeg4"
    by_pts = container.format.name.startswith("matroska")
    by_dts = container.format.name == "avi"
    # Numbers, not objects: a film has packets by the hundred thousand.
    shown, decoded, lasts, rows = array("d"), array("d"), array("d"), array("q")
    keys, drops = bytearray(), bytearray()
    types: list[str] = []
    pictures: list[tuple[str, int]] = []
    headers: list[set[bytes]] = []
    problems: list[str] = []
    first: Any = None
    clean, packed = True, False
    base = float(stream.time_base or 0) or 1 / 90000
    try:
        for packet in demux(container, stream, unpack):
            deadline.check()
            pts, dts = packet.pts, packet.dts
            if mpeg4:
                content = bytes(packet)
                kinds = _picture_types(content)
                pictures.append((kinds, packet.size))
                found = _headers(content)
                if found and found not in headers:
                    headers.append(found)
                packed |= len(kinds) > 1
                types.append(kinds[:1] or "?")
                clean &= bool(kinds) and packet.size > _SMALLEST_FRAME
            if by_dts:
                pts = dts
            shown.append(np.nan if pts is None else pts * base)
            decoded.append(np.nan if dts is None else dts * base)
            lasts.append((packet.duration or 0) * base)
            # Matroska seeks by the time of presentation, the others by that of decoding.
            target = pts if by_pts else dts
            rows.extend((-1 if packet.pos is None else packet.pos, -1 if target is None else target))
            keys.append(packet.is_keyframe)
            drops.append(packet.is_discard)
            if packet.is_corrupt:
                clean = False
                problems.append(f"packet {len(keys) - 1} is cut or marked as damaged")
            if first is None:
                try:
                    first = next(iter(decode_packet(stream, packet)), None)
                except failures():
                    clean = False
    except VideoError:
        raise
    except failures() as error:
        clean = False
        problems.append(f"reading stopped after packet {len(keys) - 1}: {getattr(error, 'strerror', error)}")
    if first is None:
        try:
            first = next(iter(decode_packet(stream, None)), None)
        except failures():
            first = None
        if first is None:
            raise VideoError(path, f"no frame decodes ({counted(len(keys), 'packet')} read)", CONVERT)
    stamps, stamps_of_decoding = (np.array(seconds, dtype=np.float64) for seconds in (shown, decoded))
    if by_dts and np.isfinite(stamps).any():
        known = np.isfinite(stamps)
        stamps = np.interp(np.arange(len(stamps)), np.flatnonzero(known), stamps[known])
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0.01 <= fps <= 1000:
        span = float(np.nanmax(stamps) - np.nanmin(stamps)) if np.isfinite(stamps).any() else 0.0
        fps = (len(stamps) - 1) / span if span > 0 else 25.0
    cut_anywhere = container.format.name in _CUT_ANYWHERE
    step = typical_step(stamps, 1 / fps)
    if not 0.45 < fps * step < 2.2:  # what a container guesses of a rate that changes, or of a pause
        fps = 1 / step
    stamps, joined = continued(stamps, stamps_of_decoding, step, jumps_ahead=cut_anywhere)
    # Behind a pause, a frame that others refer to comes before them: only a decoder knows whether a time is wrong.
    doubtful = bool(alone(stamps, step).any())
    clean &= len(headers) <= 1 and not joined and not doubtful
    keep = np.frombuffer(drops, dtype=np.uint8) == 0
    stamps -= _start(
        container, stream, stamps[keep], np.frombuffer(keys, dtype=np.uint8)[keep] > 0, joined, cut_anywhere
    )
    kept = stamps[keep]
    if mpeg4:
        trusted = clean and "?" not in types and types[:1] == ["I"]
        ranks = _reordered(types)
    else:
        trusted = (
            clean
            and container.format.name.startswith(_KEEPS_TIMESTAMPS)
            and bool(np.isfinite(kept).all())
            and len(np.unique(kept)) == len(kept)
        )
        ranks = np.empty(len(stamps), dtype=np.int64)
        ranks[np.argsort(stamps, kind="stable")] = np.arange(len(stamps))
    if not keep.all():
        ranks = np.where(keep, np.cumsum(keep[np.argsort(ranks)])[ranks] - 1, -1)
    places = np.array(rows, dtype=np.int64).reshape(-1, 2)
    if len(np.unique(places[:, 0])) < len(places):
        places[:] = -1  # where packets share a place, a seek could not tell which one it found
    index = FrameIndex(
        codec=codec,
        fps=fps,
        step=step,
        tick=base,
        size=(first.width, first.height),
        upright=orientation(first),
        ranks=ranks,
        keys=(np.frombuffer(keys, dtype=np.uint8) > 0) & (np.array(types) == "I" if mpeg4 else True),
        places=places,
        stamps=stamps,
        in_order=not (by_dts or packed or unpack),
        lasts=np.array(lasts, dtype=np.float64),
        times=np.empty(0),
        duration_s=0.0,
        unpack=packed or unpack,
        sequential=packed and (len(headers) > 1 or not _unpacks_cleanly(pictures)),
        skip=stream.codec_context.name != "libdav1d",  # takes its setting only once, when it is opened
        trusted=trusted,
        doubtful=doubtful,
        kinds="".join(types[number] for number in np.argsort(ranks)) if unpack else "",
        problems=problems,
    )
    order = np.argsort(ranks, kind="stable")[np.count_nonzero(ranks < 0) :]
    if not len(order):  # every packet is marked as one to leave out
        order = np.arange(len(ranks))
    index.set_times(order)
    promised = float((stream.duration or 0) * base)
    span = index.duration_s - float(index.times[0])
    if clean and span > 0 and 1.05 * span + 1 < promised < 1e5:
        index.problems.append(f"the header promises {promised:.1f} s, the file holds {span:.1f} s")
        index.trusted = False
    return index


def _start(
    container: Any,
    stream: Any,
    stamps: NDArray[np.float64],
    keys: NDArray[np.bool_],
    joined: bool,
    cut_anywhere: bool,
) -> float:
    """Second 0 of a file, on the clock of its packets.

    It is where the earliest stream begins, as FFmpeg has it. Where nothing but the packets tells where a stream begins,
    those before the first key frame, of which nothing can be shown, do not count.

    Args:
        stamps: float64 [n] of the packets that make frames.
        keys: bool [n], decoding can start there.
        joined: the file was made of several, and the clocks of the later ones say nothing.
        cut_anywhere: of the container.
    """
    known = np.isfinite(stamps)
    if not known.any():
        return 0.0
    earliest = float(stamps[known].min())
    if container.start_time is None:
        return earliest
    start = float(container.start_time) / 1e6
    if cut_anywhere:
        first = float(stamps[known & keys][0]) if (known & keys).any() else earliest
        others = [
            float(other.start_time * other.time_base)
            for other in container.streams
            if other.type in ("audio", "video")
            and other.index != stream.index
            and other.start_time is not None
        ]
        start = min([first, *others])
    first = float(stamps[known][0])
    if joined and start < first - 1:  # the clock of a later file
        return first
    return start if cut_anywhere else min(start, earliest)


def verify(path: Path, index: FrameIndex, deadline: Deadline, *, per_frame: bool = False) -> None:
    """Decode the whole file once, without converting pixels, and correct the index by what came.

    The deadline is for the whole pass, or with ``per_frame`` for the time without a new frame.

    Raises VideoError if no frame decodes.
    """
    order: list[int | None] = []
    plain: list[int | None] = []  # packets whose frame is no key frame, whatever the container says
    damaged = False
    kinds: list[str] = []
    read = 0
    container, stream = open_container(path, deadline.limit_s)

    def take(packet: Any) -> None:
        nonlocal damaged
        try:
            frames = decode_packet(stream, packet)
        except failures() as error:
            what = "the end" if packet is None else f"packet {read}"
            index.note(f"{what} did not decode: {getattr(error, 'strerror', error)}")
            damaged = True
            return
        for frame in frames:
            if frame.is_corrupt:
                index.note(f"frame {len(order)} is damaged")
                damaged = True
            order.append(frame.pts)
            if per_frame:
                deadline.restart()
            if index.unpack:
                kinds.append("?IPBS????"[frame.pict_type])
            if not frame.key_frame:
                plain.append(frame.pts)

    with container, _decoder_messages() as messages:
        try:
            for packet in demux(container, stream):
                deadline.check(len(order))
                packet.pts = read
                take(packet)
                read += 1
        except VideoError:
            raise
        except failures() as error:
            index.note(f"reading stopped after packet {read - 1}: {getattr(error, 'strerror', error)}")
            damaged = True
        take(None)
    if not order:
        raise VideoError(path, f"no frame decodes ({read} packets read)", CONVERT)
    if messages:
        index.note(f"the decoder says: {messages[0]}")
        damaged = True
    index.verified = True
    tokens = np.array([-1 if token is None else token for token in order], dtype=np.int64)
    known = bool((tokens >= 0).all()) and len(np.unique(tokens)) == len(tokens) and read == len(index.ranks)
    if known:
        index.note_lost(tokens, np.append(index.times, np.nan)[index.ranks])
    if index.unpack:
        # The decoder was given the packed packets; the index speaks of the unpacked ones.
        index.sequential |= damaged or "".join(kinds) != index.kinds or len(order) != len(index)
    else:
        index.sequential = damaged or not known
        if not index.sequential:
            index.keys[[token for token in plain if token is not None]] = False
    if index.sequential or not index.unpack:
        index.set_times(tokens)
        if known:
            index.ranks = np.full(read, -1, dtype=np.int64)
            index.ranks[tokens] = np.arange(len(tokens))
    if index.times[0] < 0:  # what comes before the first key frame can be shown after all
        index.stamps -= index.times[0]
        index.duration_s -= float(index.times[0])
        index.times = index.times - index.times[0]
    index.trusted = not index.sequential


class _decoder_messages:
    """Collect what the decoder complains about in this thread: damage that it hides raises nothing."""

    def __enter__(self) -> list[str]:
        import av.logging

        self._level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)
        self._capture = av.logging.Capture()
        self._logs: list[tuple[int, str, str]] = self._capture.__enter__()
        self._found: list[str] = []
        return self._found

    def __exit__(self, *args: object) -> None:
        import av.logging

        self._capture.__exit__(*args)
        av.logging.set_level(self._level)
        self._found.extend(message.strip() for _, _, message in self._logs)


class _Memory(OrderedDict[tuple[str, int, int], FrameIndex]):
    """The indices used last, up to a number of packets in all."""

    packets = 0

    def keep(self, key: tuple[str, int, int], index: FrameIndex) -> None:
        self[key] = index
        self.packets += len(index.ranks)
        while self.packets > _REMEMBERED_PACKETS and len(self) > 1:
            self.packets -= len(self.popitem(last=False)[1].ranks)


_remembered = _Memory()


def forget() -> None:
    """Forget every index (for tests, and to give memory back)."""
    _remembered.clear()
    _remembered.packets = 0


def recalled(path: Path) -> FrameIndex | None:
    """The index of a file if this process has made it and the file has not changed since."""
    key = _stamp(path)
    index = _remembered.get(key) if key else None
    if index is not None and key is not None:
        _remembered.move_to_end(key)
    return index


def recall(path: Path, deadline: Deadline) -> FrameIndex:
    """The index of a file: remembered, or made now."""
    index = recalled(path)
    if index is None:
        key = _stamp(path)
        index = build(path, deadline)
        if key is not None:
            _remembered.keep(key, index)
    return index


def _stamp(path: Path) -> tuple[str, int, int] | None:
    """What tells whether a file has changed: path, size, time of the last change."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return str(path), stat.st_size, stat.st_mtime_ns
