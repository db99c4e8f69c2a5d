"""Shared functions of all pictures: the result, writing it to a file, and the style of the figures."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.explain.checks import check_picture_path

__all__ = [
    "BLACK",
    "BLUE",
    "GREY",
    "GRID",
    "ORANGE",
    "TEXT",
    "Explanation",
    "new_figure",
    "save_explanation",
    "set_title",
    "style_axes",
]

TEXT, GRID = "#24272c", "#d9dce1"
BLUE, ORANGE, GREY, BLACK = "#0b63a8", "#e8710f", "#6b7078", "#101114"
_DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Explanation:
    """A figure, and the numbers that it shows.

    Attributes:
        figure: a matplotlib figure.
        facts: the numbers by name, as they are printed by ``--json``.
    """

    figure: Any
    facts: dict[str, Any] = field(default_factory=dict)


def save_explanation(explanation: Explanation, path: str | Path) -> Path:
    """Write the figure to a file. The file is replaced only when the new one is complete.

    Args:
        explanation: the result of any ``explain_…`` function.
        path: a file that ends in .png, .jpg, .pdf or .svg.

    Returns:
        The path.

    Raises:
        ArgumentError: the folder does not exist, or the format is not supported.
    """
    path = check_picture_path(path)
    content = io.BytesIO()
    explanation.figure.savefig(content, format=path.suffix.lower()[1:], dpi=_DOTS_PER_INCH, facecolor="white")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, path)
    return path


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure with its size in inches, outside pyplot and without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def set_title(figure: Any, title: str) -> None:
    """Write the title of a figure at its upper left. Dollar signs are not interpreted as mathematics."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=TEXT, parse_math=False)


def style_axes(axes: Any, *, frame: bool = True, grid: str | None = None) -> None:
    """Give axes the style that all figures share.

    Args:
        axes: of matplotlib.
        frame: keep the lines at the top and at the right.
        grid: lines of a grid: "x", "y" or "both".
    """
    axes.tick_params(colors=TEXT, labelcolor=TEXT, labelsize=8)
    axes.xaxis.label.set_color(TEXT)
    axes.yaxis.label.set_color(TEXT)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color(GRID)
        axes.spines[side].set_visible(frame or side in ("left", "bottom"))
    if grid is not None:
        axes.grid(True, axis=grid, color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
