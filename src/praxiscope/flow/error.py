"""End-point errors of flow, as maps and in sums.

Axis letters: H rows, W columns; ``...`` any batch. Flow is float [..., 2, H, W] in pixels, x first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError

__all__ = ["FlowError", "PixelErrors", "end_point_error", "known_flow", "summarise_error"]

UNKNOWN = 1e9
"""Components beyond this mark unknown flow (Baker et al., 2007)."""

OUTLIER_PX = 3.0
SMALL_PX = 1.0


def known_flow(truth: Tensor) -> Tensor:
    """The mask of known flow, bool [..., H, W]: both components are finite and not beyond 1e9."""
    return (truth.abs() <= UNKNOWN).all(dim=-3)  # False for nan as well


def end_point_error(flow: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """The end-point error of each pixel: the length of the difference between two vectors, in pixels.

    For measuring, not for training: its gradient is nan where both vectors are equal.

    Args:
        flow: estimated flow, float [..., 2, H, W].
        truth: true flow of the same shape. Components that are nan, infinite or beyond 1e9 are unknown.
        valid: bool [..., H, W], further pixels to leave out. None: none.

    Returns:
        The errors [..., H, W]; nan where the truth is unknown or the pixel is not valid, and infinite where the truth
        is known but the estimate is not finite.

    Raises:
        ArgumentError: the shapes or types are wrong.
    """
    if flow.shape != truth.shape or flow.ndim < 3 or flow.shape[-3] != 2:
        raise ArgumentError(
            f"flow and truth must have the same shape [..., 2, H, W], got {list(flow.shape)} and {list(truth.shape)}"
        )
    shape = (*flow.shape[:-3], *flow.shape[-2:])
    if valid is not None and (valid.dtype != torch.bool or valid.shape != shape):
        raise ArgumentError(f"valid must be bool {list(shape)}, got {valid.dtype} {list(valid.shape)}")
    counted = known_flow(truth) if valid is None else known_flow(truth) & valid
    dx, dy = (flow - truth).unbind(-3)
    errors = torch.hypot(dx, dy).nan_to_num(math.inf, posinf=math.inf)
    return errors.masked_fill(~counted, math.nan)


@dataclass(frozen=True)
class PixelErrors:
    """The sum of the errors of some pixels. Sums of several fields are added with ``+``.

    Attributes:
        pixels: number of pixels.
        total: sum of their end-point errors, pixels.
        over: how many of them have an error over 3 pixels.
    """

    pixels: int = 0
    total: float = 0.0
    over: int = 0

    @property
    def mean(self) -> float:
        """The mean end-point error in pixels; nan without pixels."""
        return self.total / self.pixels if self.pixels else math.nan

    @property
    def share_over(self) -> float:
        """The share of pixels with an error over 3 pixels; nan without pixels."""
        return self.over / self.pixels if self.pixels else math.nan

    def __add__(self, other: PixelErrors) -> PixelErrors:
        return PixelErrors(self.pixels + other.pixels, self.total + other.total, self.over + other.over)


@dataclass(frozen=True)
class FlowError:
    """The errors of the valid pixels of some fields, also by the length of the true motion. Added with ``+``.

    Attributes:
        all: all valid pixels.
        small: those that move by less than 1 pixel.
        large: the others.
    """

    all: PixelErrors = field(default_factory=PixelErrors)
    small: PixelErrors = field(default_factory=PixelErrors)
    large: PixelErrors = field(default_factory=PixelErrors)

    def __add__(self, other: FlowError) -> FlowError:
        return FlowError(self.all + other.all, self.small + other.small, self.large + other.large)


def summarise_error(flow: Tensor, truth: Tensor, valid: Tensor | None = None) -> FlowError:
    """Sum the end-point errors of the valid pixels, of small and of large motion apart.

    The arguments and errors are those of `end_point_error`.
    """
    errors = end_point_error(flow, truth, valid)
    counted = ~errors.isnan()
    small = torch.hypot(*truth.unbind(-3)) < SMALL_PX
    return FlowError(_sum(errors[counted]), _sum(errors[counted & small]), _sum(errors[counted & ~small]))


def _sum(errors: Tensor) -> PixelErrors:
    """The sum of errors [n]."""
    total = float(errors.sum(dtype=torch.float64))
    return PixelErrors(errors.numel(), total, int((errors > OUTLIER_PX).sum()))
