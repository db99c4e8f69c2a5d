"""Visualise flow with the colour wheel of the Middlebury benchmark.

The hue is the direction, the saturation is the length (Baker et al., "A database and evaluation methodology for optical
flow", 2007; the wheel is Scharstein's). Right is red, down yellow, left cyan, up violet; no motion is white.

Axis letters: H rows, W columns; ``...`` any batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError

__all__ = ["colour_wheel", "flow_to_rgb", "largest_motion"]

# The corners of the RGB cube, and the number of colours from each to the next.
_SECTORS = (
    ((255, 0, 0), 15),  # red to yellow
    ((255, 255, 0), 6),  # to green
    ((0, 255, 0), 4),  # to cyan
    ((0, 255, 255), 11),  # to blue
    ((0, 0, 255), 13),  # to magenta
    ((255, 0, 255), 6),  # to red
)
_UNKNOWN = 1e9  # components beyond this are unknown, as in the benchmark
_BEYOND = 0.75  # brightness of vectors longer than the largest length of the wheel


def _wheel() -> Tensor:
    """The 55 colours in the order right, down, left, up: float [55, 3] from 0 to 255."""
    colours = []
    corners = [corner for corner, _ in _SECTORS]
    for (corner, count), following in zip(_SECTORS, corners[1:] + corners[:1], strict=True):
        for step in range(count):
            moved = 255 * step // count  # whole numbers, as published
            colours.append(
                [old + (moved if new > old else -moved if new < old else 0)
                 for old, new in zip(corner, following, strict=True)]
            )  # fmt: skip
    return torch.tensor(colours, dtype=torch.float32)


def largest_motion(flow: Tensor) -> float:
    """The length of the longest known vector of flow [..., 2, H, W]; 0 if there is none."""
    dx, dy, known = _parts(flow)
    lengths = torch.hypot(dx, dy)[known]
    return float(lengths.max()) if lengths.numel() else 0.0


def flow_to_rgb(flow: Tensor, largest: float | None = None) -> Tensor:
    """Convert flow to an RGB image.

    Args:
        flow: float [..., 2, H, W], x first, any unit.
        largest: the length with full saturation; longer vectors are darker. None for the longest vector of the whole
            batch, so that its images are comparable.

    Returns:
        uint8 [..., 3, H, W]; black where a component is beyond 1e9 or nan, which means unknown.

    Raises:
        ArgumentError: flow has the wrong shape, or ``largest`` is not above 0.

    Example:
        >>> flow_to_rgb(torch.tensor([1.0, 0.0])[:, None, None])[:, 0, 0].tolist()
        [255, 0, 0]
    """
    dx, dy, known = _parts(flow)
    if largest is None:
        largest = largest_motion(flow) or 1.0
    if not largest > 0:
        raise ArgumentError(f"largest must be a length above 0, got {largest}")
    wheel = _wheel().to(flow.device)
    # The published code negates the vector and starts the wheel at -pi, so its first and its last entry both mean
    # right. A vector exactly between them gets the first entry, for either sign of zero.
    place = (torch.atan2(-dy, -dx) / torch.pi + 1) / 2 * (len(wheel) - 1)
    place = torch.where(place >= len(wheel) - 1, torch.zeros_like(place), place)
    lower = place.floor().long()
    share = (place - lower)[..., None]
    colour = torch.lerp(wheel[lower], wheel[lower + 1], share) / 255  # [..., H, W, 3]
    radius = (torch.hypot(dx, dy) / largest)[..., None]
    inside = radius <= 1 + 1e-6  # tolerance: rounding must not exclude the longest vector
    colour = torch.where(inside, 1 - radius * (1 - colour), colour * _BEYOND)
    colour = torch.where(known[..., None], colour, torch.zeros_like(colour))
    return (255 * colour).floor().clamp(0, 255).to(torch.uint8).movedim(-1, -3)


def colour_wheel(side: int = 151) -> Tensor:
    """Draw the legend: all directions around the centre, with the largest length at the rim.

    Args:
        side: height and width in pixels.

    Returns:
        uint8 [3, side, side], white outside the circle.
    """
    line = (2 * torch.arange(side) - (side - 1)) / max(1, side - 1)  # exactly 0 in the centre
    y, x = torch.meshgrid(line, line, indexing="ij")
    image = flow_to_rgb(torch.stack((x, y)), largest=1.0)
    return torch.where(torch.hypot(x, y) <= 1, image, torch.full_like(image, 255))


def _parts(flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dy [..., H, W], 0 where unknown, and a mask of known values."""
    if flow.ndim < 3 or flow.shape[-3] != 2 or not flow.is_floating_point():
        raise ArgumentError(f"flow must be float [..., 2, H, W], got {flow.dtype} {list(flow.shape)}")
    flow = flow.detach().float()
    known = ((flow.abs() < _UNKNOWN) & flow.isfinite()).all(dim=-3)
    dx, dy = torch.where(known[..., None, :, :], flow, torch.zeros_like(flow)).unbind(-3)
    return dx, dy, known
