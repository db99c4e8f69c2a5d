"""Read folders of frames: videos that are stored as numbered images, one per frame.

Such a folder contains one series of images in the order of their numbers, with any prefix and any number of zeros:
``00001.jpg, 00002.jpg, …`` (Something-Something v1), ``img_00001.jpg``, ``frame-7.png``. Images of flow, which TSN's
tools write beside the frames (``flow_x_00001.jpg``, ``x_00001.jpg``), and images without a number (``cover.jpg``) are
ignored.

Images have no times: the rate is ``FPS`` frames per second.

Axis letters: n frames, H rows, W columns.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from praxiscope.errors import VideoError
from praxiscope.video.framefiles import is_frame_folder, numbered_pictures, source_bytes, source_files
from praxiscope.video.framesequence import FrameSequence
from praxiscope.video.image import SixteenBits, decode_image

__all__ = ["FPS", "FrameFolder", "is_frame_folder", "source_bytes", "source_files"]

#: Frames per second of a folder of frames: the rate of Something-Something v1, which has this format.
FPS = 12.0

_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, rows and columns are swapped
_REMEDY = "Replace it, or remove it: the others are read without it."


class FrameFolder(FrameSequence):
    """A folder of frames, read through the same interface as any other video.

    Frame k is the image with the k-th smallest number. At native size the pixels are those that Pillow decodes, as
    upright RGB. An image that is damaged, or has another size than the first, is an error.
    """

    def __init__(self, path: str | Path, *, time_limit_s: float = 300.0) -> None:
        self.path = Path(path)
        self.time_limit_s = time_limit_s
        numbers = numbered_pictures(self.path)
        self._fps = FPS
        self._names = list(numbers)
        self._problems = _gaps(list(numbers.values()))
        self._size, self._codec = self._look()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.time_limit_s)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the first image's codec."""
        return self._codec

    @property
    def problems(self) -> list[str]:
        """A clause on missing image numbers. Frame numbers have no gaps."""
        return list(self._problems)

    def __len__(self) -> int:
        return len(self._names)

    def _look(self) -> tuple[tuple[int, int], str]:
        """Return the upright (width, height) of the first image and its codec, without decoding pixels."""
        from PIL import Image

        try:
            with Image.open(self.path / self._names[0]) as image:
                size = image.size[::-1] if image.getexif().get(_ORIENTATION, 1) >= 5 else image.size
                codec = str(image.format).lower()
        except Exception as error:
            raise self._damaged(0, error) from error
        return size, {"jpeg": "mjpeg"}.get(codec, codec)

    def _frame(self, number: int) -> Any:
        """Return an image as a decoder's frame, RGB."""
        from av import VideoFrame

        try:
            pixels = decode_image(self.path / self._names[number])
        except SixteenBits as error:
            problem = f"the image {self._names[number]} has 16 bits per channel"
            raise VideoError(self.path, problem, "Convert the images to 8 bits.") from error
        except Exception as error:  # Pillow raises many types of exceptions
            raise self._damaged(number, error) from error
        height, width = pixels.shape[:2]
        if (width, height) != self._size:
            problem = f"has {width} x {height} pixels, {self._names[0]} {self.width} x {self.height}"
            raise VideoError(self.path, f"the image {self._names[number]} {problem}", _REMEDY)
        return VideoFrame.from_ndarray(pixels, format="rgb24")

    def _damaged(self, number: int, error: Exception) -> VideoError:
        name = self._names[number]
        # Pillow's message contains the whole path, which is already in the error.
        reason = str(error).replace(str(self.path / name), name) or type(error).__name__
        return VideoError(self.path, f"the image {name} does not decode ({reason})", _REMEDY)


def _gaps(numbers: list[int]) -> list[str]:
    """Return a clause on the missing numbers of a series, or ""."""
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if not missing:
        return []
    before = next(a for a, b in pairwise(numbers) if b > a + 1)
    noun = "picture is" if missing == 1 else "pictures are"
    return [f"{missing} {noun} missing from {numbers[0]} to {numbers[-1]}, the first after {before}"]


def _reopen(path: str, time_limit_s: float) -> FrameFolder:
    return FrameFolder(path, time_limit_s=time_limit_s)
