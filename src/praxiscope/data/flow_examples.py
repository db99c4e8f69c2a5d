"""Training examples of networks that estimate flow: frames of a sample, and the flow of the same part as a target.

Axis letters: T frames, F flow fields, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.data.batch import mix_seeds
from praxiscope.data.dataset import Geometry
from praxiscope.data.flow_layouts import FlowSample
from praxiscope.data.flow_targets import target_of
from praxiscope.errors import DataError
from praxiscope.types import FLOW_TARGET, Clip
from praxiscope.video.crops import RandomCrop
from praxiscope.video.geometry import Box, Size, as_pair, frame_size, resize

__all__ = ["FlowExamples", "NearNativeCrop", "read_sample", "rotated"]


def read_sample(sample: FlowSample, start: int, frames: int, fields: int) -> tuple[Tensor, Tensor]:
    """Read consecutive frames of a sample and the flow that follows each.

    Args:
        sample: frames with known flow.
        start: first frame.
        frames: T. A sample with fewer repeats its last frame.
        fields: F, at most T. What the sample does not have is nan.

    Returns:
        uint8 [T, 3, H, W], and float32 [F, 2, H, W] in pixels.
    """
    last = sample.num_fields  # number of its last frame
    seen = sample.frames(start, min(frames, last + 1 - start))
    known = sample.fields(start, min(fields, last - start))
    seen = torch.cat([seen, seen[-1:].expand(frames - len(seen), -1, -1, -1)])
    blank = known.new_full((fields - len(known), *known.shape[1:]), math.nan)
    return seen, torch.cat([known, blank])


def rotated(frames: Tensor, flow: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Rotate frames and their flow about the centre, in the frame's own size.

    Args:
        frames: uint8 [T, 3, H, W].
        flow: float [F, 2, H, W] in pixels; nan where it is unknown.
        degrees: angle; positive is clockwise on the screen.

    Returns:
        Both rotated. Vectors turn with the frame. Flow is nan at places that come from outside; frames are reflected.
    """
    height, width = frame_size(frames)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float32) - (width - 1) / 2,
        indexing="ij",
    )
    # The place from which each pixel comes: the inverse rotation.
    from_x, from_y = cosine * x + sine * y, cosine * y - sine * x
    grid = torch.stack((2 * from_x / width, 2 * from_y / height), dim=-1)[
        None
    ]  # [1, H, W, 2], -1 … 1 at the borders

    def sampled(values: Tensor, padding: str, mode: str = "bilinear") -> Tensor:
        return F.grid_sample(
            values.flatten(0, 1)[None], grid, mode=mode, padding_mode=padding, align_corners=False
        ).view_as(values)

    turned = sampled(frames.float(), "reflection").round_().clamp_(0, 255).to(torch.uint8)
    moved = sampled(flow.nan_to_num(0.0), "border")
    # Bilinear values near unknown flow, or near the border, would be mixed with zeros.
    known = sampled(flow.isfinite().all(1, keepdim=True).float(), "zeros") > 1 - 1e-4
    dx, dy = moved.unbind(1)
    vectors = torch.stack((cosine * dx - sine * dy, sine * dx + cosine * dy), dim=1)
    return turned, vectors.masked_fill(~known, math.nan)


@dataclass(frozen=True)
class NearNativeCrop:
    """A square crop at a random place, of about as many pixels as the result, so that motion keeps its length.

    Args:
        size: side of the result.
        scale: largest factor by which the crop is larger or smaller; it is smaller where the frame is.
    """

    size: int
    scale: float = 1.25

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        """Draw a crop of a frame of these rows and columns."""
        factor = self.scale ** (2 * float(torch.rand((), generator=generator)) - 1)
        side = min(round(self.size * factor), *size)
        return RandomCrop(side).draw(size, generator)


@dataclass(frozen=True)
class FlowExamples:
    """Reads an example of a sample: T frames from a random start, a random crop, and the flow of the crop.

    Attributes:
        records: the samples.
        geometry: the crop.
        frames, fields: T and F of the network.
        stride: pixels of a crop for one vector of a target.
        rotation: largest angle of a random rotation, degrees; for frames with exact flow.
    """

    records: Sequence[FlowSample]
    geometry: Geometry
    frames: int
    fields: int
    stride: int = 4
    rotation: float = 0.0

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, seed: int = 0) -> Clip:
        """Read an example.

        Returns:
            A clip with the streams "rgb", uint8 [1, 3 T, h, w], and the target, float32 [1, 2 F, h / stride, w /
            stride] in pixels of the crop.

        Raises:
            VideoError, DataError: the sample cannot be read.
        """
        sample = self.records[index]
        generator = torch.Generator().manual_seed(seed)
        room = max(sample.num_fields - self.fields, 0)
        start = int(torch.randint(room + 1, (), generator=generator))
        frames, flow = read_sample(sample, start, self.frames, self.fields)
        if frame_size(frames) != frame_size(flow):
            raise DataError(
                f"{sample.id}: has frames of {list(frame_size(frames))} pixels and flow of {list(frame_size(flow))}. "
                "Leave it out."
            )
        if self.rotation:
            angle = self.rotation * (2 * float(torch.rand((), generator=generator)) - 1)
            frames, flow = rotated(frames, flow, angle)
        box = self.geometry.draw(frame_size(frames), generator)
        crop = as_pair(self.geometry.size)
        rgb = resize(box.cut(frames), crop, "rgb").flatten(0, 1)[None]
        target = target_of(box.cut(flow.flatten(0, 1)[None]), crop, self.stride)
        return Clip(
            {"rgb": rgb, FLOW_TARGET: target},
            torch.zeros((), dtype=torch.int64),
            sample.id,
            mix_seeds(seed, 1),
        )
