"""Sources of live video: a camera, an address, standard input, a file at its own pace, frames of a program.

Only the address that the user gives is contacted. Nothing waits for connections; ``udp://`` has no connections, so the
port that the address names is opened for its packets.

Importing this file imports neither torch nor PyAV.
"""

from __future__ import annotations

import math
import os
import re
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video.live_frames import LiveFrame, LiveSource, Note, StreamClock
from praxiscope.video.sources import is_address

__all__ = [
    "Camera",
    "FileAtItsPace",
    "GivenFrames",
    "NetworkStream",
    "StandardInput",
    "is_live",
    "live_source",
]

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp")
TIMEOUT_S = 10.0
_PAUSES_S = (1.0, 30.0)  # the first pause before a source is opened again, doubled each time, and the longest

# Where a stream may lead FFmpeg, such as the parts of an HLS playlist: never to files.
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto"
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "rtsp": {"rtsp_flags": "prefer_tcp"},
    "rtsps": {"rtsp_flags": "prefer_tcp"},
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000"},
}


def is_live(source: object) -> bool:
    """Whether a source of ``predict`` is live by its name: an address, or "-", of which no file exists."""
    return isinstance(source, str) and (source == "-" or is_address(source)) and not os.path.lexists(source)


def live_source(source: object) -> LiveSource:
    """The source of live video that a user names.

    Args:
        source: the number of a camera, or its device ``/dev/videoN``; an ``rtsp://``, ``http://`` or ``udp://``
            address; "-" for standard input; the path of a video, which is read at its own pace; an iterable of pairs of
            a time in seconds and a frame uint8 [H, W, 3]; or a `LiveSource`.

    Raises:
        ArgumentError: not a source, or an address of another kind.
        VideoError: there is no such file or camera.
    """
    if isinstance(source, LiveSource):
        return source
    if isinstance(source, int) and not isinstance(source, bool):
        return Camera(source)
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if isinstance(name, str) and re.fullmatch("/dev/video[0-9]+", name):
            return Camera(int(name.removeprefix("/dev/video")))
        if is_live(source):
            return StandardInput() if source == "-" else NetworkStream(str(source))
        return FileAtItsPace(Path(os.fsdecode(name)))
    if isinstance(source, Iterable) and not isinstance(source, bytes | Mapping):
        return GivenFrames(source)
    raise ArgumentError(
        "a live source is the number of a camera, an address, '-', the path of a video, or an iterable of "
        f"(seconds, frame) pairs; got {type(source).__name__}"
    )


class _Stream:
    """A source that FFmpeg opens, and opens again when it is lost."""

    name: str
    timeout_s = TIMEOUT_S
    pauses_s: tuple[float, float] | None = _PAUSES_S  # None: a source that ends is not opened again

    def _open(self, stop: threading.Event) -> Any:
        """Open PyAV's container. Raises one of `praxiscope.video.container.failures`."""
        raise NotImplementedError

    def _refused(self, reason: str) -> VideoError:
        """The error of a source that cannot be opened at first."""
        return VideoError(self.name, f"cannot be opened ({reason})", "Check that it is running.")

    def frames(self, stop: threading.Event, note: Note) -> Iterator[LiveFrame]:
        """See `LiveSource.frames`."""
        from praxiscope.video.container import failures

        clock, stretch, tries, seen = StreamClock(), 0, 0, False
        arrived_s = lost_s = time.monotonic()
        while not stop.is_set():
            ended, container = "it ended", None
            try:
                container = self._open(stop)
                finite, begun_s = _is_finite(container), None
                asked_s = math.inf  # for the next frame
                for stamp_s, pixels in _decoded(container, self.name, stop):
                    # At its time limit, FFmpeg gives a frame that it held because the next had not begun.
                    if time.monotonic() - asked_s >= self.timeout_s:
                        continue
                    arrived_s = time.monotonic()
                    again = seen and tries > 0
                    if again:
                        note(f"{self.name}: back after {arrived_s - lost_s:.0f} s.")
                        stretch += 1
                    tries, seen = 0, True
                    time_s = clock.time_s(stamp_s, arrived_s, again=again)
                    if finite:  # a file, which would come as fast as the network is
                        begun_s = arrived_s - time_s if begun_s is None else begun_s
                        if stop.wait(max(begun_s + time_s - arrived_s, 0)):
                            return
                        arrived_s = time.monotonic()
                    yield LiveFrame(time_s, pixels, arrived_s, stretch)
                    asked_s = time.monotonic()
                if self.pauses_s is None or finite:
                    return
            except failures() as error:
                if isinstance(error, VideoError):
                    raise
                if stop.is_set():
                    return
                ended = _why(error)
                if not seen:
                    raise self._refused(ended) from None  # FFmpeg's message holds the password of an address
                if self.pauses_s is None:
                    raise VideoError(self.name, f"was lost ({ended})", "Start it again.") from error
            finally:
                if container is not None:
                    container.close()
            if stop.is_set():
                return
            if tries == 0:
                lost_s = arrived_s  # when the last frame came
            pause_s = min(self.pauses_s[0] * 2 ** min(tries, 16), self.pauses_s[1])
            tries += 1
            gone_s = time.monotonic() - lost_s
            since = f", for {gone_s:.0f} s now" if tries > 1 else ""
            note(f"{self.name}: no frames ({ended}){since}. Trying again in {pause_s:g} s.")
            stop.wait(pause_s)


