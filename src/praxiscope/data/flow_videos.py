"""Videos with stored flow as samples of known flow.

Axis letters: n frames or fields, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from praxiscope.data.dataset import frame_range
from praxiscope.data.flow_reader import StoredFlowReader
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.store import FlowStore
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.geometry import resize
from praxiscope.video.opening import open_video

__all__ = ["VideoSample", "video_samples"]


@dataclass(frozen=True)
class VideoSample:
    """A video or a part of one, with stored flow in place of the true one.

    See `praxiscope.data.flow_layouts.FlowSample`. Frames are read at the size of the stored flow.

    Attributes:
        record: the video.
        store: its flow.
        time_limit_s: seconds that reading it may take.
    """

    record: VideoRecord
    store: FlowStore
    time_limit_s: float = 300.0

    @property
    def id(self) -> str:
        """The id of the record."""
        return self.record.id

    @property
    def num_fields(self) -> int:
        """Number of fields between the frames of the record. Raises VideoError or DataError if there are none, or they
        are of another video."""
        first, last = frame_range(self.record, self._open())
        return min(last, len(self._clip(self._open())) + 1) - first - 1

    def _open(self) -> Video:
        return open_video(self.record.path, time_limit_s=self.time_limit_s)

    def _clip(self, video: Video) -> FlowClip:
        return StoredFlowReader(store=self.store).clip(self.record, video)

    def _numbers(self, start: int, count: int) -> range:
        """Numbers of frames or fields in the file."""
        first, _ = frame_range(self.record, self._open())
        return range(first + start, first + start + count)

    def frames(self, start: int, count: int) -> Tensor:
        """RGB frames at the size of the flow, uint8 [count, 3, H, W]."""
        video, clip = self._open(), self._clip(self._open())
        short_side = self.store.contract.short_side
        seen = video.frames(self._numbers(start, count), short_side=short_side)
        return resize(seen, (clip.height, clip.width), "rgb")

    def fields(self, start: int, count: int) -> Tensor:
        """Stored flow, float32 [count, 2, H, W]."""
        return self._clip(self._open()).fields(self._numbers(start, count))

    def occlusion(self, start: int, count: int) -> None:
        """Unknown."""


def video_samples(records: Sequence[VideoRecord], store: FlowStore, time_limit_s: float) -> list[VideoSample]:
    """The videos, or the parts of videos, of records as samples."""
    return [VideoSample(record, store, time_limit_s) for record in records]
