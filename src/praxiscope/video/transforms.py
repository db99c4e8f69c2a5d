"""Colours, and what is done to a whole batch on the device. All transforms can be imported from here.

Axis letters: B videos, S snippets, T frames, N frames of all videos, C channels, H rows, W columns.

Colour jitter here is linear: brightness, contrast, saturation and hue of one video together are one C x C
matrix and one grey offset. So it is one small matrix product per frame, which takes the normalisation along.
Two deviations from torchvision's ColorJitter make it so: values are cut to the range of pixels once, at the
end, not after each step; hue turns in the plane of YIQ's chrominance, not in HSV. Contrast pivots on each
frame's own mean grey, as there: a frame is changed in the same way whichever others stand beside it.
AlexNet's colour noise adds one colour to all of a video, behind the jitter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.types import STEM, Batch
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
    kind_of,
    mirror,
    needed,
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
    "kind_of",
    "mirror",
    "resize",
]

GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601: the Y of YIQ

# The principal components of the colours of ImageNet's pictures, in [0, 1]: a column for each, rows R, G, B; and the
# size of each (fb.resnet.torch; Caffe's are the same, times 255).
_COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_SIZES = (0.2175, 0.0188, 0.0045)

# Frames that are turned to float at a time: few on a CPU, so that they stay in its cache; elsewhere as many
# as keep the passing memory in bounds when a packed batch holds whole videos.
_CPU_FRAMES, _DEVICE_FRAMES = 2, 256


class Jitter(NamedTuple):
    """One draw of colour jitter: three factors, and the hue's shift in turns; and what is added to R, G and B behind
    it, for values in [0, 1]. As given: no change."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    added: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ColorJitter(Transform[Jitter]):
    """Change brightness, contrast, saturation and hue of a video, in this order; flow stays as it is.

    Grey frames (one channel) have brightness and contrast only.

    Args:
        brightness, contrast, saturation: the factor is drawn from [max(0, 1 - value), 1 + value].
        hue: the shift is drawn from [-hue, hue], in turns, at most 0.5; red goes towards green.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if min(self.brightness, self.contrast, self.saturation) < 0 or not 0 <= self.hue <= 0.5:
            raise ArgumentError(
                f"ColorJitter needs strengths of 0 or more and a hue from 0 to 0.5 turns, got {self}"
            )

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Jitter:
        # Always four numbers: switching one part off leaves the others' draws as they were.
        drawn = torch.rand(4, generator=needed(generator, self), dtype=torch.float64).tolist()
        brightness, contrast, saturation = (
            max(0.0, 1 - strength) * (1 - u) + (1 + strength) * u
            for strength, u in zip((self.brightness, self.contrast, self.saturation), drawn[:3], strict=True)
        )
        return Jitter(brightness, contrast, saturation, self.hue * (2 * drawn[3] - 1))

    def apply(self, frames: Tensor, params: Jitter, kind: Kind = "rgb") -> Tensor:
        """Change frames [..., C, H, W] of one video: uint8, or float from 0 to 255."""
        return _coloured(frames, params, kind)

    def size_after(self, size: Size, params: Jitter) -> Size:
        return size


@dataclass(frozen=True)
class Lighting(Transform[Jitter]):
    """Add to all pixels of a video a multiple of each principal component of ImageNet's colours; flow stays as it is.

    (Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, section 4.1, where a
    component's multiple is a Gaussian of standard deviation 0.1 times the component's size.)

    Args:
        std: of the Gaussian.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.std < math.inf:
            raise ArgumentError(f"Lighting needs a std of 0 or more, got {self.std}")

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Jitter:
        drawn = torch.randn(3, generator=needed(generator, self), dtype=torch.float64) * self.std
        steps = drawn * torch.tensor(_SIZES, dtype=torch.float64)
        red, green, blue = (torch.tensor(_COMPONENTS, dtype=torch.float64) @ steps).tolist()
        return Jitter(added=(red, green, blue))

    def apply(self, frames: Tensor, params: Jitter, kind: Kind = "rgb") -> Tensor:
        """Change frames [..., C, H, W] of one video: uint8, or float from 0 to 255."""
        return _coloured(frames, params, kind)

    def size_after(self, size: Size, params: Jitter) -> Size:
        return size


def _coloured(frames: Tensor, params: Jitter, kind: Kind) -> Tensor:
    """Frames of one video in other colours; flow as it is."""
    check_frames(frames, kind)
    if kind == "flow":
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    video = torch.zeros(len(flat), dtype=torch.int64, device=frames.device)
    mixed = _rgb(flat, video, None, [params], mean=(0.0,), std=(1 / 255,))
    if frames.dtype == torch.uint8:
        mixed.round_()
    return mixed.to(frames.dtype).reshape(frames.shape)


