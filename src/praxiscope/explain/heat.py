"""Heat over frames: red for a class, blue against it.

n pictures, H rows, W columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.explain.explanation import TEXT
from praxiscope.explain.film import Page

__all__ = ["HeatLegend", "heat_colours", "upsampled"]


class HeatLegend:
    """The bar of the colours.

    Args:
        names: what the strongest blue, no heat and the strongest red mean.
    """

    width = 1.15

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, page: Page, left: float, top: float) -> None:
        """Draw it with its left and its top at these places, in inches."""
        axes = page.axes(left, top, 0.14, min(page.height - top - 0.3, 2.4))
        axes.imshow(np.full((1, 1), 150), cmap="gray", vmin=0, vmax=255, extent=(0, 1, -1, 1), aspect="auto")
        steps = np.linspace(1, -1, 101)[:, None]
        axes.imshow(steps, cmap=heat_colours(), vmin=-1, vmax=1, extent=(0, 1, -1, 1), aspect="auto")
        axes.set_xticks([])
        axes.yaxis.tick_right()
        axes.set_yticks([-1, 0, 1], self._names, fontsize=8, color=TEXT)


def heat_colours() -> Any:
    """From a strong blue over transparent to a strong red."""
    from matplotlib.colors import LinearSegmentedColormap

    red, blue = (0.9, 0.05, 0), (0, 0.25, 0.95)
    stops = [(0.0, (*blue, 0.75)), (0.5, (*blue, 0)), (0.5, (*red, 0)), (1.0, (*red, 0.75))]
    return LinearSegmentedColormap.from_list("for and against", stops, N=255)


def upsampled(maps: Tensor, height: int, width: int) -> NDArray[np.float64]:
    """Maps [n, h, w] at the size of the pictures, bilinear: [n, height, width]."""
    found = torch.nn.functional.interpolate(
        maps[:, None].double().cpu(), size=(height, width), mode="bilinear", align_corners=False
    )
    return np.asarray(found[:, 0].numpy(), dtype=np.float64)
