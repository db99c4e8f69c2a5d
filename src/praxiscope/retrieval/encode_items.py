"""Encode items: all of an image or a video, and the windows of a video, in memory that does not grow with its length.

Axis letters: n frames, P of the sums of residuals, D of a vector.
"""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.features.contract import check_sampling
from praxiscope.retrieval.encoder import Encoder
from praxiscope.retrieval.reading import frames_of
from praxiscope.types import VideoRecord
from praxiscope.video.decode import known_damage
from praxiscope.video.image import is_image

__all__ = ["Encoded", "Reading", "Thumbs", "encode_item", "join"]

_THUMBS = 3
_THUMB_ROWS = 120
_LEAST_SIDE = 224  # frames of videos are not decoded smaller than this


@dataclass(frozen=True)
class Reading:
    """How videos are read.

    Attributes:
        fps: frames per second of video that are encoded.
        window_s: seconds of a window; 0: no windows. Videos that are not longer have none.
        stride_s: seconds from the start of a window to that of the next; ``window_s`` is a multiple of it.
        sampling: the frames that are encoded, in place of ``fps``, see `praxiscope.features.contract.check_sampling`.

    Raises:
        ArgumentError: a number that cannot be used.
    """

    fps: float = 2.0
    window_s: float = 4.0
    stride_s: float = 2.0
    sampling: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_sampling(self.frames)
        if not 0 <= self.window_s < math.inf:
            raise ArgumentError(f"window must be 0 or more seconds, got {self.window_s:g}")
        if self.window_s:
            bins = self.window_s / self.stride_s if self.stride_s > 0 else 0.0
            if bins < 1 or abs(bins - round(bins)) > 1e-6:
                raise ArgumentError(
                    f"the window of {self.window_s:g} s must be a multiple of the stride, got {self.stride_s:g} s"
                )

    @property
    def frames(self) -> Mapping[str, Any]:
        """The frames that are encoded."""
        return {"fps": self.fps} if self.sampling is None else self.sampling

    @property
    def bins(self) -> int:
        """Strides in a window."""
        return round(self.window_s / self.stride_s)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        found = {"fps": self.fps, "window_s": self.window_s, "stride_s": self.stride_s}
        return found if self.sampling is None else {**found, "sampling": dict(self.sampling)}


@dataclass(frozen=True)
class Encoded:
    """An encoded item.

    Attributes:
        vectors: float32 [rows, D]: all of it, then its windows.
        place_s: start and end of each row in its file, float64 [rows, 2].
        thumbs: JPEG images, from its start to its end.
        damage: the frames that do not decode, as a clause; empty for none.
    """

    vectors: Tensor
    place_s: NDArray[np.float64]
    thumbs: tuple[bytes, ...]
    damage: str


def encode_item(
    record: VideoRecord,
    encoder: Encoder,
    reading: Reading,
    *,
    thumbs: bool = True,
    time_limit_s: float = 300.0,
) -> Encoded:
    """Encode an image, a video, or a part of a video.

    Args:
        record: the file, and the part of it.
        encoder: see there.
        reading: how videos are read.
        thumbs: whether thumbnails are made.
        time_limit_s: for one call of the decoder.

    Raises:
        VideoError: the file cannot be read.
    """
    features = encoder.features
    side = features.short_side or max(_LEAST_SIDE, *(part.size for part in features.parts))
    parts = frames_of(
        record,
        reading.frames,
        short_side=side,
        enlarge=features.short_side is not None,
        time_limit_s=time_limit_s,
    )
    pictures = Thumbs()

    def summed() -> Iterator[tuple[Tensor, NDArray[np.float64]]]:
        for part in parts:
            yield encoder.residuals(part.pixels), part.time_s
            if thumbs:
                pictures.add(part.pixels)

    image = is_image(record.path) and not record.path.is_dir()
    vectors, places = join(summed(), encoder, reading, windows=not image)
    return Encoded(
        vectors, np.zeros((1, 2)) if image else places, pictures.finish(), known_damage(record.path)
    )


