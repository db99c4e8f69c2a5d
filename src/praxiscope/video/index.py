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
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope._memory import trim_memory
from praxiscope.errors import VideoError
from praxiscope.video.container import CONVERT, Deadline, decode_packet, demux, failures, open_container

__all__ = ["FrameIndex", "build", "forget", "recall", "recalled", "verify"]

# From so many packets on, what making the index took is given back to the system at once.
_MANY = 20_000
_KEEPS_TIMESTAMPS = ("mov", "matroska")
_SMALLEST_FRAME = 19  # bytes; an MPEG-4 packet up to this size may say "not coded" (FFmpeg's MAX_NVOP_SIZE)
_VOP = b"\0\0\1\xb6"
_JITTER = 8  # frames; times that go back further start again
_REMEMBERED_PACKETS = 2_000_000
_MOST_PROBLEMS = 20


@dataclass
class FrameIndex:
    """What is known of a file's frames.

    Attributes:
        codec: FFmpeg's name of the codec.
        fps: frames per second.
        size: (width, height) of the first frame as coded; other frames are scaled to it.
        turns: quarter turns counter-clockwise that set the frames upright.
        ranks: int64 [packets], in decode order.
        keys: bool [packets], decoding can start here.
        places: int64 [packets, 2], byte position and the timestamp to seek for; -1 where not known.
        times: float64 [N] seconds since the first frame.
        unpack: B-frames are packed: the packets above are those behind the filter that unpacks them.
        trusted: the ranks may be used before a full pass has confirmed them.
        verified: a full pass has been made.
        sequential: frames can only be counted from the start.
        skip: frames that nobody needs may be skipped by the decoder.
        kinds: types (I, P, B, S) of the frames in order, where B-frames are packed; else empty.
    """

    codec: str
    fps: float
    size: tuple[int, int]
    turns: int
    ranks: NDArray[np.int64]
    keys: NDArray[np.bool_]
    places: NDArray[np.int64]
    times: NDArray[np.float64]
    duration_s: float
    unpack: bool = False
    trusted: bool = True
    verified: bool = False
    sequential: bool = False
    skip: bool = True
    kinds: str = ""
    problems: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def note(self, problem: str) -> None:
        """Remember a problem, once, and only so many."""
        if problem not in self.problems and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)


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


