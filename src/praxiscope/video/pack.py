"""Write packed clips: copies of videos for training, in which every frame decodes alone.

See `praxiscope.video.packed` for the format and its reader.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.opening import open_video
from praxiscope.video.packed import MPEG2, PACKED, PLANES, PackedVideo, checksum, is_packed
from praxiscope.video.picturefile import PictureWriter, replacing
from praxiscope.video.pixels import Converter, scaled_size

__all__ = ["SUFFIX", "PackReport", "PackedVideo", "is_packed", "pack_video"]

SUFFIX = ".pxv"
_MOST_SIDE = 4095  # pixels; MPEG-2's size field


@dataclass(frozen=True)
class PackReport:
    """The result of packing one clip.

    Attributes:
        frames: number of frames written.
        width, height: their size.
        bytes_in, bytes_out: sizes of the files.
        seconds: time taken.
        problems: damage found in the source, one clause each.
    """

    frames: int
    width: int
    height: int
    bytes_in: int
    bytes_out: int
    seconds: float
    problems: list[str]


def pack_video(
    source: str | Path,
    target: str | Path,
    *,
    short_side: int = 256,
    fps: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    quality: int = 3,
    time_limit_s: float = 300.0,
) -> PackReport:
    """Write a packed copy of a video, or of a part of one, atomically.

    Args:
        source: the video.
        target: the file to write; ``.pxv`` is the usual suffix.
        short_side: pixels of the short side of the packed frames.
        fps: frames per second of the copy, which has the frame on screen at each time. None keeps every frame and its
            time.
        start_s, end_s: the part ``start_s <= time < end_s`` of the source, in seconds.
        quality: MPEG-2 quantiser, 1 (best, largest) to 31; 3 gives about 39 dB. 0 stores uncompressed planes: the
            fastest to read, and about 12 times the size.
        time_limit_s: time limit for each new frame of the source, in seconds.

    Returns:
        What was written.

    Raises:
        ArgumentError: a setting that cannot be used.
        VideoError: the source cannot be read, or has no frame in the part.
    """
    if not 0 <= quality <= 31:
        raise ArgumentError(f"quality must be 0 (lossless planes) or from 1 (best) to 31, got {quality}")
    if fps is not None and not 0 < fps <= 1000:
        raise ArgumentError(f"fps must be above 0 and at most 1000, got {fps}")
    if start_s is not None and end_s is not None and not start_s < end_s:
        raise ArgumentError(f"start_s ({start_s}) must be before end_s ({end_s})")
    began = time.perf_counter()
    source, target = Path(source), Path(target)
    video = open_video(source, time_limit_s=time_limit_s)
    width, height = scaled_size(video.width, video.height, short_side)
    if max(width, height) > _MOST_SIDE:
        raise ArgumentError(
            f"packed frames of {width} x {height} pixels are too large: at most {_MOST_SIDE} per side"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        encoder = _Encoder(file, width, height, video.fps if fps is None else fps, quality)
        _write_frames(video, encoder, fps, start_s, end_s)
        encoder.finish(
            {
                "width": width,
                "height": height,
                "fps": video.fps if fps is None else float(fps),
                "codec": encoder.codec,
                "duration_s": encoder.end_s,
                "quality": quality,
                "same_s": video.same_s,
                "source": {
                    "name": source.name,
                    "bytes": source_bytes(source),
                    "start_s": start_s,
                    "end_s": end_s,
                },
            }
        )
    return PackReport(
        frames=encoder.frames,
        width=width,
        height=height,
        bytes_in=source_bytes(source),
        bytes_out=target.stat().st_size,
        seconds=time.perf_counter() - began,
        problems=video.problems,
    )


def _write_frames(
    video: Video, encoder: _Encoder, fps: float | None, start_s: float | None, end_s: float | None
) -> None:
    """Encode the frames of the part; with ``fps``, the nearest earlier one at each instant k / fps."""
    held: DecodedFrame | None = None
    # A complete copy has the times of its source; the times of a part start at its first frame.
    whole = start_s is None and end_s is None
    origin = first = 0.0
    instant = 0
    for frame in video.decode(start_s, end_s):
        if held is None:
            first = frame.time_s
            origin = 0.0 if whole else first
        if fps is None:
            encoder.add(frame, frame.time_s - origin)
        else:
            while held is not None and instant / fps < frame.time_s - first - video.same_s:
                encoder.add(held, first - origin + instant / fps)
                instant += 1
        held = frame
    if held is None:
        part = f"from {start_s or 0:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise VideoError(video.path, f"has no frames in the part {part}", "Correct its start and end.")
    end = video.end_of(held.time_s)
    while fps is not None and instant / fps < end - first - video.same_s:
        encoder.add(held, first - origin + instant / fps)
        instant += 1
    encoder.end_s = end - origin


class _Encoder:
    """Write the images of a packed clip, and its index at the end."""

    def __init__(self, file: BinaryIO, width: int, height: int, fps: float, quality: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._av, self._file = av, PictureWriter(file, PACKED)
        self._size = (width, height)
        self._reformat = VideoReformatter().reformat
        self._scale = Converter(self._size)
        self.frames = 0
        self._pictures: list[tuple[int, int, int]] = []
        self._times: list[list[float]] = []
        self.end_s = 0.0
        self._last: DecodedFrame | None = None
        self.codec = MPEG2 if quality else PLANES
        encoder: Any = av.CodecContext.create(MPEG2, "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        # The codec supports only a few rates; the real times are in the index.
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.gop_size, encoder.max_b_frames = 0, 0
        encoder.thread_count = 1
        encoder.bit_rate = 10**9
        encoder.options = {"qmin": str(quality or 1), "qmax": str(quality or 1), "intra_vlc": "1"}
        self._encoder = encoder

    def add(self, frame: DecodedFrame, time_s: float) -> None:
        """Write one frame. A frame that is the same as the last is written only once."""
        if frame is self._last:
            self._times[-1].append(time_s)
            return
        self._last = frame
        self._times.append([time_s])
        planes = self._planes(frame)
        if self.codec == PLANES:
            data = b"".join(plane.tobytes() for plane in planes)
            self._write(data + bytes(-len(data) % 4))
            return
        # A new frame, because the source's frame would keep its picture type and its time.
        picture: Any = self._av.VideoFrame(*self._size, "yuv420p")
        for plane, target in zip(planes, picture.planes, strict=True):
            padded = np.zeros((target.height, target.line_size), np.uint8)
            padded[:, : target.width] = plane
            target.update(padded)
        picture.pts, picture.time_base = len(self._times), self._encoder.time_base
        for packet in self._encoder.encode(picture):
            self._write(bytes(packet))

    def _write(self, data: bytes) -> None:
        self._pictures.append((self._file.add(data), len(data), checksum(self.codec, data)))

    def _planes(self, frame: DecodedFrame) -> list[NDArray[np.uint8]]:
        """Y, U and V of the frame: scaled, upright, in the colours a decoder assumes."""
        raw, upright = frame.raw, frame.upright
        width, height = self._size
        if any(upright):
            raw = self._av.VideoFrame.from_ndarray(
                Converter(upright.size(width, height), upright)(raw), format="rgb24"
            )
        # SWS_CS_ITU601 = 5, AVCOL_RANGE_MPEG = 1: what an MPEG-2 decoder assumes.
        picture = self._reformat(
            raw,
            width,
            height,
            "yuv420p",
            dst_colorspace=5,
            dst_color_range=1,
            interpolation="BICUBIC",
            threads=1,
        )
        planes = []
        for plane in picture.planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            planes.append(rows[:, : plane.width])
        return planes

    def finish(self, description: dict[str, Any]) -> None:
        """Write the index and the head."""
        if self.codec == MPEG2:
            for packet in self._encoder.encode(None):
                self._write(bytes(packet))
        rows = [(*row, at) for row, times in zip(self._pictures, self._times, strict=True) for at in times]
        self.frames = len(rows)
        self._file.finish(description, np.array(rows, dtype=PACKED.row))
