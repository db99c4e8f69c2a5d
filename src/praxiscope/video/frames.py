"""Decode chosen frames of a file, or all frames in order, with the help of its index.

Chosen frames are decoded by one pass over the packets in which the decoder receives only what it needs: from the key
frame before a wanted frame to that frame, without the B-frames that are not wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope._memory import trim_memory
from praxiscope.errors import VideoError
from praxiscope.video import container as files
from praxiscope.video.container import CONVERT, Deadline
from praxiscope.video.index import MANY, FrameIndex
from praxiscope.video.times import rising

__all__ = ["count_frames", "read_frames"]

_WORTH_SEEKING = 500  # packets to pass over; reading fewer is as fast as a seek


def count_frames(
    path: Path, index: FrameIndex, deadline: Deadline, *, motion_vectors: bool = False
) -> Iterator[tuple[int, Any, float]]:
    """Decode all frames in order.

    Args:
        path: the file.
        index: of the file.
        deadline: for the whole call.
        motion_vectors: export them, see `praxiscope.video.container.open_container`.

    Yields:
        Number, PyAV frame and time in seconds of each frame. Times rise.

    Raises:
        VideoError: no frame decodes, or the deadline has passed.
    """
    count, read = 0, 0
    before = -math.inf
    came, newest = np.zeros(len(index.ranks), dtype=bool), -1  # flags: a film has very many packets
    container, stream = files.open_container(path, deadline.limit_s, motion_vectors=motion_vectors)
    if len(index.ranks) > MANY:
        trim_memory()
    with container:
        packets = files.demux(container, stream)
        more = True
        while more:
            deadline.check(count)
            try:
                packet = next(packets, None)
                more = packet is not None
                if packet is not None:
                    packet.pts = read  # so that each decoded frame names its packet
                frames = files.decode_packet(stream, packet)
            except files.failures() as error:
                what = f"packet {read}" if more else "the end"
                index.add_problem(f"{what} did not decode: {files.reason(error)}")
                frames = []
            read += 1
            for frame in frames:
                at = index.time_of(None if index.verified else frame.pts)
                if math.isnan(at):
                    at = float(index.times[count]) if count < len(index) else before + index.step
                if frame.pts is not None:
                    came[frame.pts : frame.pts + 1] = True
                    newest = max(newest, frame.pts)
                before = rising(at, before, index.step)
                yield count, frame, before
                count += 1
    if count == 0:
        raise VideoError(path, f"no frame decodes ({read} packets read)", CONVERT)
    if not index.verified and newest < len(index.ranks) == read - 1:
        index.record_lost(np.flatnonzero(came))


def read_frames(
    path: Path, index: FrameIndex, wanted: Sequence[int], deadline: Deadline
) -> Iterator[tuple[int, Any]]:
    """Decode chosen frames.

    Args:
        path: the file.
        index: of the file.
        wanted: numbers of frames, ascending.
        deadline: for the whole call.

    Yields:
        Number and PyAV frame, ascending. Frames that are not wanted may be among them. Ends early where what is decoded
        does not agree with the index.
    """
    if not len(wanted):
        return
    if index.sequential:
        last = wanted[-1]
        for number, frame, _ in count_frames(path, index, deadline):
            yield number, frame
            if number >= last:
                return
        return
    feed, need = _plan(index, np.asarray(wanted))
    before = -1
    starts = set(index.ranks[np.flatnonzero(feed & ~np.r_[False, feed[:-1]])].tolist())
    for frame in _decoded(path, index, feed, need, deadline):
        number = frame.pts
        if number is None or number <= before or number >= len(index):
            return
        if number in starts and not frame.key_frame:
            return  # the container marks a frame as key frame that is none
        before = number
        yield number, frame


def _decoded(
    path: Path, index: FrameIndex, feed: NDArray[np.bool_], need: NDArray[np.bool_], deadline: Deadline
) -> Iterator[Any]:
    """Frames that a decoder returns for the packets that ``feed`` marks; it may omit those without ``need``."""
    numbers = np.flatnonzero(feed)
    at, last = int(numbers[0]), int(numbers[-1])
    container, stream = files.open_container(path, deadline.limit_s)
    packets = _seek(index, at, container, stream)
    if packets is None:
        if at >= _WORTH_SEEKING:  # the seek may have left the container anywhere
            container.close()
            container, stream = files.open_container(path, deadline.limit_s)
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
            # Not reported here: where frames are missing, the caller decodes the whole file.
            return


def _seek(index: FrameIndex, number: int, container: Any, stream: Any) -> Iterator[Any] | None:
    """The packets from packet ``number`` on, or None where a seek saves no time or does not find it."""
    found = index.places[index.places[:, 0] == number]
    if not len(found):
        return None
    _, place, stamp = found[0].tolist()
    if number < _WORTH_SEEKING or index.unpack or place < 0 or stamp < 0:
        return None
    try:
        container.seek(stamp, stream=stream)
        packets = files.demux(container, stream)
        for packet in packets:
            if packet.pos == place:
                return chain([packet], packets)
            if packet.pos is None or packet.pos > place:
                return None
    except files.failures():
        pass
    return None


def _plan(index: FrameIndex, wanted: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which packets the decoder must receive, and which of them make wanted frames: bool [packets] each.

    A frame is decoded from the last key frame that precedes it both in the file and in presentation order, because the
    leading frames of an open group of pictures refer to the group before.
    """
    count = len(index.ranks)
    need = np.zeros(count, dtype=bool)
    need[np.isin(index.ranks, wanted)] = True
    positions = np.flatnonzero(need)
    # The second field of a frame makes no frame of its own: it belongs to the packet before.
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
