"""Augmentation and normalisation of a whole batch on its device. All transforms can be imported from here.

Axis letters: B videos, S snippets, T frames, N frames of all videos, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.types import FLOW_TARGET, STEM, Batch
from praxiscope.video.colour import (
    ColorJitter,
    Jitter,
    Lighting,
    normalise_flow,
    normalise_flow_image,
    normalise_rgb,
)
from praxiscope.video.crops import (
    CenterCrop,
    FullFrame,
    JitteredCrop,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    TenCrop,
    ThreeCrop,
)
from praxiscope.video.geometry import (
    Box,
    Compose,
    Flip,
    Kind,
    ShortSide,
    Size,
    Transform,
    check_frames,
    flip,
    kind_of,
    resize,
)

__all__ = [
    "BatchAugment",
    "Box",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Flip",
    "FullFrame",
    "Jitter",
    "JitteredCrop",
    "Kind",
    "Lighting",
    "MultiScaleCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "ShortSide",
    "Size",
    "TenCrop",
    "ThreeCrop",
    "Transform",
    "flip",
    "kind_of",
    "resize",
]


@dataclass(frozen=True)
class BatchAugment:
    """Flip, jitter and normalise the videos of a batch, on their device.

    Each video has its own seed, and numbers are drawn on the CPU: they are the same in any batch and on any device.

    Args:
        flip: flip all streams of a video horizontally with probability one half.
        jitter: colour jitter of RGB frames; None for none.
        lighting: AlexNet's colour noise, after the jitter; None for none.
        mean, std: of pixels from 0 to 1, per channel. Fewer values than channels are repeated (stacks).
        flow_mean, flow_std: of flow in pixels, likewise; of flow images, of levels from 0 to 1.
        flow_image: make images of three channels of flow, see `praxiscope.video.colour.normalise_flow_image`.
        channels_last: return frames in this memory format, in which convolutions are faster on most machines.

    With ``flip=False`` and neither ``jitter`` nor ``lighting``, as in testing, no seeds are needed.
    """

    flip: bool = True
    jitter: ColorJitter | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flow_mean: tuple[float, ...] = (0.0,)
    flow_std: tuple[float, ...] = (1.0,)
    channels_last: bool = False
    lighting: Lighting | None = None
    flow_image: bool = False

    def __post_init__(self) -> None:
        for mean, std in ((self.mean, self.std), (self.flow_mean, self.flow_std)):
            if len(mean) != len(std) or not mean or min(std) <= 0:
                raise ArgumentError(
                    "mean and std must have the same number of values, and std must be above 0; "
                    f"got {mean} and {std}"
                )

    @property
    def recolours(self) -> bool:
        """Whether the colours of RGB frames are changed."""
        return self.jitter is not None or self.lighting is not None

    def draw(self, seed: int) -> tuple[bool, Jitter]:
        """What is drawn for the video with this seed: whether it is flipped, and its colour jitter."""
        generator = torch.Generator().manual_seed(seed)
        flipped = Flip().draw((1, 1), generator)  # always drawn, so that the colours do not depend on flip
        jitter = Jitter()
        if self.recolours:  # always drawn, so that the noise does not depend on the jitter's strength
            jitter = (self.jitter or ColorJitter()).draw((1, 1), generator)
        if self.lighting is not None:
            jitter = jitter._replace(added=self.lighting.draw((1, 1), generator).added)
        return flipped and self.flip, jitter

    def __call__(self, batch: Batch) -> Batch:
        """The batch with all streams of frames float32, flipped, jittered and normalised. See ``stream``."""
        streams = dict(batch.streams)
        for name, frames in batch.streams.items():
            if name != STEM:
                # A target is flipped with the frames, but stays in pixels.
                augment = self._unnormalised if name == FLOW_TARGET else self
                streams[name] = augment.stream(frames, batch.seeds, kind_of(name), batch.offsets)
        return replace(batch, streams=streams)

    @property
    def _unnormalised(self) -> BatchAugment:
        return replace(self, flow_mean=(0.0,), flow_std=(1.0,), flow_image=False)

    def stream(
        self, frames: Tensor, seeds: Sequence[int], kind: Kind = "rgb", offsets: Tensor | None = None
    ) -> Tensor:
        """Flip, jitter and normalise one stream of a batch.

        Args:
            frames: [B, S, C, H, W], or [sum of T, C, H, W] with ``offsets``. RGB frames are uint8, or float from 0
                to 255; flow is float, in pixels.
            seeds: one number per video.
            kind: "rgb" or "flow".
            offsets: int64 [B + 1]; video b owns the rows ``offsets[b]:offsets[b + 1]``.

        Returns:
            float32 of the same shape; for flow images, with three channels.

        Raises:
            ArgumentError: wrong shapes, channels or number of seeds.
        """
        check_frames(frames, kind)
        if frames.ndim == 5:
            offsets = None  # padded: all frames are changed alike
        if frames.ndim != (5 if offsets is None else 4):
            raise ArgumentError(
                "a dense stream must be [B, S, C, H, W], a packed one [sum of T, C, H, W] with offsets; got "
                f"{list(frames.shape)} with{'out' if offsets is None else ''} offsets"
            )
        if offsets is None:
            videos, counts = len(frames), torch.full((len(frames),), frames.shape[1])
        else:
            videos, counts = len(offsets) - 1, offsets.diff()
        if (self.flip or self.recolours) and len(seeds) != videos:
            raise ArgumentError(f"seeds must have one number per video: {videos} videos, {len(seeds)} seeds")

        flat = frames.reshape(-1, *frames.shape[-3:])
        # video [N]: which video a frame belongs to.
        video = torch.arange(videos, device=frames.device).repeat_interleave(
            counts.to(frames.device), output_size=len(flat)
        )
        flipped, jitters = None, None
        if self.flip or self.recolours:
            draws = [self.draw(seed) for seed in seeds]
            if any(flips for flips, _ in draws):
                flipped = torch.tensor([flips for flips, _ in draws]).to(frames.device)[video]
            if self.recolours:
                jitters = [jitter for _, jitter in draws]
        if kind == "flow":
            normalise = normalise_flow_image if self.flow_image else normalise_flow
            changed = normalise(flat, flipped, self.flow_mean, self.flow_std, self.channels_last)
        else:
            changed = normalise_rgb(flat, video, flipped, jitters, self.mean, self.std, self.channels_last)
        return changed.reshape(*frames.shape[:-3], *changed.shape[-3:])