@dataclass(frozen=True)
class BatchAugment:
    """Flip, jitter and normalise the videos of a batch, on the device where they are.

    Every video's draw comes from its own seed, on the CPU: it is the same in any batch and on any device.

    Args:
        flip: mirror a video, all its streams, with probability one half.
        jitter: colour jitter of RGB frames; None for none.
        lighting: AlexNet's colour noise, behind the jitter; None for none.
        mean, std: of pixels from 0 to 1, per channel. Fewer values than channels are repeated (stacks).
        flow_mean, flow_std: of flow in pixels, likewise.
        channels_last: lay the frames out so, which gains on most machines with convolutions.

    With ``flip=False`` and neither ``jitter`` nor ``lighting`` there is nothing to draw, and no seeds are needed:
    testing.
    """

    flip: bool = True
    jitter: ColorJitter | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flow_mean: tuple[float, ...] = (0.0,)
    flow_std: tuple[float, ...] = (1.0,)
    channels_last: bool = False
    lighting: Lighting | None = None

    def __post_init__(self) -> None:
        for mean, std in ((self.mean, self.std), (self.flow_mean, self.flow_std)):
            if len(mean) != len(std) or not mean or min(std) <= 0:
                raise ArgumentError(
                    "mean and std must have as many values as one another, and std above 0; "
                    f"got {mean} and {std}"
                )

    @property
    def recolours(self) -> bool:
        """Whether the colours of RGB frames are changed."""
        return self.jitter is not None or self.lighting is not None

    def draw(self, seed: int) -> tuple[bool, Jitter]:
        """What happens to the video with this seed: mirrored or not, and its colours."""
        generator = torch.Generator().manual_seed(seed)
        mirrored = Flip().draw((1, 1), generator)  # drawn in any case: the colours do not depend on flip
        jitter = Jitter()
        if self.recolours:  # likewise: the noise does not depend on the jitter's strength
            jitter = (self.jitter or ColorJitter()).draw((1, 1), generator)
        if self.lighting is not None:
            jitter = jitter._replace(added=self.lighting.draw((1, 1), generator).added)
        return mirrored and self.flip, jitter

    def __call__(self, batch: Batch) -> Batch:
        """The batch with all streams of frames float32, flipped, jittered and normalised. See ``stream``."""
        streams = {
            name: frames if name == STEM else self.stream(frames, batch.seeds, kind_of(name), batch.offsets)
            for name, frames in batch.streams.items()
        }
        return replace(batch, streams=streams)

    def stream(
        self, frames: Tensor, seeds: Sequence[int], kind: Kind = "rgb", offsets: Tensor | None = None
    ) -> Tensor:
        """Flip, jitter and normalise one stream of a batch.

        Args:
            frames: [B, S, C, H, W], or [sum of T, C, H, W] with ``offsets``. Pictures are uint8, or float
                from 0 to 255; flow is float, in pixels.
            seeds: one number per video.
            kind: "rgb" or "flow".
            offsets: int64 [B + 1]; video b owns the rows ``offsets[b]:offsets[b + 1]``.

        Returns:
            float32 of the same shape.

        Raises:
            ArgumentError: shapes, channels or the number of seeds do not fit.
        """
        check_frames(frames, kind)
        if frames.ndim == 5:
            offsets = None  # padded: which frames count does not matter here
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
            raise ArgumentError(f"{videos} videos need as many seeds, got {len(seeds)}")

        flat = frames.reshape(-1, *frames.shape[-3:])
        # video [N]: which video a frame belongs to.
        video = torch.arange(videos, device=frames.device).repeat_interleave(
            counts.to(frames.device), output_size=len(flat)
        )
        mirrored, jitters = None, None
        if self.flip or self.recolours:
            draws = [self.draw(seed) for seed in seeds]
            if any(flips for flips, _ in draws):
                mirrored = torch.tensor([flips for flips, _ in draws]).to(frames.device)[video]
            if self.recolours:
                jitters = [jitter for _, jitter in draws]
        if kind == "flow":
            changed = _flow(flat, mirrored, self.flow_mean, self.flow_std, self.channels_last)
        else:
            changed = _rgb(flat, video, mirrored, jitters, self.mean, self.std, self.channels_last)
        return changed.reshape(frames.shape)