def join(
    parts: Iterable[tuple[Tensor, NDArray[np.float64]]],
    encoder: Encoder,
    reading: Reading,
    *,
    windows: bool = True,
) -> tuple[Tensor, NDArray[np.float64]]:
    """The vectors of a video and of its windows, from what is summed up of its frames.

    Args:
        parts: of consecutive frames, the sums of residuals [n, P] and times [n] in seconds.
        encoder: see there.
        reading: the windows.
        windows: False for the vector of all frames alone.

    Returns:
        Vectors, float32 [rows, D], and their places, see `Encoded`.
    """
    whole, found = torch.zeros(encoder.width), _Windows(reading)
    first_s, last_s, count = math.inf, -math.inf, 0
    for sums, time_s in parts:
        whole += sums.sum(0)
        if windows:
            found.add(sums, time_s)
        first_s, last_s = min(first_s, float(time_s[0])), max(last_s, float(time_s[-1]))
        count += len(time_s)
    step_s = 1 / reading.frames["fps"] if "fps" in reading.frames else (last_s - first_s) / max(1, count - 1)
    places, sums_of_rows = [(first_s, last_s + step_s)], [whole]
    for start_s, end_s, row in found.finish():
        places.append((start_s, min(end_s, places[0][1])))
        sums_of_rows.append(row)
    return encoder.finish(torch.stack(sums_of_rows)), np.array(places)


class _Windows:
    """Sums of the residuals of windows, from sums of strides."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._bins: deque[tuple[int, Tensor]] = deque()
        self._begin_s = math.nan
        self._rows: list[tuple[float, float, Tensor]] = []
        self._done = -1  # number of the last bin that ended a window

    def add(self, sums: Tensor, times: NDArray[np.float64]) -> None:
        """Add frames, [n, P] with their times [n], which rise."""
        if not self._reading.window_s:
            return
        if math.isnan(self._begin_s):
            self._begin_s = float(times[0])
        numbers = np.floor((times - self._begin_s) / self._reading.stride_s + 1e-9).astype(np.int64)
        for number in np.unique(numbers).tolist():
            row = sums[torch.from_numpy(numbers == number)].sum(0)
            if self._bins and self._bins[-1][0] == number:
                self._bins[-1] = (number, self._bins[-1][1] + row)
                continue
            self._close(number)
            self._bins.append((number, row))

    def _close(self, upcoming: int) -> None:
        """Make the windows that end before a bin, which begins now, and forget the bins that only they need."""
        bins = self._reading.bins
        for last in range(max(self._done + 1, bins - 1), upcoming):
            members = [row for number, row in self._bins if last - bins < number <= last]
            if members:
                start_s = self._begin_s + (last - bins + 1) * self._reading.stride_s
                self._rows.append((start_s, start_s + self._reading.window_s, sum(members[1:], members[0])))
            self._done = last
        while self._bins and self._bins[0][0] <= upcoming - bins:
            self._bins.popleft()

    def finish(self) -> Iterator[tuple[float, float, Tensor]]:
        """Start, end and sum of each window, in order; none if the video is not longer than one."""
        if self._bins:
            self._close(self._bins[-1][0] + 1)
        if len(self._rows) > 1:
            yield from self._rows


class Thumbs:
    """A few frames from the start to the end, as JPEG: every frame is a candidate while there are few."""

    count = _THUMBS

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._seen, self._step = 0, 1

    def add(self, frames: Tensor) -> None:
        """Add frames, uint8 [n, 3, H, W]."""
        for pixels in frames:
            if self._seen % self._step == 0:
                self._kept.append(_jpeg(pixels))
                if len(self._kept) > 8 * _THUMBS:  # every second one from now on
                    self._kept = self._kept[::2]
                    self._step *= 2
            self._seen += 1

    def finish(self) -> tuple[bytes, ...]:
        """The JPEG images."""
        count = min(_THUMBS, len(self._kept))
        return tuple(self._kept[int((place + 0.5) * len(self._kept) / count)] for place in range(count))


def _jpeg(pixels: Tensor) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.thumbnail((4 * _THUMB_ROWS, _THUMB_ROWS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()
