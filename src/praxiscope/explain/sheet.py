"""Rows of pictures, side by side. Sizes are in inches.

n pictures in a row, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from praxiscope.explain.explanation import GREY
from praxiscope.explain.film import Page, clean
from praxiscope.explain.heat import heat_colours

__all__ = ["Legend", "Row", "Sheet", "draw_sheet", "spread"]

_WIDTH, _LEAST_WIDTH = 11.0, 7.0
_LEFT, _EDGE = 1.75, 0.2
_TITLE, _BELOW, _GAP = 0.72, 0.24, 0.06
_WIDEST, _TALLEST = 1.9, 1.9
_RED = "#d01c0f"


class Legend(Protocol):
    """The legend at the right.

    Attributes:
        width: inches that are left for it.
    """

    width: float

    def __call__(self, page: Page, left: float, top: float) -> None:
        """Draw it with its left and its top at these places, in inches."""


@dataclass(frozen=True)
class Row:
    """Pictures side by side.

    Attributes:
        label: at the left.
        pictures: uint8 [n, H, W, 3].
        captions: below each.
        heat: from -1 (blue) to 1 (red), float [n, H, W], over grey pictures; None for plain pictures.
        note: below the label.
        marked: numbers of the pictures with a red border.
    """

    label: str
    pictures: NDArray[np.uint8]
    captions: Sequence[str]
    heat: NDArray[np.float64] | None = None
    note: str = ""
    marked: Collection[int] = ()


@dataclass(frozen=True)
class Sheet:
    """The content of the figure.

    Attributes:
        title, subtitle: the first two lines.
        rows: from top to bottom.
        legend: at the right.
    """

    title: str
    subtitle: str
    rows: Sequence[Row]
    legend: Legend


def draw_sheet(sheet: Sheet) -> Any:
    """Draw rows of pictures.

    Returns:
        A matplotlib figure: an axes for each picture, row by row, then those of the legend.
    """
    sizes = [_cell(row, _WIDTH - _LEFT - sheet.legend.width) for row in sheet.rows]
    tall = [high + _BELOW for _, high in sizes]
    right = _LEFT + max(
        len(row.pictures) * (wide + _GAP) for row, (wide, _) in zip(sheet.rows, sizes, strict=True)
    )
    page = Page(max(right + sheet.legend.width, _LEAST_WIDTH), _TITLE + max(sum(tall), 1.3) + 0.1)
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
            if number in row.marked:
                axes.spines[:].set(color=_RED, linewidth=2.2)
        down += height
    sheet.legend(page, right + 0.12, _TITLE)
    return page.figure


def _cell(row: Row, width: float) -> tuple[float, float]:
    """Width and height of a picture of a row of this width."""
    count, rows, columns = row.pictures.shape[:3]
    wide = min(width / count - _GAP, _WIDEST, _TALLEST * columns / rows)
    return wide, wide * rows / columns


def _draw(axes: Any, picture: NDArray[np.uint8], heat: NDArray[np.float64] | None) -> None:
    if heat is None:
        axes.imshow(picture, aspect="auto")
    else:
        grey = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, aspect="auto")
        axes.imshow(heat, cmap=heat_colours(), vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def spread(count: int, most: int) -> list[int]:
    """The middles of ``most`` equal parts of ``count`` places; all of them, if they are not more."""
    if count <= most:
        return list(range(count))
    return [(2 * number + 1) * count // (2 * most) for number in range(most)]