def colour_matrices(draws: Sequence[Jitter], channels: int) -> tuple[Tensor, Tensor]:
    """Write colour jitter as matrices: ``y = matrix @ x + lift * mean grey of the frame``, without what is added.

    Args:
        draws: one per video.
        channels: 3, or 1 for grey.

    Returns:
        matrices float64 [B, C, C] and lifts float64 [B].

    Raises:
        ArgumentError: another number of channels.
    """
    if channels not in (1, 3):
        raise ArgumentError(f"colour jitter needs frames of 3 channels or of 1, got {channels}")
    factors = torch.tensor([draw[:4] for draw in draws], dtype=torch.float64).reshape(-1, 4)
    brightness, contrast, saturation, hue = factors.unbind(1)
    # Contrast: c (b x) + (1 - c) (b m). The later steps leave grey as it is, so the second term passes.
    lift = (1 - contrast) * brightness
    gain = (contrast * brightness)[:, None, None]
    if channels == 1:
        return gain, lift
    # In YIQ saturation scales the chrominance (I, Q) and hue turns it; red lies before green clockwise.
    yiq = torch.tensor([GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
    turn = torch.zeros(len(factors), 3, 3, dtype=torch.float64)
    angle = -2 * math.pi * hue
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()
    turn[:, 2, 1] = saturation * angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    return gain * (yiq.inverse() @ turn @ yiq), lift


def _rgb(
    frames: Tensor,
    video: Tensor,
    mirrored: Tensor | None,
    jitters: Sequence[Jitter] | None,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool = False,
) -> Tensor:
    """Flip, jitter and normalise frames [N, C, H, W] of 0 to 255; ``video`` and ``mirrored`` are [N]."""
    channels = frames.shape[1]
    if (
        jitters is not None and channels > 3 and channels % 3 == 0
    ):  # stacks: contrast turns about each frame's own grey
        count = channels // 3
        apart = _rgb(
            frames.reshape(-1, 3, *frames.shape[2:]),
            video.repeat_interleave(count),
            None if mirrored is None else mirrored.repeat_interleave(count),
            jitters,
            mean,
            std,
        )
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return apart.reshape(frames.shape).contiguous(memory_format=layout)
    shift, scale = _per_channel(mean, channels), 1 / _per_channel(std, channels)
    device, made = frames.device, _like(frames, channels_last)
    if jitters is None:
        gain, offset = ((v.float().to(device)[:, None, None]) for v in (scale / 255, -shift * scale))
        for part in _parts(frames):
            made[part] = _mirrored(frames, mirrored, part).float().mul_(gain).add_(offset)
        return made

    matrices, lift = colour_matrices(jitters, channels)
    # Normalisation goes into the same matrix: scale (M x / 255 + lift m / 255 - shift), limits likewise.
    matrix = (scale[:, None] / 255 * matrices).float().to(device)[video]
    lifts = (scale / 255 * lift[:, None]).float().to(device)[video]
    offset = (lifts * _mean_grey(frames)[:, None])[:, :, None]  # [N, C, 1]
    offset -= (shift * scale).float().to(device)[:, None]
    added = torch.tensor([draw.added for draw in jitters], dtype=torch.float64)  # [B, 3]
    if channels == 1:
        added = added @ torch.tensor(GREY, dtype=torch.float64)[:, None]
    offset += (scale * added).float().to(device)[video, :, None]
    low, high = (((v - shift) * scale).float().to(device)[:, None] for v in (0, 1))
    for part in _parts(frames):
        pixels = _mirrored(frames, mirrored, part).float().flatten(2)  # [n, C, H W]
        mixed = torch.baddbmm(offset[part], matrix[part], pixels)
        made[part] = mixed.clamp_(low, high).reshape(-1, *frames.shape[1:])
    return made


def _flow(
    flow: Tensor,
    mirrored: Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool,
) -> Tensor:
    """Flip and normalise flow [N, 2L, H, W]; ``mirrored`` is [N]."""
    made = _like(flow, channels_last)
    shift, scale = (
        _per_channel(values, flow.shape[1]).float().to(flow.device)[:, None, None] for values in (mean, std)
    )
    for part in _parts(flow):
        made[part] = (_mirrored(flow, mirrored, part, "flow").float() - shift) / scale
    return made


def _mean_grey(frames: Tensor) -> Tensor:
    """The mean grey of each frame: float32 [N]."""
    means = torch.cat([frames[part].float().mean((2, 3)) for part in _parts(frames)])  # [N, C]
    return (means * torch.tensor(GREY, device=means.device)).sum(1) if means.shape[1] == 3 else means[:, 0]


def _mirrored(frames: Tensor, mirrored: Tensor | None, part: slice, kind: Kind = "rgb") -> Tensor:
    some = frames[part]
    if mirrored is None:
        return some
    return torch.where(mirrored[part, None, None, None], mirror(some, kind), some)


def _parts(frames: Tensor) -> list[slice]:
    step = _CPU_FRAMES if frames.device.type == "cpu" else _DEVICE_FRAMES
    return [slice(start, start + step) for start in range(0, len(frames), step)]


def _like(frames: Tensor, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(frames.shape, dtype=torch.float32, device=frames.device, memory_format=layout)


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """Values for every channel, repeated where there are fewer: float64 [C]."""
    if channels % len(values):
        raise ArgumentError(f"mean and std have {len(values)} values, which do not fit {channels} channels")
    return torch.tensor(values, dtype=torch.float64).repeat(channels // len(values))
