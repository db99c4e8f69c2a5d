"""Pictures of heat over frames, in rows: red for a class, blue against it. Sizes are in inches.

n pictures in a row, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.explain.explanation import GREY, TEXT
from praxiscope.explain.film import Page, clean

__all__ = ["Row", "Sheet", "draw_sheet", "spread", "upsampled"]

_WIDTH, _LEAST_WIDTH = 11.0, 7.0
_LEFT, _RIGHT, _EDGE = 1.75, 1.15, 0.2
_TITLE, _BELOW, _GAP = 0.72, 0.24, 0.06
_WIDEST, _TALLEST = 1.9, 1.9
_BAR = 0.14


@dataclass(frozen=True)
class Row:
    """Pictures side by side.

    Attributes:
        label: at the left.
        pictures: uint8 [n, H, W, 3].
        captions: below each.
        heat: from -1 (blue) to 1 (red), float [n, H, W], over grey pictures; None for plain pictures.
        note: below the label.
    """

    label: str
    pictures: NDArray[np.uint8]
    captions: Sequence[str]
    heat: NDArray[np.float64] | None = None
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    """The content of the figure.

    Attributes:
        title, subtitle: the first two lines.
        rows: from top to bottom.
        scale: what blue, no and red heat mean, at the bar of the colours.
    """

    title: str
    subtitle: str
    rows: Sequence[Row]
    scale: tuple[str, str, str]


def draw_sheet(sheet: Sheet) -> Any:
    """Draw rows of pictures.

    Returns:
        A matplotlib figure: an axes for each picture, row by row, then that of the bar of colours.
    """
    sizes = [_cell(row) for row in sheet.rows]
    tall = [high + _BELOW for _, high in sizes]
    right = _LEFT + max(
        len(row.pictures) * (wide + _GAP) for row, (wide, _) in zip(sheet.rows, sizes, strict=True)
    )
    page = Page(max(right + _RIGHT, _LEAST_WIDTH), _TITLE + max(sum(tall), 1.3) + 0.1)
    page.write(_EDGE, 0.12, sheet.title, fontsize=11)
    page.write(_EDGE, 0.38, sheet.subtitle, fontsize=9)
    down = _TITLE
    for row, (wide, high), height in zip(sheet.rows, sizes, tall, strict=True):
        page.write(_EDGE, down, clean(row.label, 22), fontsize=9.5, weight="bold")
        page.write(_EDGE, down + 0.2, row.note, fontsize=8.5, color=GREY)
        for number, picture in enumerate(row.pictures):
            axes = page.axes(_LEFT + number * (wide + _GAP), down, wide, high)
            _draw(axes, picture, None if row.heat is None else row.heat[number])
            axes.set_xlabel(row.captions[number], fontsize=7.5, labelpad=2, parse_math=False)
        down += height
    _draw_bar(page, right + 0.12, sheet.scale)
    return page.figure


def _cell(row: Row) -> tuple[float, float]:
    """Width and height of a picture of a row."""
    count, rows, columns = row.pictures.shape[:3]
    wide = min((_WIDTH - _LEFT - _RIGHT) / count - _GAP, _WIDEST, _TALLEST * columns / rows)
    return wide, wide * rows / columns


def _draw(axes: Any, picture: NDArray[np.uint8], heat: NDArray[np.float64] | None) -> None:
    if heat is None:
        axes.imshow(picture, aspect="auto")
    else:
        grey = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, aspect="auto")
        axes.imshow(heat, cmap=_colours(), vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _draw_bar(page: Page, left: float, scale: tuple[str, str, str]) -> None:
    tall = min(page.height - _TITLE - 0.3, 2.4)
    axes = page.axes(left, _TITLE, _BAR, tall)
    axes.imshow(np.full((1, 1), 150), cmap="gray", vmin=0, vmax=255, extent=(0, 1, -1, 1), aspect="auto")
    steps = np.linspace(1, -1, 101)[:, None]
    axes.imshow(steps, cmap=_colours(), vmin=-1, vmax=1, extent=(0, 1, -1, 1), aspect="auto")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([-1, 0, 1], scale, fontsize=8, color=TEXT)


def _colours() -> Any:
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


def spread(count: int, most: int) -> list[int]:
    """The middles of ``most`` equal parts of ``count`` places; all of them, if they are not more."""
    if count <= most:
        return list(range(count))
    return [(2 * number + 1) * count // (2 * most) for number in range(most)]