def _is_finite(container: Any) -> bool:
    """Whether a source has an end, as the file of an HTTP address has."""
    sized = container.format.name not in ("hls", "dash") and container.size > 0  # of these, that of a list
    return bool(container.duration) or sized


def _why(error: BaseException) -> str:
    from av.error import ExitError

    from praxiscope.video.container import reason

    return "nothing came in time" if isinstance(error, ExitError) else reason(error)


def _decoded(container: Any, name: str, stop: threading.Event) -> Iterator[tuple[float | None, Any]]:
    """Yield the stamp of each frame in seconds, and the function of its pixels."""
    from av import FFmpegError

    if not container.streams.video:
        raise VideoError(name, "contains no video stream", "Give another source.")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # threads for whole frames would hold a frame back for each
    pixels = Pixels()
    for packet in container.demux(stream):
        if stop.is_set():
            return
        try:
            decoded = packet.decode()
        except FFmpegError:
            continue  # damaged, or without the key frame that it needs
        for frame in decoded:
            yield frame.time, pixels.of(frame)


class Pixels:
    """Converts frames of PyAV, whose size may change."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None
        self._convert: Any = None

    def of(self, frame: Any) -> Any:
        """The function of a frame's pixels, see `LiveFrame.pixels`."""
        from praxiscope.video.pixels import Converter, orientation

        if (frame.width, frame.height) != self._size:
            self._size = frame.width, frame.height
            self._convert = Converter(self._size, orientation(frame))
        convert = self._convert

        def rgb(short_side: int | None) -> Any:
            import torch

            return torch.from_numpy(convert(frame, short_side)).permute(2, 0, 1)

        return rgb


class Camera(_Stream):
    """A camera of this machine, ``/dev/videoN`` on Linux.

    Args:
        number: N.

    Raises:
        ArgumentError: a negative number, or another system than Linux.
        VideoError: there is no such camera.
    """

    def __init__(self, number: int) -> None:
        if number < 0:
            raise ArgumentError(f"camera must be a number of 0 or more, got {number}")
        if not sys.platform.startswith("linux"):
            raise ArgumentError(
                f"camera {number}: cameras are read on Linux only. Send its video with FFmpeg: ffmpeg … -f mpegts - | "
                "praxiscope predict RUN -"
            )
        self.name = f"/dev/video{number}"
        if not os.path.exists(self.name):  # noqa: PTH110
            found = sorted(str(path) for path in Path("/dev").glob("video[0-9]*"))
            here = f"Cameras here: {', '.join(found)}." if found else "This machine has no camera."
            raise VideoError(self.name, "does not exist", here)

    def _open(self, stop: threading.Event) -> Any:
        import av

        return av.open(self.name, format="v4l2", timeout=TIMEOUT_S)

    def _refused(self, reason: str) -> VideoError:
        remedy = "Check that no other program uses it, and that you may read it."
        return VideoError(self.name, f"cannot be opened ({reason})", remedy)


