"""Videos with stored flow as samples of known flow.

Axis letters: n frames or fields, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

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
    """A video, with stored flow in place of the true one; see `praxiscope.data.flow_layouts.FlowSample`.

    Frames are read at the size of the stored flow.

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
        """Number of stored fields. Raises VideoError or DataError if there are none, or they are of another video."""
        return len(self._clip(self._open()))

    def _open(self) -> Video:
        return open_video(self.record.path, time_limit_s=self.time_limit_s)

    def _clip(self, video: Video) -> FlowClip:
        return StoredFlowReader(store=self.store).clip(self.record, video)

    def frames(self, start: int, count: int) -> Tensor:
        """RGB frames at the size of the flow, uint8 [count, 3, H, W]."""
        video = self._open()
        clip = self._clip(self._open())
        seen = video.frames(range(start, start + count), short_side=self.store.contract.short_side)
        return resize(seen, (clip.height, clip.width), "rgb")

    def fields(self, start: int, count: int) -> Tensor:
        """Stored flow, float32 [count, 2, H, W]."""
        return self._clip(self._open()).fields(range(start, start + count))

    def occlusion(self, start: int, count: int) -> None:
        """Unknown."""


def video_samples(records: Sequence[VideoRecord], store: FlowStore, time_limit_s: float) -> list[VideoSample]:
    """The videos of records as samples. Rows of a list that are parts of one file count once."""
    files: dict[object, VideoRecord] = {}
    for record in records:
        files.setdefault(record.path, record)
    return [VideoSample(record, store, time_limit_s) for record in files.values()]
