"""Open files with PyAV, and turn every failure into a `praxiscope.errors.VideoError`."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from praxiscope.errors import VideoError
from praxiscope.video.sources import missing

__all__ = [
    "CONVERT",
    "Deadline",
    "decode_packet",
    "demux",
    "failures",
    "file_name",
    "open_container",
    "reason",
]

CONVERT = "Check that it plays; if so, convert it: ffmpeg -i OLD -c:v libx264 NEW.mp4."
_MOST_PIXELS = 1 << 28  # 16384 x 16384: beyond this a header is taken to lie
_TEXT = ("tty", "lrc")  # what FFmpeg would draw text of
# Formats of pictures that may hold several, and then are animations or motion JPEG; and what an mp4's brand says of a
# file that holds a picture.
_PICTURES = ("image2", "gif", "apng", "ico", "mjpeg")
_PICTURE_BRANDS = ("avif", "heic", "heix", "heim", "heis", "mif1", "miaf")


def failures() -> tuple[type[BaseException], ...]:
    """The exceptions that PyAV raises for files that it cannot read: FFmpeg's errors, some under Python's names."""
    import av

    return av.FFmpegError, OSError, ValueError, EOFError


def reason(error: BaseException) -> str:
    """The message of a failure, without FFmpeg's error number and file name."""
    return str(getattr(error, "strerror", None) or error)


class Deadline:
    """A limit on the time that one call may take."""

    def __init__(self, path: Path, limit_s: float) -> None:
        self.path, self.limit_s = path, limit_s
        self.restart()

    def restart(self) -> None:
        """Start the full time limit again."""
        self._end = time.monotonic() + self.limit_s

    def check(self, frame: int | None = None) -> None:
        """Raise VideoError once the time is over."""
        if time.monotonic() > self._end:
            raise _too_slow(self.path, self.limit_s, frame)


def _too_slow(path: Path, limit_s: float, frame: int | None = None) -> VideoError:
    remedy = "Raise the time limit, or convert the file to a smaller size."
    return VideoError(path, f"took longer than {limit_s:g} s", remedy, frame)


def open_container(path: Path, limit_s: float, *, motion_vectors: bool = False) -> tuple[Any, Any]:
    """Open a file; return PyAV's container and the video stream that a player shows.

    Of several video streams this is the best one for FFmpeg: the one that is marked as default, then the one with most
    frames and bits. Cover art is not a video stream.

    With ``motion_vectors`` the frames have the side data MOTION_VECTORS, where their codec exports any, and pixels that
    are not finished: they are not for viewing.

    Raises VideoError for a file that is missing, empty, no regular file, no video, or without a video stream.
    """
    import av
    from av.stream import Disposition

    leave_out = "Replace the file, or leave it out."
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe could wait for ever
            raise VideoError(path, "is not a regular file (but a folder, pipe or device)", leave_out)
        if found.st_size == 0:
            raise VideoError(path, "is empty (0 bytes)", leave_out)
        container = av.open(file_name(path), timeout=limit_s)
    except FileNotFoundError as error:
        raise missing(path) from error
    except (IsADirectoryError, PermissionError) as error:
        raise VideoError(
            path, f"cannot be read ({error.strerror})", "Check the path and its permissions."
        ) from error
    except VideoError:
        raise
    except av.error.ExitError as error:
        raise _too_slow(path, limit_s) from error
    except failures() as error:
        raise VideoError(
            path, f"is not a video, or its header is damaged ({reason(error)})", CONVERT
        ) from error
    try:
        if container.format.name in _TEXT:
            raise VideoError(path, "is not a video (but text)", leave_out)
        if _is_picture(path, container):
            raise VideoError(path, "is an image, not a video", "Leave it out, or give a folder of images.")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            held = sorted({s.type for s in container.streams if s.type != "video"}) or ["nothing"]
            raise VideoError(path, f"contains no video stream (only {', '.join(held)})", leave_out)
        best = container.streams.best("video")
        stream = (
            best if best in streams else max(streams, key=lambda s: bool(s.disposition & Disposition.default))
        )
        if stream.codec_context is None:
            raise VideoError(path, "has a codec that the installed FFmpeg does not support", CONVERT)
        if stream.codec_context.width * stream.codec_context.height > _MOST_PIXELS:
            size = f"{stream.codec_context.width} x {stream.codec_context.height}"
            raise VideoError(path, f"has frames of {size} pixels in its header, which is too large", CONVERT)
        stream.thread_type = "NONE"
        # One thread: the workers of a data loader run in parallel, and damage is found in order.
        stream.codec_context.thread_count = 1
        options = {"max_pixels": str(_MOST_PIXELS)}
        if stream.codec_context.name == "h264":
            # As with PyAV's own setting (slice threads): lost parts are not concealed.
            options["enable_er"] = "0"
        if motion_vectors:
            # Vectors are read from the stream, not from pixels: neither step changes them, and both take time.
            options |= {"flags2": "+export_mvs", "skip_loop_filter": "all", "skip_idct": "all"}
        stream.codec_context.options = options
    except BaseException:
        container.close()
        raise
    return container, stream


def file_name(path: Path) -> str:
    """A name that FFmpeg does not take for a protocol, as it would ``a:b.mp4``."""
    return str(path.absolute())


def _is_picture(path: Path, container: Any) -> bool:
    """Whether a file is a single image, whatever its name."""
    import av

    name = container.format.name
    if name.startswith("mov"):
        return container.metadata.get("major_brand") in _PICTURE_BRANDS
    if not (name.endswith("_pipe") or name in _PICTURES):
        return False
    try:
        with av.open(
            file_name(path)
        ) as second:  # not the first: what is read of a pipe's format does not come again
            packets = (packet for packet in second.demux(video=0) if packet.size)
            return len(list(islice(packets, 2))) < 2
    except failures():
        return False  # damaged, as decoding will say


def demux(container: Any, stream: Any, unpack: bool = False) -> Iterator[Any]:
    """Yield the packets of a stream, without the empty one that ends them.

    Raises one of `failures` where the file cannot be read.
    """
    if not unpack:
        yield from _packets(container, stream)
        return
    from av.bitstream import BitStreamFilterContext

    unpacker = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
    for packet in _packets(container, stream):
        yield from unpacker.filter(packet)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    more = True
    while more:
        more = False
        try:
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        except IndexError:
            more = True  # a packet of a stream that damage has made up, which PyAV does not know: go on behind it


def decode_packet(stream: Any, packet: Any) -> list[Any]:
    """Decode one packet (None: what the decoder still holds). Raises one of `failures` if it cannot."""
    frames: list[Any] = stream.codec_context.decode(packet)
    return frames
