"""A picture of a video over time: film strip, class probabilities, predicted and true segments.

Axis letters: T frames, C channels, H rows, W columns, n windows, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.plot_style import Theme, dress, new_figure, page_theme, short_name
from praxiscope.evaluation.plots import draw_strip
from praxiscope.evaluation.segments import Segment, Segments

__all__ = ["TimedPicture", "draw_timeline"]

_MOST_CLASSES = 12


@dataclass(frozen=True)
class TimedPicture:
    """What a picture of a video over time shows.

    Attributes:
        title: above the picture.
        edges: [n + 1] bounds of the windows, seconds.
        probabilities: [n, K].
        labels: the K class names.
        predicted: segments that were found.
        truth: the true segments; None if they are not known.
        frames: uint8 [T, C, H, W], evenly over the time between the first and the last edge; None for no strip.
    """

    title: str
    edges: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    labels: Sequence[str]
    predicted: Segments = ()
    truth: Segments | None = None
    frames: Tensor | None = field(default=None, repr=False)


def draw_timeline(picture: TimedPicture, dark: bool = False) -> Any:
    """Draw a row for each class: its probability over time, and below it bars of its segments.

    At most 12 classes are drawn: those with true segments, then those with predicted ones, then the most probable.

    Args:
        picture: what to show.
        dark: draw for a dark page.

    Returns:
        A matplotlib figure with a transparent background.

    Raises:
        ArgumentError: there are no windows.
    """
    if len(picture.edges) < 2:
        raise ArgumentError("a picture over time needs at least one window")
    colours = page_theme(dark)
    shown = _shown(picture)
    rows = 0.42 * len(shown)  # inches
    strip = None if picture.frames is None else draw_strip(picture.frames, height=90, gap=2)
    ratio = 0.0 if strip is None else 8.6 * strip.shape[0] / strip.shape[1]  # inches
    figure = new_figure(10, rows + ratio + 1.35)
    if strip is None:
        axes = figure.add_subplot()
    else:
        film, axes = figure.subplots(2, 1, sharex=True, height_ratios=(ratio, rows))
        film.imshow(strip, aspect="auto", extent=(picture.edges[0], picture.edges[-1], 0, 1))
        film.set_axis_off()
    (film if strip is not None else axes).set_title(
        short_name(picture.title, 90), loc="left", fontsize=10, color=colours.text, parse_math=False
    )
    for row, number in enumerate(shown):
        _draw_class(axes, len(shown) - 1 - row, picture, number, colours)
    axes.set_yticks(
        np.arange(len(shown))[::-1] + 0.5,
        [short_name(picture.labels[number]) for number in shown],
        fontsize=9,
        parse_math=False,
    )
    axes.set_ylim(-0.08, len(shown))
    axes.set_xlim(float(picture.edges[0]), float(picture.edges[-1]))
    axes.set_xlabel("seconds", fontsize=9)
    axes.grid(True, axis="x", color=colours.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    dress(axes, colours)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    _legend(figure, picture, colours)
    return figure


def _draw_class(axes: Any, low: int, picture: TimedPicture, number: int, colours: Theme) -> None:
    """One row from ``low`` to ``low + 1``: probability above, bars below."""
    values = picture.probabilities[:, number]
    base = low + 0.34
    axes.axhline(base, color=colours.grid, linewidth=0.6)
    axes.stairs(
        base + 0.58 * values, picture.edges, baseline=base, fill=True, color=colours.first, alpha=0.28
    )
    axes.stairs(base + 0.58 * values, picture.edges, baseline=None, color=colours.first, linewidth=1.0)
    rows: list[tuple[Segments, float, str]] = [(picture.predicted, 0.19, colours.first)]
    if picture.truth is not None:
        rows.append((picture.truth, 0.04, colours.second))
    for segments, height, colour in rows:
        spans = [(s.start_s, s.end_s - s.start_s) for s in segments if s.label == picture.labels[number]]
        axes.broken_barh(
            spans, (low + height, 0.12), facecolors=colour, edgecolors=colours.paper, linewidth=0.8
        )


def _legend(figure: Any, picture: TimedPicture, colours: Theme) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colours.first, alpha=0.28, label="probability"),
        Patch(facecolor=colours.first, label="predicted segments"),
    ]
    if picture.truth is not None:
        handles.append(Patch(facecolor=colours.second, label="true segments"))
    figure.legend(
        handles=handles,
        loc="outside lower right",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=colours.text,
    )


def _shown(picture: TimedPicture) -> list[int]:
    """Numbers of the classes to draw, in the order of the classes."""

    def among(segments: Sequence[Segment]) -> set[str]:
        return {segment.label for segment in segments}

    true, found = among(picture.truth or ()), among(picture.predicted)
    best = picture.probabilities.max(axis=0)
    ranked = sorted(
        range(len(picture.labels)),
        key=lambda k: (picture.labels[k] not in true, picture.labels[k] not in found, -best[k]),
    )
    return sorted(ranked[:_MOST_CLASSES])
