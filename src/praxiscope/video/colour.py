"""Colour jitter and normalisation of RGB frames, and normalisation of flow.

Axis letters: B videos, N frames of all videos, C channels, H rows, W columns, L flow fields in a stack.

Colour jitter is linear: brightness, contrast, saturation and hue of one video together are one C x C matrix and one
grey offset, so they take one small matrix product per frame, which includes the normalisation. There are two
differences from torchvision's ColorJitter. Values are clipped to the range of pixels once, at the end, not after each
step. Hue turns in the chrominance plane of YIQ, not in HSV. As in torchvision, contrast pivots on the mean grey of each
frame, so a frame is changed in the same way whichever other frames are beside it. AlexNet's colour noise adds one
colour to all pixels of a video, after the jitter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.video.geometry import Kind, Size, Transform, check_frames, flip, needed

__all__ = [
    "ColorJitter",
    "Jitter",
    "Lighting",
    "colour_matrices",
    "flow_levels",
    "normalise_flow",
    "normalise_flow_image",
    "normalise_rgb",
]

FLOW_IMAGE_BOUND = 40.0  # pixels (Ng, 2018, section 3.3)
GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601: the Y of YIQ

# The principal components of the colours of ImageNet's images, in [0, 1]: a column for each, rows R, G, B; and the size
# of each (fb.resnet.torch; Caffe's are the same, times 255).
_COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_SIZES = (0.2175, 0.0188, 0.0045)

# Frames that are converted to float at a time: few on a CPU, so that they stay in its cache; on other devices more, but
# not whole videos, to bound the memory that a packed batch needs.
_CPU_FRAMES, _DEVICE_FRAMES = 2, 256


class Jitter(NamedTuple):
    """One draw of colour jitter: three factors, the hue shift in turns, and the offsets then added to R, G and B, for
    values in [0, 1]. The defaults change nothing."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    added: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ColorJitter(Transform[Jitter]):
    """Change brightness, contrast, saturation and hue of a video, in this order. Flow is not changed.

    For grey frames (one channel), only brightness and contrast are changed.

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
        # Always four numbers: the draws of the other parts do not change when one part is off.
        drawn = torch.rand(4, generator=needed(generator, self), dtype=torch.float64).tolist()
        brightness, contrast, saturation = (
            max(0.0, 1 - strength) * (1 - u) + (1 + strength) * u
            for strength, u in zip((self.brightness, self.contrast, self.saturation), drawn[:3], strict=True)
        )
        return Jitter(brightness, contrast, saturation, self.hue * (2 * drawn[3] - 1))

    def apply(self, frames: Tensor, params: Jitter, kind: Kind = "rgb") -> Tensor:
        """Change frames [..., C, H, W] of one video: uint8, or float from 0 to 255."""
        return _with_colours(frames, params, kind)

    def size_after(self, size: Size, params: Jitter) -> Size:
        return size


@dataclass(frozen=True)
class Lighting(Transform[Jitter]):
    """Add a multiple of each principal component of ImageNet's colours to all pixels of a video. Flow is not changed.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, section 4.1,
    where the multiple is a Gaussian of standard deviation 0.1 times the size of the component.

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
        return _with_colours(frames, params, kind)

    def size_after(self, size: Size, params: Jitter) -> Size:
        return size


def _with_colours(frames: Tensor, params: Jitter, kind: Kind) -> Tensor:
    """Change the colours of the frames of one video. Flow is returned as it is."""
    check_frames(frames, kind)
    if kind == "flow":
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    video = torch.zeros(len(flat), dtype=torch.int64, device=frames.device)
    mixed = normalise_rgb(flat, video, None, [params], mean=(0.0,), std=(1 / 255,))
    if frames.dtype == torch.uint8:
        mixed.round_()
    return mixed.to(frames.dtype).reshape(frames.shape)


