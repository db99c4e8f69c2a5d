"""The index of a video file: which packet makes which frame, and when each frame is shown.

A packet's *rank* is the number of the frame that it makes, in presentation order; -1 where it makes none. Before a
packet goes to the decoder its timestamp is replaced by its rank, so every decoded frame carries its own number: a wrong
index cannot return a wrong frame unnoticed.

`praxiscope.video.scan` builds an index from the packets of a file. `praxiscope.video.verify` decodes the whole file and
corrects the index. After that pass the ranks are exact, unless damage was met: then frames depend on what was decoded
before them, and are counted from the start each time (`sequential`).

The time of a frame is that of its packet, so a frame that does not decode moves no other frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from praxiscope.units import counted
from praxiscope.video.pixels import Orientation
from praxiscope.video.times import as_shown, shown_for

__all__ = ["MANY", "FrameIndex"]

MANY = 20_000
"""Packets of a file of which FFmpeg's tables are long: memory that opening or scanning one took and freed is returned
to the system at once."""
_MOST_PROBLEMS = 20


@dataclass
class FrameIndex:
    """What is known about the frames of a file.

    Attributes:
        codec: FFmpeg's name of the codec.
        fps: frames per second.
        step: typical seconds from a frame to the next.
        tick: seconds of one count of the container's clock.
        size: (width, height) of the first frame as coded; other frames are scaled to it.
        upright: how the frames are set upright.
        ranks: int64 [packets], in decode order.
        keys: bool [packets], decoding can start here.
        places: int64 [keys, 3], of the packets at which decoding can start: number, byte position and the timestamp to
            seek to; -1 where not known.
        stamps: float64 [packets] seconds from the start of the file, from each packet; NaN where it has none. In AVI,
            whose packets have times of decoding only, those.
        in_order: each stamp belongs to the frame of its own packet.
        lasts: float64 [packets] seconds for which each packet's frame is shown; 0 where not known.
        times: float64 [N] seconds from the start of the file at which each frame is shown.
        duration_s: seconds from the start of the file to the end of the last frame.
        unpack: B-frames are packed; the packets above are those that come out of the filter that unpacks them.
        trusted: the ranks may be used before a full decode has confirmed them.
        doubtful: the time of a packet is far from those around it, which may be correct.
        verified: the whole file has been decoded once.
        sequential: frames can only be counted from the start.
        skip: the decoder may skip frames that are not needed.
        kinds: types (I, P, B, S) of the frames in order, where B-frames are packed; else empty.
        problems: damage found so far, one clause each.
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

    def add_problem(self, problem: str) -> None:
        """Record a problem, once; at most 20 are kept."""
        if problem not in self.problems and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def time_of(self, packet: int | None) -> float:
        """When the frame of a packet is shown, in seconds; NaN where this is not known."""
        if packet is None or not 0 <= packet < len(self.ranks) or self.ranks[packet] < 0:
            return math.nan
        return float(self.times[self.ranks[packet]])

    def set_times(self, packets: NDArray[np.int64]) -> None:
        """Set the times of the frames.

        Args:
            packets: int64 [N], the packet of each frame in order; -1 where not known.
        """
        if packets.max() >= len(self.stamps):
            self.times = np.arange(len(packets), dtype=np.float64) * self.step
        else:
            stamps = np.append(self.stamps, np.nan)[packets]
            self.times = as_shown(stamps, self.step, in_order=self.in_order, doubtful=self.doubtful)
        last = packets[-1] if packets[-1] < len(self.lasts) else -1
        self.duration_s = float(self.times[-1]) + shown_for(float(np.append(self.lasts, 0)[last]), self.step)

    def record_lost(self, decoded: NDArray[np.int64]) -> None:
        """Record the frames that did not decode, in `lost` and `problems`.

        Args:
            decoded: int64 [n], the packets whose frames were decoded.
        """
        came = np.zeros(len(self.ranks), dtype=bool)
        came[decoded] = True
        if came[self.ranks >= 0].all():
            return
        times = np.append(self.times, np.nan)[self.ranks]  # [packets]; NaN for those that make no frame
        # Frames before second 0 cannot be shown: they precede the first key frame of a stream that was cut out.
        gone = np.sort(times[~came & (times > -0.5 * self.step)])
        shown = np.sort(times[came & np.isfinite(times)])
        # The second field of a frame makes no frame of its own: its time is half a step from another one.
        if len(shown):
            after = np.searchsorted(shown, gone)
            near = np.minimum(
                np.abs(gone - shown[np.minimum(after, len(shown) - 1)]),
                np.abs(gone - shown[np.maximum(after - 1, 0)]),
            )
            gone = gone[near > 0.6 * self.step]
        if not len(gone):
            return
        # A stretch ends where a frame between two lost ones did decode.
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
        if problem not in self.problems:  # first in the list: this is what the damage means for the user
            self.problems.insert(0, problem)
