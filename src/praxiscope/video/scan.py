"""Build the index of a video file by one pass over its packets, without decoding.

Ranks come from the timestamps where a container is known to keep them (mp4, Matroska), and from the picture types for
MPEG-4 part 2. Every other file, and every file with a sign of damage, is decoded once from start to end before its
index is used (`praxiscope.video.verify`).

Second 0 is the start of the file, as for FFmpeg and players: where its earliest stream begins.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope._memory import trim_memory
from praxiscope.errors import VideoError
from praxiscope.units import counted
from praxiscope.video.container import (
    CONVERT,
    Deadline,
    decode_packet,
    demux,
    failures,
    open_container,
    reason,
)
from praxiscope.video.index import MANY, FrameIndex
from praxiscope.video.mpeg4 import Mpeg4Pictures
from praxiscope.video.pixels import orientation
from praxiscope.video.times import alone, continued, typical_step

__all__ = ["build"]

_KEEPS_TIMESTAMPS = ("mov", "matroska")
# These containers have no timeline of their own: a stream cut out of another one can begin at any time.
_CUT_ANYWHERE = ("mpegts", "mpeg")


def build(path: Path, deadline: Deadline) -> FrameIndex:
    """Build the index of a file from its packets, and decode its first frame for size and rotation.

    Raises:
        VideoError: no frame decodes, or the deadline has passed.
    """
    index = _scan(path, False, deadline)
    if len(index.ranks) > MANY:
        trim_memory()
    if index.unpack:
        unpacked = _scan(path, True, deadline)
        unpacked.sequential = index.sequential
        unpacked.trusted &= not index.sequential
        return unpacked
    return index


class _Packets:
    """The packets of a stream in decode order, and the first frame that decodes.

    Attributes:
        tick: seconds of one count of the container's clock.
        pictures: of MPEG-4 part 2; None for other codecs.
        by_dts: timestamps are those of decoding (AVI).
        clean: no sign of damage was met.
        problems: damage, one clause each.
        first: the first frame, as the decoder gave it.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.stream = stream
        self.tick = float(stream.time_base or 0) or 1 / 90000
        self.pictures = Mpeg4Pictures() if stream.codec_context.codec.canonical_name == "mpeg4" else None
        self.by_dts = container.format.name == "avi"
        # Matroska seeks by the time of presentation, the others by that of decoding.
        self._seeks_by_pts = container.format.name.startswith("matroska")
        self.clean, self.problems, self.first = True, list[str](), None
        # Arrays, not lists of objects: a film has hundreds of thousands of packets.
        self._shown, self._decoded, self._lasts, self._rows = array("d"), array("d"), array("d"), array("q")
        self._keys, self._drops = bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, path: Path, packets: Any, deadline: Deadline) -> None:
        """Read all packets. Raises VideoError if no frame decodes or the deadline has passed."""
        try:
            for packet in packets:
                deadline.check()
                self._add(packet)
                if self.first is None:
                    self._decode_first(packet)
        except VideoError:
            raise
        except failures() as error:
            self.clean = False
            self.problems.append(f"reading stopped after packet {len(self) - 1}: {reason(error)}")
        if self.first is None:
            self._decode_first(None)
        if self.first is None:
            raise VideoError(path, f"no frame decodes ({counted(len(self), 'packet')} read)", CONVERT)

    def _add(self, packet: Any) -> None:
        pts, dts = packet.dts if self.by_dts else packet.pts, packet.dts
        if self.pictures is not None:
            self.pictures.add(packet)
        self._shown.append(np.nan if pts is None else pts * self.tick)
        self._decoded.append(np.nan if dts is None else dts * self.tick)
        self._lasts.append((packet.duration or 0) * self.tick)
        target = pts if self._seeks_by_pts else dts
        self._rows.extend((-1 if packet.pos is None else packet.pos, -1 if target is None else target))
        self._keys.append(packet.is_keyframe)
        self._drops.append(packet.is_discard)
        if packet.is_corrupt:
            self.clean = False
            self.problems.append(f"packet {len(self) - 1} is cut or marked as damaged")

    def _decode_first(self, packet: Any) -> None:
        try:
            self.first = next(iter(decode_packet(self.stream, packet)), None)
        except failures():
            self.clean = False

    def stamps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Seconds of presentation and of decoding, float64 [packets] each; NaN where a packet has none."""
        shown, decoded = (np.array(seconds, dtype=np.float64) for seconds in (self._shown, self._decoded))
        if self.by_dts and np.isfinite(shown).any():
            known = np.isfinite(shown)
            shown = np.interp(np.arange(len(shown)), np.flatnonzero(known), shown[known])
        return shown, decoded

    @property
    def lasts(self) -> NDArray[np.float64]:
        """Seconds for which each packet's frame is shown, 0 where not known: float64 [packets]."""
        return np.array(self._lasts, dtype=np.float64)

    @property
    def keys(self) -> NDArray[np.bool_]:
        """Packets marked as key frames, at which decoding can start: bool [packets]."""
        return np.frombuffer(self._keys, dtype=np.uint8) > 0

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which packets are not marked to be discarded: bool [packets]."""
        return np.frombuffer(self._drops, dtype=np.uint8) == 0

    def places(self, keys: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number, byte position and seek timestamp of the packets that ``keys`` marks, int64 [keys, 3]; -1 where not
        known."""
        places = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, 2)
        found = np.column_stack((np.flatnonzero(keys), places[keys]))
        if len(np.unique(places[:, 0])) < len(places):
            found[:, 1:] = -1  # where packets share a position, a seek could not tell which one it found
        return found


