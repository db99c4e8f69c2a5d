"""The frames of a video that a record stands for. Does not import torch."""

from __future__ import annotations

from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.times import part

__all__ = ["frame_range"]


def frame_range(record: VideoRecord, video: Video) -> tuple[int, int]:
    """First frame of a record and the one after its last, as counted by `Video.quick_length`.

    Raises DataError if the record's part contains no frames.
    """
    if record.start_s is None and record.end_s is None:
        return 0, video.quick_length()
    video.quick_length()  # times from the packets: confirming them would decode the whole file
    times = video.timestamps()
    first, last = part(times, record.start_s, record.end_s, video.same_s)
    if last <= first:
        end = "the end" if record.end_s is None else f"{record.end_s:g} s"
        raise DataError(
            f"{record.id}: no frames between {record.start_s or 0:g} s and {end}; the video has frames from "
            f"{times[0]:.2f} s to {times[-1]:.2f} s. Correct its start and end."
        )
    return first, last
