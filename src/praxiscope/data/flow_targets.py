"""Read stored flow as the target of a network that learns to estimate it.

Axis letters: S snippets of a video, F flow fields of a snippet, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from praxiscope.data.flow_reader import StoredFlowReader
from praxiscope.flow.area import area_average
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.geometry import Box, Size, as_pair, frame_size

__all__ = ["FlowTargetReader", "target_of", "target_size"]


def target_size(size: int | Size, stride: int) -> Size:
    """Rows and columns of targets for crops of ``size`` pixels and a network that estimates one vector for each
    ``stride`` pixels; partial areas at the end count."""
    rows, columns = (-(-side // stride) for side in as_pair(size))
    return rows, columns


def target_of(part: Tensor, crop: Size, stride: int) -> Tensor:
    """Flow of a part of a frame as the target for the same part of the frame, resized to ``crop``.

    Args:
        part: flow in pixels, float [S, 2F, H, W]; NaN where it is unknown.
        crop: rows and columns of the resized frames.
        stride: their pixels for one vector of the target.

    Returns:
        [S, 2F, h, w], averaged over areas, in pixels of the resized frames.
    """
    averaged = area_average(part, target_size(crop, stride)).clone()
    (rows, columns), (height, width) = crop, frame_size(part)
    averaged[:, 0::2] *= columns / width
    averaged[:, 1::2] *= rows / height
    return averaged


@dataclass(frozen=True)
class FlowTargetReader(StoredFlowReader):
    """Reads the F fields that follow the start of each snippet, float32 [S, 2F, h, w].

    The same part of the frame is cut as of the RGB frames, at the resolution of the stored flow. Vectors are scaled to
    pixels of the crop after its resizing, and averaged over areas. Fields that lead beyond the end of a record are NaN:
    nothing is known of them.

    Attributes:
        crop: rows and columns of crops after resizing.
        stride: pixels of a crop for one vector of a target.
    """

    subtract_mean: bool = False
    crop: Size = (224, 224)
    stride: int = 4

    @property
    def result_size(self) -> Size:
        """h and w."""
        return target_size(self.crop, self.stride)

    def __call__(
        self, record: VideoRecord, video: Video, starts: Tensor, first: int, last: int, box: Box | None
    ) -> Tensor:
        count = last - first - 1  # fields of the record
        if count < 1:
            return torch.full((len(starts), 2 * self.length, *self.result_size), torch.nan)
        numbers = starts[:, None] + torch.arange(self.length)
        fields = self._gather(record, video, numbers.clamp(max=count - 1), first, backward=False)
        fields[numbers >= count] = torch.nan
        flow = fields.flatten(1, 2)
        return target_of(flow if box is None else box.cut(flow), self.crop, self.stride)
