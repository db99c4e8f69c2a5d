"""Figures of a report: training curves, reliability diagram, confusion matrix, film strips.

Figures use matplotlib's ``Figure`` and Agg only: no window and no global state. The colours are blue and orange, which
colour-blind readers can distinguish. Each figure can be drawn for a light or a dark page.

Axis letters: T frames, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.calibration import CalibrationError
from praxiscope.evaluation.metrics import wilson_interval
from praxiscope.evaluation.plot_style import Theme, dress, new_figure, page_theme, short_name

__all__ = [
    "draw_confusion",
    "draw_curves",
    "draw_reliability",
    "draw_strip",
    "figure_png",
    "smooth",
    "strip_jpeg",
]

_STRIP_FRAMES = 16  # longer clips are subsampled
_LABELLED_CLASSES = 150  # class names are drawn up to this number of classes
_NUMBERED_CLASSES = 12  # cells show numbers up to this number of classes
_SHARES = ["0", "20 %", "40 %", "60 %", "80 %", "100 %"]


# Panels of the curves: title, (key of a history row, name in the legend, whether it has the first colour).
_PANELS: list[tuple[str, list[tuple[str, str, bool]]]] = [
    ("Loss", [("loss", "training", True), ("val_loss", "validation", False)]),
    ("Top-1 accuracy", [("top1", "training", True), ("val_top1", "validation", False)]),
    ("Mean average precision", [("map", "training", True), ("val_map", "validation", False)]),
    ("Learning rate", [("lr", "learning rate", True)]),
]


def draw_curves(history: Sequence[Mapping[str, Any]], dark: bool = False) -> list[Any]:
    """Draw training curves: one figure each for loss, top-1, mAP and learning rate, if they are known.

    Args:
        history: rows with any of ``epoch``, ``step``, ``loss``, ``val_loss``, ``top1``, ``val_top1``, ``map``,
            ``val_map``, ``lr``. Missing, empty and non-finite values are gaps. Strings are converted to numbers, so
            rows of a CSV file can be passed directly.
        dark: draw for a dark page.

    Returns:
        matplotlib figures with a transparent background; empty if no row has a value.
    """
    theme = page_theme(dark)
    axis, places = _places(history)
    figures = []
    for title, lines in _PANELS:
        known = [(name, first, _column(history, key)) for key, name, first in lines]
        known = [line for line in known if np.isfinite(line[2]).any()]
        if known:
            figures.append(_panel(title, axis, places, known, theme))
    return figures


def _panel(
    title: str,
    axis: str,
    places: NDArray[np.float64],
    lines: list[tuple[str, bool, NDArray[np.float64]]],
    theme: Theme,
) -> Any:
    figure = new_figure(4.6, 3.0)
    axes = figure.add_subplot()
    for name, first, values in lines:
        there = np.isfinite(values)
        x, y = places[there], values[there]
        colour = theme.first if first else theme.second
        if len(y) > 200:  # one row per step: draw the points faintly, with their trend
            axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.7)
            y = smooth(y, len(y) // 50)
        marker = "o" if len(y) <= 40 else None
        axes.plot(x, y, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=name)
    axes.set_title(title, loc="left", fontsize=11, color=theme.text)
    axes.set_xlabel(axis, fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if title == "Learning rate":
        steps = np.unique(lines[0][2][np.isfinite(lines[0][2])])
        if (
            1 < len(steps) <= 8 and steps[0] > 0 and steps[-1] > 5 * steps[0]
        ):  # steps over several powers of ten: a logarithmic axis
            axes.set_yscale("log")
    elif title != "Loss":
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1], _SHARES)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=theme.text)
    axes.grid(True, color=theme.grid, linewidth=0.6)
    dress(axes, theme)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def draw_reliability(errors: Sequence[CalibrationError], names: Sequence[str], dark: bool = False) -> Any:
    """Draw a reliability diagram: accuracy against confidence by bins, and the number of videos by confidence below.

    On the diagonal, clips of 80 % confidence are right in 80 % of the cases; below it the network is too confident.
    Vertical lines are 95 % intervals (Wilson) of the first error's accuracy.

    Args:
        errors: the final probabilities first; then, if there was a calibration, those before it.
        names: their names in the legend.
        dark: draw for a dark page.

    Returns:
        A matplotlib figure with a transparent background.
    """
    theme = page_theme(dark)
    figure = new_figure(4.6, 4.4)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=theme.text, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.6)
    for error, name, colour in zip(errors, names, (theme.first, theme.second), strict=False):
        there = error.counts > 0
        x, y, counts = error.confidence[there], error.accuracy[there], error.counts[there]
        first = colour == theme.first
        style = {"color": colour, "markersize": 5, "linewidth": 1.6 if first else 1.0, "label": name}
        axes.plot(x, y, marker="o" if first else "s", markerfacecolor=colour if first else "none", **style)
        if first:
            bounds = [wilson_interval(share, int(count)) for share, count in zip(y, counts, strict=True)]
            axes.vlines(x, *np.transpose(bounds), color=colour, linewidth=1.0, alpha=0.45)
        edges = np.linspace(0, 1, len(error.counts) + 1)
        below.stairs(
            error.counts, edges, color=colour, fill=first, alpha=0.75 if first else 1.0, linewidth=1.2
        )
    below.set_xlim(-0.01, 1.01)
    below.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], _SHARES)
    below.set_xlabel("confidence: probability of the best class", fontsize=9)
    below.set_ylabel("videos", fontsize=9)
    below.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    axes.set_ylabel("recognised", fontsize=9)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1], _SHARES)
    if len(errors) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=theme.text, loc="upper left")
    for one in (axes, below):
        one.grid(True, color=theme.grid, linewidth=0.6)
        one.set_axisbelow(True)
        dress(one, theme)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return figure


def draw_confusion(matrix: NDArray[np.int64], classes: Sequence[str], dark: bool = False) -> Any:
    """Draw a confusion matrix, with rows divided by the number of videos of the class.

    The diagonal (correct) is blue, errors are orange. Weak colours are strengthened, so that errors of a few per cent
    are visible among a hundred classes.

    Args:
        matrix: int [K, K], rows are true classes.
        classes: the K names; drawn for up to 150 classes.
        dark: draw for a dark page.

    Returns:
        A matplotlib figure that grows with K.

    Raises:
        ArgumentError: the matrix is not [K, K].
    """
    from matplotlib.colors import to_rgb

    theme = page_theme(dark)
    count = len(classes)
    if matrix.shape != (count, count) or count == 0:
        raise ArgumentError(f"matrix must be [{count}, {count}], one row per class, got {list(matrix.shape)}")
    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)
    strength = (shares**0.6)[..., None]
    right = np.eye(count, dtype=bool)[..., None]
    ink = np.where(right, np.array(to_rgb(theme.first)), np.array(to_rgb(theme.second)))
    colours = (1 - strength) * np.array(to_rgb(theme.paper)) + strength * ink

    cell, font, turn = _confusion_sizes(count)
    # A letter is about 0.6 of its height wide; 2 inches are enough for the longest name.
    names = [short_name(name) for name in classes]
    margin = 0.35 + max(len(name) for name in names) * font * 0.6 / 72 if count <= _LABELLED_CLASSES else 0.6
    side = cell * count
    figure = new_figure(side + margin + 0.3, side + margin + 0.3)
    axes = figure.add_subplot()
    axes.imshow(colours, interpolation="nearest")
    if count <= _LABELLED_CLASSES:
        style: dict[str, Any] = {"fontsize": font, "parse_math": False}
        axes.set_yticks(range(count), names, **style)
        anchor = {"rotation": turn, "ha": "right" if turn < 90 else "center", "rotation_mode": "anchor"}
        if turn == 90:
            anchor = {"rotation": 90, "ha": "center"}
        axes.set_xticks(range(count), names, **style, **anchor)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if count <= _NUMBERED_CLASSES:
        _write_numbers(axes, matrix, shares, colours)
    if count > 1:
        for place in np.arange(0.5, count - 1):
            axes.axhline(place, color=theme.grid, linewidth=0.3)
            axes.axvline(place, color=theme.grid, linewidth=0.3)
    axes.set_xlabel("taken for", fontsize=max(font, 9))
    axes.set_ylabel("true class", fontsize=max(font, 9))
    axes.tick_params(length=0)
    dress(axes, theme)
    return figure


def _write_numbers(axes: Any, matrix: NDArray[np.int64], shares: NDArray[Any], colours: NDArray[Any]) -> None:
    for row, column in np.argwhere(matrix):
        light = float(colours[row, column] @ np.array([0.299, 0.587, 0.114])) > 0.45
        axes.text(
            column,
            row,
            f"{100 * shares[row, column]:.0f} %",
            ha="center",
            va="center",
            fontsize=9,
            color="#101114" if light else "#ffffff",
        )


def _confusion_sizes(count: int) -> tuple[float, float, int]:
    """Inches per cell, font size of the class names in points, and rotation of the names on the x axis in degrees."""
    if count <= _NUMBERED_CLASSES:
        return 0.56, 9.5, 38
    if count <= 60:
        return 0.19, 8, 90
    if count <= _LABELLED_CLASSES:
        return 0.13, 6.5, 90
    return 12 / count, 0, 90


def draw_strip(frames: Tensor, height: int = 120, gap: int = 3) -> NDArray[np.uint8]:
    """Draw frames side by side, as a film strip.

    Args:
        frames: uint8 [T, C, H, W], RGB or grey; more than 16 are subsampled evenly.
        height: rows of the strip, in pixels.
        gap: dark columns between frames.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ArgumentError: frames are not uint8 [T, 3 or 1, H, W] with T at least 1.
    """
    if frames.ndim != 4 or frames.dtype != torch.uint8 or frames.shape[1] not in (1, 3) or not frames.numel():
        raise ArgumentError(
            f"frames must be uint8 [T, 3, H, W] with T at least 1, got {frames.dtype} {list(frames.shape)}"
        )
    frames = frames.detach().cpu()
    if len(frames) > _STRIP_FRAMES:
        frames = frames[torch.linspace(0, len(frames) - 1, _STRIP_FRAMES).round().long()]
    width = max(1, round(frames.shape[3] * height / frames.shape[2]))
    small = torch.nn.functional.interpolate(
        frames.float(), size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    pixels = small.round_().clamp_(0, 255).to(torch.uint8)
    pixels = pixels.expand(-1, 3, -1, -1)
    padded = torch.nn.functional.pad(pixels, (0, gap), value=24)
    strip = padded.permute(2, 0, 3, 1).reshape(height, -1, 3)  # [T, C, H, W] -> [H, T * W, C]
    return np.ascontiguousarray(strip[:, : strip.shape[1] - gap].numpy())


def strip_jpeg(strip: NDArray[np.uint8]) -> bytes:
    """Encode a strip as JPEG, which takes a fifth of the size of PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(strip).save(file, format="JPEG", quality=85)
    return file.getvalue()


def figure_png(figure: Any, dots_per_inch: int = 160) -> bytes:
    """Encode a figure as PNG, with a transparent background."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Class names may use letters that matplotlib's font lacks; the report's tables show them anyway.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="png", dpi=dots_per_inch, transparent=True)
    return file.getvalue()


def _places(history: Sequence[Mapping[str, Any]]) -> tuple[str, NDArray[np.float64]]:
    """The x axis of the rows: its name, and the value of each row. Epochs if there is one row per epoch, otherwise
    steps."""
    for key in ("epoch", "step"):
        column = _column(history, key)
        if len(column) and np.isfinite(column).all() and (key == "step" or len(set(column)) == len(column)):
            return key, column
    return "row", np.arange(1, len(history) + 1, dtype=np.float64)


def _column(history: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    return np.array([_number(row.get(key)) for row in history], dtype=np.float64)


def _number(value: Any) -> float:
    """``value`` as a finite float, or nan."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def smooth(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Moving average over ``window`` values; fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first = np.maximum(places - window // 2, 0)
    last = np.minimum(places + window // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