@dataclass
class _Clock:
    """The times of the packets: seconds from the start of the file, repaired where a joined file starts again."""

    stamps: NDArray[np.float64]
    fps: float
    step: float
    joined: bool
    doubtful: bool


def _clock(packets: _Packets, container: Any) -> _Clock:
    stamps, decoded = packets.stamps()
    stream = packets.stream
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0.01 <= fps <= 1000:
        span = float(np.nanmax(stamps) - np.nanmin(stamps)) if np.isfinite(stamps).any() else 0.0
        fps = (len(stamps) - 1) / span if span > 0 else 25.0
    step = typical_step(stamps, 1 / fps)
    if not 0.45 < fps * step < 2.2:  # a container's guess for a rate that changes, or for a pause
        fps = 1 / step
    cut_anywhere = container.format.name in _CUT_ANYWHERE
    stamps, joined = continued(stamps, decoded, step, jumps_ahead=cut_anywhere)
    # After a pause, a frame that others refer to precedes them: only decoding shows whether its time is wrong.
    doubtful = bool(alone(stamps, step).any())
    kept = packets.kept
    stamps -= _start(container, stream, stamps[kept], packets.keys[kept], joined)
    return _Clock(stamps, fps, step, joined, doubtful)


def _start(
    container: Any, stream: Any, stamps: NDArray[np.float64], keys: NDArray[np.bool_], joined: bool
) -> float:
    """Second 0 of a file, on the clock of its packets.

    It is the start of the earliest stream, as in FFmpeg. If only its packets give the start of a stream, packets before
    the first key frame are ignored, because they cannot be decoded.

    Args:
        stamps: float64 [n] of the packets that make frames.
        keys: bool [n], decoding can start there.
        joined: the file is a concatenation, and the clocks of the later parts are ignored.
    """
    known = np.isfinite(stamps)
    if not known.any():
        return 0.0
    earliest = float(stamps[known].min())
    if container.start_time is None:
        return earliest
    cut_anywhere = container.format.name in _CUT_ANYWHERE
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


def _ranks(packets: _Packets, stamps: NDArray[np.float64], container: Any) -> tuple[NDArray[np.int64], bool]:
    """Ranks of the packets, int64 [packets], and whether their source (timestamps or picture types) is reliable."""
    kept = packets.kept
    if packets.pictures is not None:
        ranks, reliable = packets.pictures.ranks(), packets.pictures.complete
    else:
        times = stamps[kept]
        reliable = (
            container.format.name.startswith(_KEEPS_TIMESTAMPS)
            and bool(np.isfinite(times).all())
            and len(np.unique(times)) == len(times)
        )
        ranks = np.empty(len(stamps), dtype=np.int64)
        ranks[np.argsort(stamps, kind="stable")] = np.arange(len(stamps))
    if not kept.all():
        ranks = np.where(kept, np.cumsum(kept[np.argsort(ranks)])[ranks] - 1, -1)
    return ranks, reliable


def _scan(path: Path, unpack: bool, deadline: Deadline) -> FrameIndex:
    """Build the index from the packets; with ``unpack``, from those that come out of the filter for B-frames."""
    container, stream = open_container(path, deadline.limit_s)
    with container:
        packets = _Packets(container, stream)
        packets.read(path, demux(container, stream, unpack), deadline)
        clock = _clock(packets, container)
        ranks, reliable = _ranks(packets, clock.stamps, container)
        pictures, keys = packets.pictures, packets.keys
        clean = packets.clean and not clock.joined and not clock.doubtful
        packed, kinds = False, ""
        if pictures is not None:
            clean = clean and pictures.clean and not pictures.joined
            packed = pictures.packed
            keys &= np.array(pictures.types) == "I"
            if unpack:
                kinds = "".join(pictures.types[number] for number in np.argsort(ranks))
        first: Any = packets.first
        index = FrameIndex(
            codec=stream.codec_context.codec.canonical_name,
            fps=clock.fps,
            step=clock.step,
            tick=packets.tick,
            size=(first.width, first.height),
            upright=orientation(first),
            ranks=ranks,
            keys=keys,
            places=packets.places(keys),
            stamps=clock.stamps,
            in_order=not (packets.by_dts or packed or unpack),
            lasts=packets.lasts,
            times=np.empty(0),
            duration_s=0.0,
            unpack=packed or unpack,
            sequential=packed
            and pictures is not None
            and (pictures.joined or not pictures.unpacks_cleanly()),
            skip=stream.codec_context.name
            != "libdav1d",  # this decoder reads the setting only when it is opened
            trusted=clean and reliable,
            doubtful=clock.doubtful,
            kinds=kinds,
            problems=packets.problems,
        )
        promised = float((stream.duration or 0) * packets.tick)
    order = np.argsort(ranks, kind="stable")[np.count_nonzero(ranks < 0) :]
    if not len(order):  # every packet is marked to be discarded
        order = np.arange(len(ranks))
    index.set_times(order)
    span = index.duration_s - float(index.times[0])
    if clean and span > 0 and 1.05 * span + 1 < promised < 1e5:
        index.problems.append(f"the header promises {promised:.1f} s, the file holds {span:.1f} s")
        index.trusted = False
    return index
