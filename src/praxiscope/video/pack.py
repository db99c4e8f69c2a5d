"""Packed clips: training-ready copies of videos in which every frame decodes alone.

A packed clip (``.pxv``) holds MPEG-2 intra pictures one after the other, then an index:

    head    magic, place of the index, number of frames, bytes of the description, CRC of the index
    frames  one MPEG-2 picture each, with its own sequence header
    index   the description (JSON: size, rate, codec, source), then one row for each frame:
            place, bytes, CRC, seconds

A read opens no demuxer: it looks up the rows, reads the bytes, decodes them. Why MPEG-2, and why not
AVI or Matroska: docs/adr/0003-packed-clips.md. H rows, W columns, n frames.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video.decode import (
    Converter,
    Crop,
    DecodedFrame,
    Video,
    check_crop,
    check_indices,
    open_video,
    scaled_size,
)

__all__ = ["SUFFIX", "PackReport", "PackedVideo", "is_packed", "pack_video"]

SUFFIX = ".pxv"
MAGIC = b"pxvideo\x01"
_HEAD = struct.Struct("<8sQQII")
_ROW = np.dtype([("place", "<u8"), ("bytes", "<u4"), ("crc", "<u4"), ("time_s", "<f8")])
_CODEC = "mpeg2video"
_MOST_SIDE = 4095  # pixels; MPEG-2's size field
_REPACK = "Pack the original again."
_KNOWN_FIELDS = {"width": int, "height": int, "fps": float, "codec": str, "duration_s": float}


@dataclass(frozen=True)
class PackReport:
    """What packing one clip gave.

    Attributes:
        frames: number of frames written.
        width, height: their size.
        bytes_in, bytes_out: sizes of the files.
        seconds: time taken.
        problems: damage met in the source, one clause each.
    """

    frames: int
    width: int
    height: int
    bytes_in: int
    bytes_out: int
    seconds: float
    problems: list[str]


def is_packed(path: str | Path) -> bool:
    """Whether a file is a packed clip, judged by its first bytes."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


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
        fps: frames per second of the copy: at each instant the nearest earlier frame. None keeps every frame
            and its time.
        start_s, end_s: the part ``start_s <= time < end_s`` of the source, in seconds.
        quality: MPEG-2 quantiser, 1 (best, largest) to 31. 3 gives about 39 dB.
        time_limit_s: seconds that the source may go without giving a new frame.

    Returns:
        What was written.

    Raises:
        ArgumentError: a setting that cannot be used.
        VideoError: the source cannot be read, or has no frame in the part.
    """
    if not 1 <= quality <= 31:
        raise ArgumentError(f"quality must be from 1 (best) to 31, not {quality}")
    if fps is not None and not 0 < fps <= 1000:
        raise ArgumentError(f"fps must be above 0 and at most 1000, not {fps}")
    if start_s is not None and end_s is not None and not start_s < end_s:
        raise ArgumentError(f"the part from {start_s} s to {end_s} s is empty")
    began = time.perf_counter()
    source, target = Path(source), Path(target)
    video = open_video(source, time_limit_s=time_limit_s)
    width, height = scaled_size(video.width, video.height, short_side)
    if max(width, height) > _MOST_SIDE:
        raise ArgumentError(
            f"packed frames would be {width} x {height}; a side has at most {_MOST_SIDE} pixels"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            encoder = _Encoder(file, width, height, video.fps if fps is None else fps, quality)
            _write_frames(video, encoder, fps, start_s, end_s)
            description = {
                "width": width,
                "height": height,
                "fps": video.fps if fps is None else float(fps),
                "codec": _CODEC,
                "duration_s": encoder.end_s,
                "quality": quality,
                "source": {
                    "name": source.name,
                    "bytes": source.stat().st_size,
                    "start_s": start_s,
                    "end_s": end_s,
                },
            }
            encoder.finish(description)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return PackReport(
        frames=encoder.frames,
        width=width,
        height=height,
        bytes_in=source.stat().st_size,
        bytes_out=target.stat().st_size,
        seconds=time.perf_counter() - began,
        problems=video.problems,
    )


def _write_frames(
    video: Video, encoder: _Encoder, fps: float | None, start_s: float | None, end_s: float | None
) -> None:
    """Encode the frames of the part; with ``fps``, the nearest earlier one at each instant k / fps."""
    held: DecodedFrame | None = None
    origin = duration = 0.0
    instant = 0
    for frame in video.decode(start_s, end_s):
        if held is None:
            origin = frame.time_s
        else:
            duration = frame.time_s - held.time_s
        if fps is None:
            encoder.add(frame, frame.time_s - origin)
        else:
            while held is not None and instant / fps < frame.time_s - origin - 1e-6:
                encoder.add(held, instant / fps)
                instant += 1
        held = frame
    if held is None:
        part = f"from {start_s or 0:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise VideoError(video.path, f"has no frame in the part {part}", "Correct the part's start and end.")
    end = held.time_s - origin + (duration or 1 / video.fps)
    while fps is not None and instant / fps < end - 1e-6:
        encoder.add(held, instant / fps)
        instant += 1
    encoder.end_s = end


class _Encoder:
    """Writes the pictures of a packed clip, and its index at the end."""

    def __init__(self, file: BinaryIO, width: int, height: int, fps: float, quality: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._av, self._file = av, file
        self._size = (width, height)
        self._reformat = VideoReformatter().reformat
        self._scale = Converter(self._size)
        self.frames = 0
        self._pictures: list[tuple[int, int, int]] = []
        self._times: list[list[float]] = []
        self.end_s = 0.0
        self._last: DecodedFrame | None = None
        encoder: Any = av.CodecContext.create(_CODEC, "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        # The codec knows a few rates only; the real times stand in the index.
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.gop_size, encoder.max_b_frames = 0, 0
        encoder.thread_count = 1
        encoder.bit_rate = 10**9
        encoder.options = {"qmin": str(quality), "qmax": str(quality), "intra_vlc": "1"}
        self._encoder = encoder
        file.write(bytes(_HEAD.size))
        self._place = _HEAD.size

    def add(self, frame: DecodedFrame, time_s: float) -> None:
        """Write one frame; one that is the same as the last is only pointed to again."""
        if frame is self._last:
            self._times[-1].append(time_s)
            return
        self._last = frame
        picture = self._picture(frame)
        picture.pts, picture.time_base = len(self._times), self._encoder.time_base
        self._times.append([time_s])
        self._write(self._encoder.encode(picture))

    def _write(self, packets: list[Any]) -> None:
        for packet in packets:
            data = bytes(packet)
            self._pictures.append((self._place, len(data), zlib.crc32(data)))
            self._file.write(data)
            self._place += len(data)

    def _picture(self, frame: DecodedFrame) -> Any:
        """The frame as the codec wants it: scaled, upright, in the colours a decoder assumes."""
        raw, turned = frame.raw, frame.raw.rotation % 360 != 0
        width, height = self._size
        if turned:
            size = (height, width) if round(raw.rotation / 90) % 2 else (width, height)
            raw = self._av.VideoFrame.from_ndarray(Converter(size)(raw), format="rgb24")
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
        # The frame may be the source's own, which has its picture type and time from the source.
        fresh = self._av.VideoFrame(width, height, "yuv420p")
        for old, new in zip(picture.planes, fresh.planes, strict=True):
            rows = np.frombuffer(memoryview(old), np.uint8).reshape(old.height, old.line_size)
            padded = np.zeros((new.height, new.line_size), np.uint8)
            padded[:, : new.width] = rows[:, : new.width]
            new.update(padded)
        return fresh

    def finish(self, description: dict[str, Any]) -> None:
        """Write the index and the head."""
        self._write(self._encoder.encode(None))
        rows = [(*row, at) for row, times in zip(self._pictures, self._times, strict=True) for at in times]
        self.frames = len(rows)
        text = json.dumps(description, sort_keys=True).encode()
        table = np.array(rows, dtype=_ROW).tobytes()
        self._file.write(text + table)
        self._file.seek(0)
        crc = zlib.crc32(text + table)
        self._file.write(_HEAD.pack(MAGIC, self._place, self.frames, len(text), crc))
        self._file.flush()
        os.fsync(self._file.fileno())


class PackedVideo(Video):
    """A packed clip, read through the same interface as any other video."""

    def __init__(self, path: str | Path, *, time_limit_s: float = 300.0) -> None:
        self.path = Path(path)
        self.time_limit_s = time_limit_s
        try:
            with self.path.open("rb", buffering=0) as file:
                self._about, self._rows = self._read_index(file.fileno())
        except OSError as error:
            raise VideoError(self.path, f"cannot be read ({error.strerror})", "Check the path.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return open_video_with_limit, (str(self.path), self.time_limit_s)

    def _damaged(self, problem: str, frame: int | None = None) -> VideoError:
        return VideoError(self.path, f"is a damaged packed clip: {problem}", _REPACK, frame)

    def _read_index(self, file: int) -> tuple[dict[str, Any], NDArray[Any]]:
        size = os.fstat(file).st_size
        head = os.pread(file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            raise self._damaged("it ends in its head")
        magic, place, frames, text_bytes, crc = _HEAD.unpack(head)
        # The size of the file bounds what is read, whatever the head claims.
        if magic != MAGIC or frames < 1 or place + text_bytes + frames * _ROW.itemsize != size:
            raise self._damaged(f"its size of {size} bytes is not what its head says")
        index = os.pread(file, size - place, place)
        if zlib.crc32(index) != crc:
            raise self._damaged("its index does not match its checksum")
        try:
            about = json.loads(index[:text_bytes])
            about = {**about, **{name: kind(about[name]) for name, kind in _KNOWN_FIELDS.items()}}
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged("its description cannot be read") from error
        rows = np.frombuffer(index, _ROW, frames, text_bytes)
        if int((rows["place"] + rows["bytes"]).max()) > place or min(about["width"], about["height"]) < 1:
            raise self._damaged("its index points outside the file")
        return about, rows

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self._about["fps"])

    @property
    def width(self) -> int:
        """Columns of a frame."""
        return int(self._about["width"])

    @property
    def height(self) -> int:
        """Rows of a frame."""
        return int(self._about["height"])

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last one."""
        return float(self._about["duration_s"])

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self._about["codec"])

    @property
    def problems(self) -> list[str]:
        """Always empty: damage in a packed clip is an error."""
        return []

    def __len__(self) -> int:
        return len(self._rows)

    def quick_length(self) -> int:
        """Number of frames."""
        return len(self._rows)

    def timestamps(self) -> NDArray[np.float64]:
        """Seconds since the first frame of each frame: float64 [N]."""
        return self._rows["time_s"].astype(np.float64)

    def frames(
        self,
        indices: Sequence[int] | Tensor | NDArray[Any],
        *,
        short_side: int | None = None,
        crop: Crop | None = None,
    ) -> Tensor:
        """Frames by number, as `Video.frames` gives them."""
        wanted = check_indices(indices, len(self._rows), self.path)
        width, height = scaled_size(self.width, self.height, short_side)
        top, left, rows, columns = check_crop(crop, width, height)
        out = np.empty((len(wanted), rows, columns, 3), dtype=np.uint8)
        convert = Converter((self.width, self.height))
        done: dict[int, int] = {}
        for place, (number, raw) in enumerate(self._pictures(wanted, done)):
            if raw is None:
                out[place] = out[done[number]]
            else:
                out[place] = convert(raw, short_side)[top : top + rows, left : left + columns]
            done.setdefault(number, place)
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def decode(self, start_s: float | None = None, end_s: float | None = None) -> Iterator[DecodedFrame]:
        """Frames one after the other, as `Video.decode` gives them."""
        times = self._rows["time_s"]
        first = 0 if start_s is None else int(np.searchsorted(times, start_s - 1e-9))
        last = len(times) if end_s is None else int(np.searchsorted(times, end_s - 1e-9))
        convert = Converter((self.width, self.height))
        for number, raw in self._pictures(range(first, last), {}):
            yield DecodedFrame(number, float(times[number]), raw, convert)

    def _pictures(self, numbers: Sequence[int], done: dict[int, int]) -> Iterator[tuple[int, Any]]:
        """(number, frame) of each picture, decoded; None for one that is ``done``."""
        import av

        decoder: Any = av.CodecContext.create(_CODEC, "r")
        decoder.thread_type, decoder.thread_count = "NONE", 1
        decoder.flags |= 1 << 19  # low delay: a picture comes out as soon as it is in
        decoder.options = {"idct": "xvid"}  # the fastest: 7 % of the whole decode
        try:
            with self.path.open("rb", buffering=0) as file:
                for number in numbers:
                    if number in done:
                        yield number, None
                        continue
                    row = self._rows[number]
                    data = os.pread(file.fileno(), int(row["bytes"]), int(row["place"]))
                    if zlib.crc32(data) != row["crc"]:
                        raise self._damaged("a picture does not match its checksum", number)
                    frames = decoder.decode(av.Packet(data))
                    if len(frames) != 1:
                        raise self._damaged("a picture does not decode", number)
                    yield number, frames[0]
        except (OSError, ValueError, MemoryError) as error:
            if isinstance(error, VideoError):
                raise
            raise self._damaged(f"it cannot be read ({getattr(error, 'strerror', error)})") from error


def open_video_with_limit(path: str, time_limit_s: float) -> Video:
    """Open a video by plain arguments: what unpickling calls."""
    return open_video(path, time_limit_s=time_limit_s)