def _clean_times(shown: NDArray[np.float64], decoded: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """Times of frames in order, from 0 and never going back.

    Where packets have no times of their own, or equal ones, the times of decoding, which are the same but
    for their order, take their place; where these are no use either, frames come at equal distances. So do
    they where times start again, as in joined files, and where they stand still for long.
    """
    if len(shown) == 0:
        return shown
    for times in (shown, np.sort(decoded)):
        # Sorted times of decoding that went back would mix the parts of a joined file.
        if times is not shown and (np.diff(decoded) < -_JITTER / fps).any():
            continue
        if not np.isnan(times).any() and (np.diff(times) > 0).all():
            return times - times[0]
    if np.isnan(shown).any():
        return np.arange(len(shown)) / fps
    steps = np.diff(shown, prepend=shown[0])
    steps[steps < -_JITTER / fps] = 1 / fps
    times = np.maximum.accumulate(np.cumsum(steps))
    starts = np.flatnonzero(np.diff(times, prepend=-1.0) > 0)
    since = np.arange(len(times)) - np.repeat(starts, np.diff(starts, append=len(times)))
    runs = np.repeat(np.diff(starts, append=len(times)), np.diff(starts, append=len(times)))
    return np.asarray(np.maximum.accumulate(times + np.where(runs > _JITTER, since / fps, 0.0)))


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
    # Numbers, not objects: a film has packets by the hundred thousand.
    shown, decoded, rows = array("d"), array("d"), array("q")
    keys, drops = bytearray(), bytearray()
    types: list[str] = []
    pictures: list[tuple[str, int]] = []
    headers: list[set[bytes]] = []
    problems: list[str] = []
    first: Any = None
    clean, packed = True, False
    last_end = 0.0
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
                pts = dts
            shown.append(np.nan if pts is None else pts * base)
            decoded.append(np.nan if dts is None else dts * base)
            # Matroska seeks by the time of presentation, the others by that of decoding.
            target = pts if by_pts else dts
            rows.extend((-1 if packet.pos is None else packet.pos, -1 if target is None else target))
            keys.append(packet.is_keyframe)
            drops.append(packet.is_discard)
            if packet.is_corrupt:
                clean = False
                problems.append(f"packet {len(keys) - 1} is cut or marked as damaged")
            if pts is not None:
                last_end = max(last_end, (pts + (packet.duration or 0)) * base)
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
            raise VideoError(path, f"no frame decodes ({len(keys)} packets read)", CONVERT)
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    times = np.array(shown, dtype=np.float64)
    span = last_end - (np.nanmin(times) if np.isfinite(times).any() else 0.0)
    if not 0.01 <= fps <= 1000:
        fps = (len(times) - 1) / span if span > 0 and len(times) > 1 else 25.0
    promised = float((stream.duration or 0) * base)
    if clean and span > 0 and 1.05 * span + 1 < promised < 1e5:
        problems.append(f"the header promises {promised:.1f} s, the file holds {span:.1f} s")
        clean = False
    clean &= len(headers) <= 1  # else streams were joined
    keep = np.frombuffer(drops, dtype=np.uint8) == 0
    stamps = np.array(decoded, dtype=np.float64)
    kept = times[keep]
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
        ranks = np.empty(len(times), dtype=np.int64)
        ranks[np.argsort(times, kind="stable")] = np.arange(len(times))
    if not keep.all():
        ranks = np.where(keep, np.cumsum(keep[np.argsort(ranks)])[ranks] - 1, -1)
    places = np.array(rows, dtype=np.int64).reshape(-1, 2)
    if len(np.unique(places[:, 0])) < len(places):
        places[:] = -1  # where packets share a place, a seek could not tell which one it found
    return FrameIndex(
        codec=codec,
        fps=fps,
        size=(first.width, first.height),
        turns=round(first.rotation / 90) % 4,
        ranks=ranks,
        keys=(np.frombuffer(keys, dtype=np.uint8) > 0) & (np.array(types) == "I" if mpeg4 else True),
        places=places,
        times=_clean_times(np.sort(kept), stamps[keep], fps),
        duration_s=span if span > 0 else len(keys) / fps,
        unpack=packed or unpack,
        sequential=packed and (len(headers) > 1 or not _unpacks_cleanly(pictures)),
        skip=stream.codec_context.name != "libdav1d",  # takes its setting only once, when it is opened
        trusted=trusted,
        kinds="".join(types[number] for number in np.argsort(ranks)) if unpack else "",
        problems=problems,
    )


def verify(path: Path, index: FrameIndex, deadline: Deadline, *, per_frame: bool = False) -> None:
    """Decode the whole file once, without converting pixels, and correct the index by what came.

    The deadline is for the whole pass, or with ``per_frame`` for the time without a new frame.

    Raises VideoError if no frame decodes.
    """
    order: list[int | None] = []
    plain: list[int | None] = []  # packets whose frame is no key frame, whatever the container says
    damaged = False
    stamps: list[list[float]] = []
    kinds: list[str] = []
    read = 0
    container, stream = open_container(path, deadline.limit_s)
    base = float(stream.time_base or 0) or 1 / 90000

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
                stamps.append([np.nan if at is None else at * base for at in (packet.pts, packet.dts)])
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
    if index.unpack:
        # The decoder was given the packed packets; the index speaks of the unpacked ones.
        index.sequential |= damaged or "".join(kinds) != index.kinds or len(order) != len(index)
        if index.sequential:
            index.times = np.arange(len(order)) / index.fps
    else:
        shown, decoded = np.array(stamps, dtype=np.float64).reshape(-1, 2).T
        known = bool((tokens >= 0).all()) and len(np.unique(tokens)) == len(tokens)
        index.sequential = damaged or not known or read != len(index.ranks)
        if not index.sequential:
            index.keys[[token for token in plain if token is not None]] = False
            ranks = np.full(read, -1, dtype=np.int64)
            ranks[tokens] = np.arange(len(tokens))
            if not np.array_equal(ranks, index.ranks):
                index.ranks = ranks
                index.times = _clean_times(shown[tokens], decoded[tokens], index.fps)
        else:
            if len(shown) == 0 or not known:
                shown = decoded = np.full(len(tokens), np.nan)
                tokens = np.arange(len(tokens))
            index.times = _clean_times(shown[tokens], decoded[tokens], index.fps)
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
