"""Extract the trajectories of a video file, at bounded memory. Does not import torch.

Axis letters: N trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from praxiscope.data.frame_range import frame_range
from praxiscope.errors import VideoError
from praxiscope.trajectories.extraction import extract, extract_parts
from praxiscope.trajectories.result import Trajectories, joined
from praxiscope.trajectories.settings import Extraction
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video

__all__ = ["extract_frames", "extract_video", "video_parts"]

_HELD = 1 << 26  # bytes of frames that are in memory at once


def extract_video(
    record: VideoRecord, extraction: Extraction, *, time_limit_s: float = 300.0
) -> Trajectories:
    """The trajectories of a video, or of a part of one.

    Args:
        record: the video.
        extraction: how they are extracted.
        time_limit_s: for one call of the decoder.

    Raises:
        VideoError: the file cannot be read, or its frames are smaller than a patch.
    """
    video = open_video(record.path, time_limit_s=time_limit_s)
    return extract_frames(video, extraction, *frame_range(record, video))


def extract_frames(
    video: Video, extraction: Extraction, first: int = 0, last: int | None = None
) -> Trajectories:
    """The trajectories of the frames ``first`` to ``last - 1`` of an open video; of all frames by default."""
    last = len(video) if last is None else last
    kept = _Kept(extraction.most, extraction.settings.seed)
    for part in extract_parts(_frames(video, extraction, first, last), extraction.settings):
        kept.add(part)
    found = kept.finish()
    if found is None:
        return extract(iter(()), settings=extraction.settings)
    found.info[:, -1] /= max(last - first, 1)
    return found


def video_parts(video: Video, extraction: Extraction) -> Iterator[Trajectories]:
    """The trajectories of an open video that end at each frame; see
    `praxiscope.trajectories.extraction.extract_parts`."""
    return extract_parts(_frames(video, extraction, 0, len(video)), extraction.settings)


def _frames(video: Video, extraction: Extraction, first: int, last: int) -> Iterator[NDArray[np.uint8]]:
    """The frames, scaled, a few in memory at a time."""
    side = min(video.width, video.height)
    if side < extraction.settings.patch:
        raise VideoError(
            video.path,
            f"has frames of {video.width} x {video.height} pixels; trajectories need at least "
            f"{extraction.settings.patch} along each side",
            "Leave it out.",
        )
    smaller = extraction.short_side if 0 < extraction.short_side < side else None
    pixels = video.width * video.height * ((smaller or side) / side) ** 2
    at_once = max(1, int(_HELD // (3 * pixels)))

    for start in range(first, last, at_once):
        found = video.arrays(np.arange(start, min(last, start + at_once)), short_side=smaller)
        yield from found.transpose(0, 3, 1, 2)


class _Kept:
    """A random sample of trajectories that come one after the other: those with the smallest of random numbers."""

    def __init__(self, most: int, seed: int) -> None:
        self._most, self._draw = most, np.random.default_rng(seed)
        self._parts: list[Trajectories] = []
        self._keys: list[NDArray[np.float64]] = []

    def add(self, part: Trajectories) -> None:
        self._parts.append(part)
        self._keys.append(self._draw.random(len(part)))
        if sum(map(len, self._keys)) > 2 * self._most:
            self._prune()

    def _prune(self) -> None:
        keys, whole = np.concatenate(self._keys), joined(self._parts)
        if len(keys) > self._most:
            chosen = np.sort(np.argpartition(keys, self._most)[: self._most])
            keys, whole = keys[chosen], whole.take(chosen)
        self._parts, self._keys = [whole], [keys]

    def finish(self) -> Trajectories | None:
        if not self._parts:
            return None
        self._prune()
        return self._parts[0]
