"""Frames of live video: their times, and a reader that keeps only the newest.

Axis letters: H rows, W columns. Importing this file imports neither torch nor PyAV.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LiveFrame", "LiveSource", "NewestFrame", "Note", "StreamClock", "at_rate"]

Note = Callable[[str], None]

_LONGEST_STEP_S = 10.0  # a longer step of a stream's clock is a jump, not time that has passed
_NEAR_S = 1e-3  # streams round times to milliseconds
_STEP_S = 0.5


@dataclass(frozen=True)
class LiveFrame:
    """A frame of a live source.

    Attributes:
        time_s: seconds since the first frame of the source, by the stream's clock.
        pixels: short side in pixels (None: that of the stream) -> the frame, uint8 [3, H, W], RGB. Slow, so that
            frames that are dropped cost little.
        arrived_s: when the frame was there, on the clock `time.monotonic`.
        stretch: how often the source was lost before. Frames of two stretches are not consecutive.
    """

    time_s: float
    pixels: Callable[[int | None], Tensor]
    arrived_s: float
    stretch: int = 0


@runtime_checkable
class LiveSource(Protocol):
    """A source of live video."""

    @property
    def name(self) -> str:
        """What messages call it; without passwords."""
        ...

    def frames(self, stop: threading.Event, note: Note) -> Iterator[LiveFrame]:
        """Yield frames when they are there, until the source ends or ``stop`` is set.

        Runs in a thread of its own. A wait must end soon after ``stop`` is set.

        Args:
            stop: set when no more frames are wanted.
            note: called with messages for the user.

        Raises:
            VideoError: the source cannot be opened, or is lost for good.
        """
        ...


class StreamClock:
    """Times of frames since the first one, which go on where a stream's own clock is missing, jumps or restarts."""

    def __init__(self) -> None:
        self._last: tuple[float | None, float, float] | None = None  # stamp, time, arrival

    def time_s(self, stamp_s: float | None, arrived_s: float, *, again: bool = False) -> float:
        """The time of the next frame.

        Args:
            stamp_s: its time on the stream's clock, if it has one.
            arrived_s: its time of arrival, for the time that has passed where the stream's clock does not tell.
            again: the frame is the first one after the source was lost.
        """
        now_s = 0.0
        if self._last is not None:
            stamp, now_s, arrival = self._last
            step_s = math.nan if stamp is None or stamp_s is None or again else stamp_s - stamp
            now_s += step_s if 0 < step_s < _LONGEST_STEP_S else max(arrived_s - arrival, 1e-6)
        self._last = stamp_s, now_s, arrived_s
        return now_s


def at_rate(frames: Iterator[LiveFrame], fps: float | None) -> Iterator[LiveFrame]:
    """The frames that a model at a frame rate reads: the first one at or after each k / fps seconds of a stretch.

    A source with fewer frames per second gives each frame once.

    Args:
        frames: in order.
        fps: frames per second; None: all frames.
    """
    stretch, first_s, done = -1, 0.0, 0
    for frame in frames:
        if fps is None:
            yield frame
            continue
        if frame.stretch != stretch:
            stretch, first_s, done = frame.stretch, frame.time_s, 0
        passed = math.floor((frame.time_s - first_s + _NEAR_S) * fps) + 1  # instants up to now
        if passed > done:
            done = passed
            yield frame


class NewestFrame:
    """Reads a source in a thread, and keeps its newest frame only: frames that nobody took in time are dropped.

    Args:
        source: the source; read from the first call of ``next`` on.
        fps: see `at_rate`; other frames are neither read nor counted.
        note: called, in the thread, with messages for the user.

    Attributes:
        read: number of frames that came.
        dropped: number of frames that the next one replaced before they were taken.
    """

    def __init__(self, source: LiveSource, fps: float | None, note: Note) -> None:
        if fps is not None and not 0 < fps < math.inf:
            raise ArgumentError(f"fps must be a number above 0, got {fps}")
        self.source, self.fps, self.note = source, fps, note
        self.read = self.dropped = 0
        self._stop = threading.Event()
        self._change = threading.Condition()
        self._newest: LiveFrame | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[LiveFrame]:
        return self

    def __next__(self) -> LiveFrame:
        """Wait for the next frame.

        Raises:
            StopIteration: the source has ended, or `close` was called.
            VideoError: the source cannot be read.
        """
        if self._thread is None and not self._stop.is_set():
            # As a daemon: FFmpeg may hold a thread for as long as its time limit, which must not hold the program.
            self._thread = threading.Thread(target=self._run, name=f"reads {self.source.name}", daemon=True)
            self._thread.start()
        with self._change:
            # In steps: a Ctrl-C right before a wait is noticed only when the wait is over.
            while not self._change.wait_for(self._is_something_new, _STEP_S):
                pass
            frame, self._newest = self._newest, None
        if frame is not None and not self._stop.is_set():
            return frame
        if self._error is not None and not self._stop.is_set():
            raise self._error
        raise StopIteration

    def _is_something_new(self) -> bool:
        return self._newest is not None or self._ended or self._stop.is_set()

    def _run(self) -> None:
        frames: Any = self.source.frames(self._stop, self.note)
        try:
            for frame in at_rate(frames, self.fps):
                with self._change:
                    self.read += 1
                    self.dropped += self._newest is not None
                    self._newest = frame
                    self._change.notify_all()
                if self._stop.is_set():
                    break
        except BaseException as error:  # raised where the frames are taken
            self._error = error
        finally:
            frames.close()
            with self._change:
                self._ended = True
                self._change.notify_all()

    def close(self, wait_s: float = 1.0) -> None:
        """Stop reading, and wait up to ``wait_s`` seconds until the source is closed."""
        self._stop.set()
        with self._change:
            self._change.notify_all()
        thread = self._thread
        # Ctrl-C may come before the thread has started, and only a started one can be waited for.
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(wait_s)
