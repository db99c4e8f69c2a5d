"""Open a video: a video file, a folder of frames or a packed clip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from praxiscope.errors import ArgumentError
from praxiscope.video.decode import Video
from praxiscope.video.framearray import FrameArray, Frames
from praxiscope.video.framefolder import FrameFolder
from praxiscope.video.packed import PackedVideo, is_packed
from praxiscope.video.sources import check_path

__all__ = ["VideoSource", "as_video", "open_video"]

VideoSource: TypeAlias = "str | Path | Video | Frames"
"""A video: its path, an open video, or frames in memory."""


def open_video(path: str | Path, *, time_limit_s: float = 300.0) -> Video:
    """Open a video file, a packed clip or a folder of numbered images for reading.

    Args:
        path: the file, or a folder whose images are the frames, at 12 frames per second.
        time_limit_s: seconds that one call may take (for iteration: the time without a new frame).

    Returns:
        The video. It keeps no file open between calls, so it can be pickled and outlives a fork.

    Raises:
        VideoError: the file is missing, empty, not a video, without a video stream, or unreadable.
        ArgumentError: not a path, for example the number of a camera.
    """
    path = check_path(path)
    if path.is_dir():
        return FrameFolder(path, time_limit_s=time_limit_s)
    if is_packed(path):
        return PackedVideo(path, time_limit_s=time_limit_s)
    return Video(path, time_limit_s=time_limit_s)


def as_video(source: VideoSource, fps: float | None = None, *, timed: bool = False) -> Video:
    """Open a video by its path, or wrap frames in memory. An open video is returned unchanged.

    Args:
        source: a path; an open video; an array or tensor uint8 [T, H, W, 3] of RGB frames; or an iterable of frames
            uint8 [H, W, 3].
        fps: frames per second of frames in memory; None for a file, which has times of its own.
        timed: whether the times of frames are needed, so that frames in memory need ``fps``.

    Raises:
        ArgumentError: frames of another type or shape, or ``fps`` is missing or not needed.
        VideoError: the file cannot be read.
    """
    if not isinstance(source, (str, os.PathLike, Video)):
        if timed and fps is None:
            raise ArgumentError("fps is missing: frames in memory have no times of their own")
        return FrameArray(source, fps=fps)
    if fps is not None:
        raise ArgumentError(f"fps = {fps:g} is for frames in memory; a file has times of its own")
    return source if isinstance(source, Video) else open_video(source)
