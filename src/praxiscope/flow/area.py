"""Reduce flow fields to a lower resolution by averages over areas, without the pixels where flow is unknown (NaN).

Axis letters: H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["area_average"]


def area_average(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Average flow over areas. Vectors keep their length: it is in pixels of the input, not of the result.

    Args:
        flow: float [..., H, W]; NaN where it is unknown. Both components of a vector are known, or none.
        size: rows h and columns w. If they do not divide H and W, areas overlap by up to a pixel on each side.

    Returns:
        [..., h, w], the mean of the known values of each area; NaN where none is known.
    """
    if flow.shape[-2:] == size:
        return flow
    flat = flow.reshape(-1, 1, *flow.shape[-2:])
    known = ~flat.isnan()
    if bool(known.all()):
        averaged = F.adaptive_avg_pool2d(flat, size)
    else:
        share = F.adaptive_avg_pool2d(known.to(flat.dtype), size)
        total = F.adaptive_avg_pool2d(torch.where(known, flat, 0), size)
        averaged = total / share  # 0 / 0 is NaN
    return averaged.reshape(*flow.shape[:-2], *size)
