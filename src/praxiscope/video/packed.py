"""Read packed clips: copies of videos for training, in which every frame decodes alone.

A packed clip (``.pxv``) is a file of images (see `praxiscope.video.picturefile`): MPEG-2 images with a sequence header
each, or uncompressed planes (Y, U, V; 4:2:0). Its description holds the size, the rate, the codec and the source; its
rows hold the time of each frame. docs/adr/0003-packed-clips.md gives the reasons for this format.

Axis letters: H rows, W columns, n frames.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import VideoError
from praxiscope.video.container import failures
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.picturefile import PictureKind
from praxiscope.video.pixels import Converter, Crop, check_crop, check_indices, scaled_size
from praxiscope.video.times import part, same_within

if TYPE_CHECKING:  # frames are also read where torch is not installed
    from torch import Tensor

__all__ = ["MPEG2", "PACKED", "PLANES", "PackedVideo", "checksum", "is_packed", "plane_shapes"]

PACKED = PictureKind(
    magic=b"pxvideo\x01",
    row=np.dtype([("place", "<u8"), ("bytes", "<u4"), ("checksum", "<u4"), ("time_s", "<f8")]),
    name="packed clip",
    remedy="Pack the original again.",
)
MPEG2, PLANES = "mpeg2video", "rawvideo"
_KNOWN_FIELDS = {"width": int, "height": int, "fps": float, "codec": str, "duration_s": float}


def is_packed(path: str | Path) -> bool:
    """Whether a file is a packed clip, judged by its first bytes."""
    return PACKED.begins(path)


def checksum(codec: str, data: bytes) -> int:
    """The CRC of a coded image; for planes, which are large, the sum of their words, which is faster."""
    if codec == PLANES and len(data) % 4 == 0:
        return int(np.frombuffer(data, "<u4").sum(dtype=np.uint32))
    return zlib.crc32(data)


def plane_shapes(width: int, height: int) -> list[tuple[int, int]]:
    """(rows, columns) of the planes Y, U, V."""
    half = ((height + 1) // 2, (width + 1) // 2)
    return [(height, width), half, half]


class PackedVideo(Video):
    """A packed clip, read through the same interface as any other video."""

    def __init__(self, path: str | Path, *, time_limit_s: float = 300.0) -> None:
        self.path = Path(path)
        self.time_limit_s = time_limit_s
        about, self._rows = PACKED.read_index(self.path)
        try:
            about = {**about, **{name: kind(about[name]) for name, kind in _KNOWN_FIELDS.items()}}
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged("its header cannot be read") from error
        if min(about["width"], about["height"]) < 1:
            raise self._damaged("its header gives frames without pixels")
        if about["codec"] not in (MPEG2, PLANES):
            raise VideoError(self.path, f"has the unknown codec {about['codec']!r}", PACKED.remedy)
        self._about = about

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.time_limit_s)

    def _damaged(self, problem: str, frame: int | None = None) -> VideoError:
        return PACKED.damaged(self.path, problem, frame)

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
        """Seconds from the start of the video to the end of its last frame."""
        return float(self._about["duration_s"])

    @property
    def same_s(self) -> float:
        """Times that differ by up to this many seconds are equal on the clock of the source."""
        known = self._about.get("same_s")
        return known if isinstance(known, float) else same_within(0.0, 1 / self.fps)

    def end_of(self, last_s: float) -> float:
        """The end of a last frame that is shown at ``last_s``, in seconds."""
        return max(self.duration_s, last_s)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self._about["codec"])

    @property
    def source(self) -> dict[str, Any]:
        """The source: ``name``, ``bytes``, ``start_s``, ``end_s``. Empty if not known."""
        known = self._about.get("source")
        return dict(known) if isinstance(known, dict) else {}

    @property
    def problems(self) -> list[str]:
        """Always empty: damage in a packed clip is an error."""
        return []

    def __len__(self) -> int:
        return len(self._rows)

    def quick_length(self) -> int:
        """Number of frames."""
        return len(self._rows)

    def decode_all(self) -> int:
        """Decode every frame and return their number. Raises VideoError for damage."""
        return sum(1 for _ in self.decode())

    def timestamps(self) -> NDArray[np.float64]:
        """Seconds from the start of the video of each frame: float64 [N]."""
        return self._rows["time_s"].astype(np.float64)

    def arrays(
        self,
        indices: Sequence[int] | Tensor | NDArray[Any],
        *,
        short_side: int | None = None,
        crop: Crop | None = None,
    ) -> NDArray[np.uint8]:
        """Frames by number; see `Video.arrays`."""
        wanted = check_indices(indices, len(self._rows), self.path)
        width, height = scaled_size(self.width, self.height, short_side)
        top, left, rows, columns = check_crop(crop, width, height)
        out = np.empty((len(wanted), rows, columns, 3), dtype=np.uint8)
        part = (0, 0, self.height, self.width)
        if self.codec == PLANES and (width, height) == (self.width, self.height) and height % 2 == 0:
            # Only the crop is converted. Colours belong to squares of 2 x 2 pixels.
            y, x = top // 2 * 2, left // 2 * 2
            part = (
                y,
                x,
                min(-(-(top + rows) // 2) * 2, height) - y,
                min(-(-(left + columns) // 2) * 2, width) - x,
            )
            short_side, top, left = None, top - y, left - x
        convert = Converter((part[3], part[2]))
        done: dict[int, int] = {}
        for place, (number, raw) in enumerate(self._pictures(wanted, done, part)):
            if raw is None:
                out[place] = out[done[number]]
            else:
                out[place] = convert(raw, short_side)[top : top + rows, left : left + columns]
            done.setdefault(number, place)
        return out

    def decode(
        self, start_s: float | None = None, end_s: float | None = None, *, motion_vectors: bool = False
    ) -> Iterator[DecodedFrame]:
        """Iterate over frames; see `Video.decode`. Images of packed clips have no motion vectors."""
        times = self._rows["time_s"]
        first, last = part(times, start_s, end_s, self.same_s)
        convert = Converter((self.width, self.height))
        for number, raw in self._pictures(range(first, last), {}, (0, 0, self.height, self.width)):
            yield DecodedFrame(number, float(times[number]), raw, convert)

    def _pictures(
        self, numbers: Sequence[int], done: dict[int, int], part: Crop
    ) -> Iterator[tuple[int, Any]]:
        """Yield (number, frame) of each image, with None for one that is ``done``. Of planes, only the ``part``."""
        codec = self.codec
        decode = _picture_decoder() if codec == MPEG2 else None
        try:
            with self.path.open("rb", buffering=0) as file:
                for number in numbers:
                    if number in done:
                        yield number, None
                        continue
                    row = self._rows[number]
                    data = os.pread(file.fileno(), int(row["bytes"]), int(row["place"]))
                    if checksum(codec, data) != row["checksum"]:
                        raise self._damaged("a frame does not match its checksum", number)
                    frame = decode(data) if decode else self._frame_of_planes(data, part)
                    if frame is None:
                        raise self._damaged("a frame does not decode", number)
                    yield number, frame
        except VideoError:
            raise
        except failures() as error:
            raise self._damaged(f"it cannot be read ({getattr(error, 'strerror', error)})") from error

    def _frame_of_planes(self, data: bytes, part: Crop) -> Any:
        from av import VideoFrame

        top, left, rows, columns = part
        frame: Any = VideoFrame(columns, rows, "yuv420p")
        start = 0
        for target, (height, width) in zip(frame.planes, plane_shapes(self.width, self.height), strict=True):
            plane = np.frombuffer(data, np.uint8, height * width, start).reshape(height, width)
            start += height * width
            step = 1 if height == self.height and width == self.width else 2
            y, x = top // step, left // step
            out = np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)
            out[: target.height, : target.width] = plane[y : y + target.height, x : x + target.width]
        return frame


def _picture_decoder() -> Any:
    """A function from the bytes of an MPEG-2 picture to its frame, or None."""
    import av

    decoder: Any = av.CodecContext.create(MPEG2, "r")
    decoder.thread_type, decoder.thread_count = "NONE", 1
    decoder.flags |= 1 << 19  # low delay: each image is returned at once
    decoder.options = {"idct": "xvid"}  # the fastest: 7 % of the whole decode

    def decode(data: bytes) -> Any:
        frames = decoder.decode(av.Packet(data))
        return frames[0] if len(frames) == 1 else None

    return decode


def _reopen(path: str, time_limit_s: float) -> PackedVideo:
    """Open a video with positional arguments, for unpickling."""
    return PackedVideo(path, time_limit_s=time_limit_s)
