"""Read the frames of what is encoded: images, videos and parts of videos.

n frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.data.dataset import frame_range
from praxiscope.errors import VideoError
from praxiscope.inference.extract import sampled_frames
from praxiscope.types import VideoRecord
from praxiscope.video.image import is_image, read_image
from praxiscope.video.opening import open_video

__all__ = ["Frames", "all_frames", "frames_of"]

_HELD = 1 << 26  # bytes of frames that are in memory at once


class Frames(NamedTuple):
    """Consecutive frames of an item.

    pixels: uint8 [n, 3, H, W].
    time_s: float64 [n]; 0 for an image.
    frame: int64 [n], numbers of the frames.
    """

    pixels: Tensor
    time_s: NDArray[np.float64]
    frame: Tensor


def frames_of(
    record: VideoRecord,
    sampling: Mapping[str, Any],
    *,
    short_side: int | None = None,
    enlarge: bool = False,
    time_limit_s: float = 300.0,
) -> Iterator[Frames]:
    """Yield the frames of an image, a video, or a part of a video, a few at a time.

    Args:
        record: the file, and the part of it.
        sampling: of videos, see `praxiscope.inference.extract.FeatureExtractor.extract`.
        short_side: to which larger frames of videos are scaled, pixels.
        enlarge: scale smaller ones as well.
        time_limit_s: for one call of the decoder.

    Raises:
        VideoError: the file cannot be read.
    """
    if is_image(record.path) and not record.path.is_dir():
        yield Frames(read_image(record.path)[None], np.zeros(1), torch.zeros(1, dtype=torch.int64))
        return
    video = open_video(record.path, time_limit_s=time_limit_s)
    first, last = frame_range(record, video)
    times = video.timestamps()[first:last]
    starts = sampled_frames(sampling, times, begin_s=record.start_s or 0.0)
    own = min(video.width, video.height)
    scaled = short_side if short_side is not None and (enlarge or short_side < own) else None
    side = scaled or own
    long = round(max(video.width, video.height) * side / min(video.width, video.height))
    at_once = max(1, _HELD // (3 * side * long))
    for part in torch.split(starts, at_once):
        pixels = video.frames(part + first, short_side=scaled)
        yield Frames(pixels, times[part.numpy()], part + first)


def all_frames(
    records: Sequence[VideoRecord],
    sampling: Mapping[str, Any],
    skipped: dict[str, str],
    *,
    short_side: int | None = None,
) -> Iterator[tuple[int, Frames]]:
    """Yield the frames of several items with the number of the item. Items that cannot be read are left out.

    Args:
        records, sampling, short_side: see `frames_of`.
        skipped: receives the reason of each item that cannot be read, by id. Items in it are not read.
    """
    for number, record in enumerate(records):
        if record.id in skipped:
            continue
        try:
            for part in frames_of(record, sampling, short_side=short_side):
                yield number, part
        except VideoError as error:
            skipped[record.id] = str(error)
