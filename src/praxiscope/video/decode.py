"""Reading videos: the frames of a sequential decode, by index or one after the other.

H rows, W columns, n frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError, VideoError

__all__ = ["DecodedFrame", "Video", "open_video"]

_CONVERT = "Check that the file plays; if it does, convert it with `ffmpeg -i FILE -c:v libx264 NEW.mp4`."
_MOST_PIXELS = 1 << 28


def open_video(path: str | Path, *, time_limit_s: float = 300.0) -> Video:
    """Open a video file for reading.

    Args:
        path: the file.
        time_limit_s: seconds that one call may take (for iteration: the time without a new frame).

    Returns:
        The video. It keeps no file open between calls, so it can be pickled and outlives a fork.

    Raises:
        VideoError: the file is missing, empty, not a video, without a video stream, or unreadable.
    """
    return Video(path, time_limit_s=time_limit_s)


@dataclass
class DecodedFrame:
    """A frame of a sequential decode; its pixels are converted when asked for.

    Attributes:
        index: number of the frame, from 0.
        time_s: seconds since the first frame.
    """

    index: int
    time_s: float
    _raw: Any = field(repr=False)
    _convert: _Converter = field(repr=False)

    def rgb(self, short_side: int | None = None) -> Tensor:
        """The pixels: uint8 [3, H, W], the short side scaled to ``short_side`` pixels if given."""
        return torch.from_numpy(self._convert(self._raw, short_side)).permute(2, 0, 1)


class Video:
    """A video file; see :func:`open_video`.

    Attributes:
        path: the file.
        fps, width, height, duration_s, codec: what the file says, size after rotation.
        problems: damage met so far, one clause each.
    """

    def __init__(self, path: str | Path, *, time_limit_s: float = 300.0) -> None:
        self.path = Path(path)
        self.time_limit_s = time_limit_s
        self.problems: list[str] = []
        self._times: np.ndarray | None = None
        first = next(self.decode(), None)
        assert first is not None
        pixels = first.rgb()
        self.height, self.width = int(pixels.shape[1]), int(pixels.shape[2])
        import av

        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            self.fps = float(stream.average_rate or stream.guessed_rate or 25)
            self.codec: str = stream.codec_context.codec.canonical_name

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.time_limit_s)

    @property
    def duration_s(self) -> float:
        """Seconds, from the packets."""
        return len(self) / self.fps

    def __len__(self) -> int:
        return len(self.timestamps())

    def quick_length(self) -> int:
        """Number of frames as the packets say, without decoding."""
        return len(self)

    def timestamps(self) -> np.ndarray:
        """Seconds since the first frame: float64 [N]."""
        if self._times is None:
            self._times = np.array([f.time_s for f in self.decode()], dtype=np.float64)
        return self._times

    def frames(
        self,
        indices: Sequence[int] | Tensor | np.ndarray,
        *,
        short_side: int | None = None,
        crop: tuple[int, int, int, int] | None = None,
    ) -> Tensor:
        """Frames by number, in any order, with repeats.

        Args:
            indices: numbers of frames, 0 the first.
            short_side: scale so that the short side has this many pixels (bilinear, aspect kept).
            crop: (top, left, height, width) in pixels, after the scaling.

        Returns:
            uint8 [n, 3, H, W], RGB, turned upright.

        Raises:
            ArgumentError: an index outside ``0 … len(self) - 1``.
            VideoError: the file cannot be read.
        """
        wanted = [int(i) for i in indices]
        n = len(self)
        for i in wanted:
            if not 0 <= i < n:
                raise ArgumentError(f"frame {i} of {self.path}, which has {n} frames (0 to {n - 1})")
        found: dict[int, Tensor] = {}
        for frame in self.decode():
            if frame.index in wanted:
                found[frame.index] = frame.rgb(short_side)
        out = (
            torch.stack([found[i] for i in wanted]) if wanted else torch.empty(0, 3, self.height, self.width)
        )
        if crop is not None:
            top, left, height, width = crop
            out = out[:, :, top : top + height, left : left + width]
        return out

    def __iter__(self) -> Iterator[Tensor]:
        for frame in self.decode():
            yield frame.rgb()

    def decode(self, start_s: float | None = None, end_s: float | None = None) -> Iterator[DecodedFrame]:
        """Frames one after the other in bounded memory, those with ``start_s <= time < end_s``."""
        import av

        try:
            container = av.open(str(self.path), timeout=self.time_limit_s)
        except (OSError, ValueError) as error:
            raise VideoError(self.path, f"cannot be opened ({error})", _CONVERT) from error
        with container:
            if not container.streams.video:
                raise VideoError(self.path, "holds no video stream", "Leave it out of the data set.")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            convert = _Converter()
            index, first = 0, None
            fps = float(stream.average_rate or 25)
            deadline = time.monotonic() + self.time_limit_s
            for number, packet in enumerate(container.demux(stream)):
                if time.monotonic() > deadline:
                    raise VideoError(self.path, "took longer than the time limit", _CONVERT, index)
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    problem = f"packet {number} did not decode: {error.strerror}"
                    if problem not in self.problems:
                        self.problems.append(problem)
                    continue
                for frame in frames:
                    deadline = time.monotonic() + self.time_limit_s
                    seconds = index / fps if frame.pts is None else float(frame.pts * frame.time_base)
                    first = seconds if first is None else first
                    now = seconds - first
                    if end_s is not None and now >= end_s:
                        return
                    if start_s is None or now >= start_s:
                        yield DecodedFrame(index, now, frame, convert)
                    index += 1
            if index == 0:
                raise VideoError(self.path, "no frame decodes", _CONVERT)


def _reopen(path: str, time_limit_s: float) -> Video:
    return Video(path, time_limit_s=time_limit_s)


class _Converter:
    """Frames of a decoder to uint8 [H, W, 3], with one scaler that is set up once."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformat = VideoReformatter().reformat

    def __call__(self, frame: Any, short_side: int | None = None) -> np.ndarray:
        width, height = frame.width, frame.height
        if short_side is not None:
            scale = short_side / min(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = self._reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
