"""The figure of the winners of a maximum over time. Sizes are in inches.

n candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.explain.explanation import BLUE, GREY, ORANGE, TEXT, style_axes
from praxiscope.explain.film import GAP, Film, Page, draw_film, film_size, time_axis

__all__ = ["Panel", "Tally", "draw_tally"]

_WIDTH, _TALL = 11.0, 1.5
_LEFT, _RIGHT, _EDGE = 0.75, 0.5, 0.2
_TITLE, _NOTE, _BELOW = 0.66, 0.26, 0.4
_MOST_BARS = 400
_PALE = "#9fc1dd"


@dataclass(frozen=True)
class Panel:
    """Bars over the time, and frames below them.

    Attributes:
        note: above the bars.
        values: of the candidates, [n].
        shown: the candidates whose frames are shown.
        film: these frames.
    """

    note: str
    values: NDArray[np.float64]
    shown: Sequence[int]
    film: Film


@dataclass(frozen=True)
class Tally:
    """The content of the figure.

    Attributes:
        title, subtitle: the first two lines.
        edges_s: where the bar of each candidate starts, and where the last one ends, seconds, [n + 1].
        span_s: the first and the last second.
        panels: from top to bottom.
    """

    title: str
    subtitle: str
    edges_s: NDArray[np.float64]
    span_s: tuple[float, float]
    panels: Sequence[Panel]


def draw_tally(tally: Tally) -> Any:
    """Draw the panels below each other.

    Returns:
        A matplotlib figure: for each panel axes of the bars, then of the film.
    """
    wide = _WIDTH - _LEFT - _RIGHT
    sizes = [film_size(len(panel.film.pixels), wide, panel.film.pixels.shape) for panel in tally.panels]
    tall = [_NOTE + _TALL + GAP + frame_tall + _BELOW for _, frame_tall in sizes]
    page = Page(_WIDTH, _TITLE + sum(tall))
    page.write(_EDGE, 0.12, tally.title, fontsize=11)
    page.write(_EDGE, 0.36, tally.subtitle, fontsize=9)
    down = _TITLE
    for panel, (frame_wide, frame_tall), height in zip(tally.panels, sizes, tall, strict=True):
        page.write(_LEFT, down, panel.note, fontsize=9)
        _draw_bars(page.axes(_LEFT, down + _NOTE, wide, _TALL), panel, tally)
        film = page.axes(_LEFT, down + _NOTE + _TALL, wide, GAP + frame_tall)
        draw_film(film, panel.film, tally.span_s, frame_wide / wide)
        down += height
    return page.figure


def _draw_bars(axes: Any, panel: Panel, tally: Tally) -> None:
    """A bar for each candidate, or the sum of those in each of many equal parts of the time."""
    edges, values, shown = _binned(tally.edges_s, panel.values, panel.shown)
    strong = np.isin(np.arange(len(values)), shown)
    colours = np.where(values < 0, ORANGE, np.where(strong, BLUE, _PALE))
    axes.bar(edges[:-1], values, np.diff(edges), align="edge", color=colours, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.6)
    style_axes(axes, frame=False, grid="y")
    axes.yaxis.get_offset_text().set(size=8, color=TEXT)
    time_axis(axes, *tally.span_s)


def _binned(
    edges: NDArray[np.float64], values: NDArray[np.float64], shown: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Edges, values and the numbers of the bars of the candidates that are shown."""
    if len(values) <= _MOST_BARS:
        return edges, values, np.asarray(shown, dtype=np.int64)
    whole = np.linspace(edges[0], edges[-1], _MOST_BARS + 1)
    bins = (np.searchsorted(whole, edges[:-1], side="right") - 1).clip(0, _MOST_BARS - 1)
    sums = np.bincount(bins, values, minlength=_MOST_BARS).astype(np.float64)
    return whole, sums, bins[list(shown)].astype(np.int64)
