"""Decode a whole file once, without converting pixels, and correct its index.

The frames of this pass are by definition the frames of the file.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from praxiscope.errors import VideoError
from praxiscope.video.container import (
    CONVERT,
    Deadline,
    decode_packet,
    demux,
    failures,
    open_container,
    reason,
)
from praxiscope.video.index import FrameIndex

__all__ = ["verify"]


def verify(path: Path, index: FrameIndex, deadline: Deadline, *, per_frame: bool = False) -> None:
    """Decode the whole file once and correct the index.

    Args:
        path: the file.
        index: changed in place.
        deadline: for the whole pass.
        per_frame: the deadline is for the time without a new frame instead.

    Raises:
        VideoError: no frame decodes, or the deadline has passed.
    """
    decoded = _Decoded(index)
    decoded.read(path, deadline, per_frame)
    index.verified = True
    _correct(index, decoded)


class _Decoded:
    """What a decoder returns for the packets of a file.

    Attributes:
        packets: number of packets read.
        order: the packet of each frame, in the order in which frames came; -1 where the frame does not tell.
        plain: packets of frames that are not key frames, whatever the container says; -1 likewise.
        kinds: types (I, P, B, S) of the frames, where B-frames are packed.
        damaged: damage was met.
    """

    def __init__(self, index: FrameIndex) -> None:
        self._index = index
        self.packets = 0
        # Arrays, not lists of objects: a film has hundreds of thousands of frames.
        self.order, self.plain = array("q"), array("q")
        self.kinds: list[str] = []
        self.damaged = False

    def _damage(self, problem: str) -> None:
        self._index.add_problem(problem)
        self.damaged = True

    def read(self, path: Path, deadline: Deadline, per_frame: bool) -> None:
        """Decode all packets. Raises VideoError if no frame decodes or the deadline has passed."""
        container, stream = open_container(path, deadline.limit_s)
        with container, _decoder_messages() as messages:
            try:
                for packet in demux(container, stream):
                    deadline.check(len(self.order))
                    packet.pts = self.packets
                    if self._decode(stream, packet) and per_frame:
                        deadline.restart()
                    self.packets += 1
            except VideoError:
                raise
            except failures() as error:
                self._damage(f"reading stopped after packet {self.packets - 1}: {reason(error)}")
            self._decode(stream, None)
        if not self.order:
            raise VideoError(path, f"no frame decodes ({self.packets} packets read)", CONVERT)
        if messages:
            self._damage(f"the decoder reports: {messages[0]}")

    def _decode(self, stream: Any, packet: Any) -> bool:
        """Decode a packet, or with None what the decoder still holds; return whether a frame came."""
        try:
            frames = decode_packet(stream, packet)
        except failures() as error:
            what = "the end" if packet is None else f"packet {self.packets}"
            self._damage(f"{what} did not decode: {reason(error)}")
            return False
        for frame in frames:
            if frame.is_corrupt:
                self._damage(f"frame {len(self.order)} is damaged")
            number = -1 if frame.pts is None else frame.pts
            self.order.append(number)
            if self._index.unpack:
                self.kinds.append("?IPBS????"[frame.pict_type])
            if not frame.key_frame:
                self.plain.append(number)
        return bool(frames)


def _correct(index: FrameIndex, decoded: _Decoded) -> None:
    """Correct an index by the frames that were decoded."""
    frames, packets = len(decoded.order), decoded.packets
    # order [N]: the packet of each frame.
    order = np.array(decoded.order, dtype=np.int64)
    known = bool((order >= 0).all()) and len(np.unique(order)) == frames and packets == len(index.ranks)
    if known:
        index.record_lost(order)
    if index.unpack:
        # The decoder was given the packed packets; the index describes the unpacked ones.
        index.sequential |= decoded.damaged or "".join(decoded.kinds) != index.kinds or frames != len(index)
    else:
        index.sequential = decoded.damaged or not known
        if not index.sequential:
            plain = np.array(decoded.plain, dtype=np.int64)
            index.keys[plain[plain >= 0]] = False
    if index.sequential or not index.unpack:
        index.set_times(order)
        if known:
            index.ranks = np.full(packets, -1, dtype=np.int64)
            index.ranks[order] = np.arange(frames)
    if index.times[0] < 0:  # frames before the first key frame did decode
        index.stamps -= index.times[0]
        index.duration_s -= float(index.times[0])
        index.times = index.times - index.times[0]
    index.trusted = not index.sequential


class _decoder_messages:
    """Collect the errors that the decoder logs in this thread. Damage that it conceals raises no exception."""

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
