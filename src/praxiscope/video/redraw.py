"""Write a video again with other pixels: at the same times, upright, and with its sound.

H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.video.container import failures
from praxiscope.video.decode import DecodedFrame, Video

__all__ = ["SUFFIXES", "check_written", "redraw"]

SUFFIXES = (".mp4", ".mov", ".mkv")
"""Files that can be written."""

_CLOCK = Fraction(1, 60000)  # a whole number of ticks for 24, 25, 30000/1001 and 60 frames per second
_CODEC, _OPTIONS = "libx264", {"crf": "20", "preset": "veryfast"}


def check_written(path: str | Path) -> Path:
    """Return the path of a video to write. Raises ArgumentError for a name without a known suffix."""
    out = Path(path)
    if out.suffix.lower() not in SUFFIXES:
        raise ArgumentError(f"{path}: a video is written to a file that ends in {', '.join(SUFFIXES)}.")
    return out


def redraw(
    video: Video,
    out: str | Path,
    draw: Callable[[NDArray[np.uint8], float], NDArray[np.uint8]],
    advance: Callable[[], None] = lambda: None,
) -> bool:
    """Write a video with changed frames, a few at a time.

    Args:
        video: the video.
        out: the file, with a suffix in `SUFFIXES`; it is replaced when the new one is complete.
        draw: pixels uint8 [H, W, 3], upright, and seconds from the start, to pixels of the same shape.
        advance: called after each frame.

    Returns:
        Whether the video has sound that could not be kept.

    Raises:
        ArgumentError: ``out`` is the video itself, or has no known suffix.
        VideoError: the video cannot be read.
        OSError: ``out`` cannot be written.
    """
    import av

    path = check_written(out)
    if path.exists() and Path(video.path).exists() and path.samefile(video.path):
        raise ArgumentError(f"{out}: is the video itself. Name another file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        with av.open(str(part), "w") as container, _Sound(Path(video.path), container) as sound:
            _write(video, container, sound, draw, advance)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return sound.lost


def _write(
    video: Video,
    container: Any,
    sound: _Sound,
    draw: Callable[[NDArray[np.uint8], float], NDArray[np.uint8]],
    advance: Callable[[], None],
) -> None:
    import av

    stream: Any = None
    last = -1
    for frame, end_s in _with_ends(video):
        pixels = _even(draw(frame.array(), frame.time_s))
        if stream is None:
            stream = container.add_stream(_CODEC, rate=round(max(video.fps, 1)), options=_OPTIONS)
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _CLOCK
            stream.codec_context.sample_aspect_ratio = _aspect(Path(video.path), frame)
        made = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        last = max(round(frame.time_s / _CLOCK), last + 1)
        made.pts, made.time_base = last, _CLOCK
        made.duration = max(round(end_s / _CLOCK) - last, 1)
        container.mux(stream.encode(made))
        sound.write_until(frame.time_s)
        advance()
    container.mux(stream.encode(None))
    sound.write_until(None)


def _with_ends(video: Video) -> Iterator[tuple[DecodedFrame, float]]:
    """The frames, and the time at which each goes."""
    before: DecodedFrame | None = None
    for frame in video.decode():
        if before is not None:
            yield before, frame.time_s
        before = frame
    assert before is not None  # a video without frames was refused
    yield before, video.end_of(before.time_s)


def _aspect(path: Path, frame: DecodedFrame) -> Fraction:
    """Width over height of a pixel of the upright frame."""
    import av

    try:
        with av.open(str(path)) as container:
            found = container.streams.video[0].sample_aspect_ratio
    except failures():  # frames that are no file of FFmpeg, such as a folder or a packed clip
        found = None
    ratio = Fraction(found or 1)
    return 1 / ratio if frame.upright.transposed else ratio


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With an even number of rows and columns, which the codecs need."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return pixels


class _Sound:
    """The first sound stream of a file, copied, or encoded again where the new file cannot hold its codec."""

    def __init__(self, source: Path, container: Any) -> None:
        import av

        self.lost = False
        self._source: Any = None
        self._container = container
        if not source.is_file():
            return
        try:
            self._source = av.open(str(source))
        except failures():  # frames that are no file of FFmpeg, such as a packed clip
            return
        if not self._source.streams.audio:
            self._close()
            return
        self._stream = self._source.streams.audio[0]
        try:
            if self._stream.codec_context.name in container.supported_codecs:
                self._copy, self._out = True, container.add_stream_from_template(self._stream)
            else:
                self._copy, self._out = False, container.add_stream("aac", rate=48000)
                self._resampler = av.AudioResampler(self._out.format, self._out.layout, self._out.rate)
        except failures():
            self._fail()
            return
        # Times of frames are seconds from the start of the file.
        self._first_s = (self._source.start_time or 0) / av.time_base
        self._packets = self._source.demux(self._stream)
        self._next: Any = next(self._packets, None)

    def __enter__(self) -> _Sound:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def write_until(self, time_s: float | None) -> None:
        """Write the sound up to a time; None: all that is left, and no more after it."""
        while self._source is not None and self._next is not None:
            at = self._next.pts
            later = at is not None and float(at * self._stream.time_base) - self._first_s
            if time_s is not None and later > time_s:
                return
            try:
                self._write(self._next)
                self._next = next(self._packets, None)
            except failures():
                self._fail()

    def _write(self, packet: Any) -> None:
        offset = round(self._first_s / self._stream.time_base)
        if not self._copy:
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts -= round(self._first_s / frame.time_base)
                for part in self._resampler.resample(frame):
                    self._container.mux(self._out.encode(part))
            if packet.dts is None:  # the end
                self._container.mux(self._out.encode(None))
        elif packet.dts is not None:
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            packet.stream = self._out
            self._container.mux(packet)

    def _fail(self) -> None:
        self.lost = True
        self._close()

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None
