"""The true segments of a data set whose list has starts and ends: parts of one file are segments of one video."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from praxiscope.data.files import first_few, video_id
from praxiscope.data.manifest import Manifest
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["SegmentedVideo", "segmented_videos"]


@dataclass(frozen=True)
class SegmentedVideo:
    """A video and the records of its parts.

    Attributes:
        id: its path below the data set's root.
        path: the file.
        parts: by their starts. A part without labels is background; one without a start or an end begins or ends with
            the file.
        split: "train", "val" or "test", the same for all parts; None if there is no split.
    """

    id: str
    path: Path
    parts: tuple[VideoRecord, ...]
    split: str | None

    def actions(self, length_s: float = math.inf) -> list[tuple[float, float, str]]:
        """Start, end and label of every action, by their starts.

        Args:
            length_s: length of the video, where parts without an end end. Actions that start later are left out.
        """
        found = [
            (part.start_s or 0.0, length_s if part.end_s is None else part.end_s, label)
            for part in self.parts
            for label in part.labels
        ]
        return sorted((start, end, label) for start, end, label in found if start < length_s)


def segmented_videos(manifest: Manifest) -> list[SegmentedVideo]:
    """The videos of a data set with their segments, in the order of the list.

    Raises:
        DataError: no record has a start or an end, or the parts of a video are in different splits.
    """
    if all(record.start_s is None and record.end_s is None for record in manifest.records):
        raise DataError(
            f"{manifest.name}: no video has a start or an end, so there are no segments. Give a list with the columns "
            "path,label,start,end."
        )
    parts: dict[str, list[VideoRecord]] = {}
    for record in manifest.records:
        parts.setdefault(os.path.abspath(record.path), []).append(record)  # noqa: PTH100  (keeps links)
    videos = [_video(manifest.root, records) for records in parts.values()]
    if mixed := [video.id for video in videos if len({part.split for part in video.parts}) > 1]:
        raise DataError(
            f"{manifest.name}: {counted(len(mixed), 'video has', 'videos have')} segments in different splits: "
            f"{first_few(mixed)}. Give all segments of a video the same split."
        )
    return videos


def _video(root: Path, records: Sequence[VideoRecord]) -> SegmentedVideo:
    path = records[0].path
    below = path.relative_to(root) if path.is_relative_to(root) else path
    ordered = sorted(records, key=lambda record: record.start_s or 0.0)
    return SegmentedVideo(video_id(below), path, tuple(ordered), records[0].split)
