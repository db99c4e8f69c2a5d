"""Read all frames of a video in chunks, repeatedly, for models that process all frames in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from praxiscope.data.dataset import frame_range
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.grid import FrameGrid
from praxiscope.video.opening import open_video

__all__ = ["LONG_FRAMES", "frame_chunks"]

LONG_FRAMES = 512  # the frames of a longer video are never in memory together


def frame_chunks(
    record: VideoRecord,
    *,
    short_side: int | None,
    chunk: int,
    time_limit_s: float = 300.0,
    video: Video | None = None,
    grid: FrameGrid | None = None,
) -> Callable[[], Iterator[Tensor]]:
    """Return a function that reads a video from its start at each call, in chunks uint8 [at most chunk, 3, H, W].

    Args:
        record: the video, or a part of one.
        short_side: short side of the scaled frames, pixels.
        chunk: largest number of frames at a time.
        time_limit_s: seconds that opening the video may take.
        video: the video, if it is open; None opens that of ``record``.
        grid: the frames to read, in order, with repeats; None: every frame.

    Raises (when frames are read):
        VideoError, DataError: the file cannot be read, or the part holds no frame.
    """

    def read() -> Iterator[Tensor]:
        opened = video or open_video(record.path, time_limit_s=time_limit_s)
        if record.start_s is not None or record.end_s is not None:
            frame_range(record, opened)  # raises for an empty part
        decode = opened.decode if grid is None else partial(grid.select, opened)
        frames = (frame.rgb(short_side=short_side) for frame in decode(record.start_s, record.end_s))
        some = False
        while together := list(islice(frames, chunk)):
            some = True
            yield torch.stack(together)
        if not some:
            raise DataError(f"{record.id}: no frame can be read. Run `praxiscope check` on it.")

    return read