class NetworkStream(_Stream):
    """A stream of an RTSP, HTTP or UDP address. It is opened again when it is lost, after growing pauses.

    Args:
        address: the address.
        timeout_s: seconds without an answer or a frame after which it is lost.
        pauses_s: the first pause and the longest one, seconds.

    Raises:
        ArgumentError: an address of another kind.
    """

    def __init__(
        self, address: str, *, timeout_s: float = TIMEOUT_S, pauses_s: tuple[float, float] = _PAUSES_S
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme.lower() not in SCHEMES:
            raise ArgumentError(
                f"{address}: live video comes from {', '.join(f'{scheme}://' for scheme in SCHEMES)} addresses, "
                "cameras, '-' (standard input) and files."
            )
        if re.search("[?&]listen", address):
            raise ArgumentError(f"{address}: praxiscope does not wait for connections. Leave 'listen' out.")
        self.address, self.timeout_s, self.pauses_s = address, timeout_s, pauses_s
        self.scheme = parts.scheme.lower()
        self.name = (
            address.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else address
        )

    def _open(self, stop: threading.Event) -> Any:
        import av

        options = {"protocol_whitelist": _PROTOCOLS, **_OPTIONS.get(self.scheme, {})}
        return av.open(self.address, options=options, timeout=self.timeout_s)

    def _refused(self, reason: str) -> VideoError:
        remedy = "Check the address, and that the sender is running."
        return VideoError(self.name, f"gives no video ({reason})", remedy)


class StandardInput(_Stream):
    """A video that another program writes to standard input, as fast as it comes."""

    name = "standard input"
    pauses_s = None

    def _open(self, stop: threading.Event) -> Any:
        import av

        self._pipe = _Pipe(sys.stdin.fileno(), stop)
        return av.open(self._pipe)

    def _refused(self, reason: str) -> VideoError:
        remedy = "Send one that needs no seeking: ffmpeg -re -i FILE -f mpegts - | praxiscope predict RUN -"
        problem = f"is not a video ({reason})" if self._pipe.given else "is empty"
        return VideoError(self.name, problem, remedy)


class _Pipe:
    """A file descriptor that is read until it ends, or ``stop`` is set."""

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        self.descriptor, self.stop = descriptor, stop
        self.given = False  # whether anything came

    def read(self, size: int) -> bytes:
        while not self.stop.is_set():
            if sys.platform == "win32" or select.select([self.descriptor], [], [], 0.2)[0]:
                found = os.read(self.descriptor, size)
                self.given |= bool(found)
                return found
        return b""


class FileAtItsPace:
    """A video file, or a folder of frames, whose frames come at their times.

    Args:
        path: the file.

    Raises:
        VideoError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        from praxiscope.video.sources import check_there

        check_there(path)
        self.path = path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def frames(self, stop: threading.Event, note: Note) -> Iterator[LiveFrame]:
        """See `LiveSource.frames`."""
        from praxiscope.video.opening import open_video

        begin_s = time.monotonic()
        first_s: float | None = None
        for frame in open_video(self.path).decode():
            if first_s is None:
                first_s, begin_s = frame.time_s, time.monotonic()
            due_s = begin_s + frame.time_s - first_s
            if stop.wait(max(due_s - time.monotonic(), 0)):
                return
            yield LiveFrame(frame.time_s - first_s, frame.rgb, time.monotonic())


class GivenFrames:
    """Frames that a program takes from elsewhere.

    Args:
        pairs: yields a time in seconds, ascending, and a frame uint8 [H, W, 3] in RGB, an array or tensor, which is not
            changed later.
    """

    name = "frames"

    def __init__(self, pairs: Iterable[Any]) -> None:
        self.pairs = pairs

    def frames(self, stop: threading.Event, note: Note) -> Iterator[LiveFrame]:
        """See `LiveSource.frames`."""
        import numpy as np
        from av import VideoFrame

        pixels, first_s = Pixels(), None
        for number, pair in enumerate(self.pairs):
            if stop.is_set():
                return
            try:
                time_s, given = pair
                array = np.asarray(given)
                seconds = float(time_s)
            except (TypeError, ValueError):
                raise ArgumentError(f"item {number}: expected a pair (seconds, frame)") from None
            if not math.isfinite(seconds):
                raise ArgumentError(f"frame {number}: expected a time in seconds, got {seconds}")
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
                raise ArgumentError(
                    f"frame {number}: expected uint8 [H, W, 3], got {array.dtype} {list(array.shape)}"
                )
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            first_s = seconds if first_s is None else first_s
            yield LiveFrame(seconds - first_s, pixels.of(frame), time.monotonic())