def colour_matrices(draws: Sequence[Jitter], channels: int) -> tuple[Tensor, Tensor]:
    """Colour jitter as matrices: ``y = matrix @ x + lift * mean grey of the frame``, without `Jitter.added`.

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


def normalise_rgb(
    frames: Tensor,
    video: Tensor,
    flipped: Tensor | None,
    jitters: Sequence[Jitter] | None,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool = False,
) -> Tensor:
    """Flip, jitter and normalise frames [N, C, H, W] of 0 to 255; ``video`` and ``flipped`` are [N]."""
    channels = frames.shape[1]
    if (
        jitters is not None and channels > 3 and channels % 3 == 0
    ):  # stacks: contrast turns about each frame's own grey
        count = channels // 3
        apart = normalise_rgb(
            frames.reshape(-1, 3, *frames.shape[2:]),
            video.repeat_interleave(count),
            None if flipped is None else flipped.repeat_interleave(count),
            jitters,
            mean,
            std,
        )
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return apart.reshape(frames.shape).contiguous(memory_format=layout)
    shift, scale = _per_channel(mean, channels), 1 / _per_channel(std, channels)
    device, out = frames.device, _like(frames, channels_last)
    if jitters is None:
        gain, offset = ((v.float().to(device)[:, None, None]) for v in (scale / 255, -shift * scale))
        for part in _parts(frames):
            out[part] = _flipped(frames, flipped, part).float().mul_(gain).add_(offset)
        return out

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
        pixels = _flipped(frames, flipped, part).float().flatten(2)  # [n, C, H W]
        mixed = torch.baddbmm(offset[part], matrix[part], pixels)
        out[part] = mixed.clamp_(low, high).reshape(-1, *frames.shape[1:])
    return out


def normalise_flow(
    flow: Tensor,
    flipped: Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool,
) -> Tensor:
    """Flip and normalise flow [N, 2L, H, W]; ``flipped`` is [N]."""
    out = _like(flow, channels_last)
    shift, scale = (
        _per_channel(values, flow.shape[1]).float().to(flow.device)[:, None, None] for values in (mean, std)
    )
    for part in _parts(flow):
        out[part] = (_flipped(flow, flipped, part, "flow").float() - shift) / scale
    return out


def flow_levels(flow: Tensor, bound: float = FLOW_IMAGE_BOUND) -> Tensor:
    """Levels of flow in an image: displacements in pixels, clipped to [-bound, bound], as whole numbers from 0 to 255.

    x becomes 127.5 + 127.5 x / bound, rounded (Ng, 2018, section 3.3); no motion is 128.
    """
    return (flow.clamp(-bound, bound) * (127.5 / bound)).add_(127.5).round_()


def normalise_flow_image(
    flow: Tensor,
    flipped: Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool,
) -> Tensor:
    """Flip flow [N, 2, H, W] in pixels, and make normalised images [N, 3, H, W] of it, for networks of RGB frames.

    The first two channels are dx and dy as `flow_levels`, divided by 255, minus ``mean``, divided by ``std``. The third
    channel is zero after the subtraction of the mean.

    Args:
        flow: float, in pixels.
        flipped: bool [N], which fields to flip horizontally; None for none.
        mean, std: of levels from 0 to 1, one value or three.
        channels_last: the memory format of the result.
    """
    if flow.shape[1] != 2:
        raise ArgumentError(f"a flow image is made of one field, [N, 2, H, W]; got {list(flow.shape)}")
    out = _like(flow[:, :1].expand(-1, 3, -1, -1), channels_last)
    shift, scale = (
        _per_channel(values, 3)[:2].float().to(flow.device)[:, None, None] for values in (mean, std)
    )
    for part in _parts(flow):
        levels = flow_levels(_flipped(flow, flipped, part, "flow").float())
        out[part, :2] = (levels / 255 - shift) / scale
    out[:, 2] = 0
    return out


def _mean_grey(frames: Tensor) -> Tensor:
    """The mean grey of each frame: float32 [N]."""
    means = torch.cat([frames[part].float().mean((2, 3)) for part in _parts(frames)])  # [N, C]
    return (means * torch.tensor(GREY, device=means.device)).sum(1) if means.shape[1] == 3 else means[:, 0]


def _flipped(frames: Tensor, flipped: Tensor | None, part: slice, kind: Kind = "rgb") -> Tensor:
    some = frames[part]
    if flipped is None:
        return some
    return torch.where(flipped[part, None, None, None], flip(some, kind), some)


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
