"""Opening a video, whatever it is kept in: a video file, a folder of frames, a packed clip."""

from __future__ import annotations

from pathlib import Path

from praxiscope.video.decode import Video
from praxiscope.video.framefolder import FrameFolder
from praxiscope.video.packed import PackedVideo, is_packed
from praxiscope.video.sources import check_path

__all__ = ["open_video"]


def open_video(path: str | Path, *, time_limit_s: float = 300.0) -> Video:
    """Open a video file, a packed clip or a folder of numbered pictures for reading.

    Args:
        path: the file, or the folder: its pictures are the frames, 12 a second.
        time_limit_s: seconds that one call may take (for iteration: the time without a new frame).

    Returns:
        The video. It keeps no file open between calls, so it can be pickled and outlives a fork.

    Raises:
        VideoError: the file is missing, empty, not a video, without a video stream, or unreadable.
        ArgumentError: no path was given, but a camera's number, say.
    """
    path = check_path(path)
    if path.is_dir():
        return FrameFolder(path, time_limit_s=time_limit_s)
    if is_packed(path):
        return PackedVideo(path, time_limit_s=time_limit_s)
    return Video(path, time_limit_s=time_limit_s)
