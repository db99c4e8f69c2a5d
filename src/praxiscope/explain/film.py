"""Frames of a video on a time axis, for figures that are laid out in inches.

n frames that a network sees, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.explain.explanation import GREY, TEXT, new_figure, style_axes

__all__ = [
    "GAP",
    "Page",
    "clean",
    "draw_film",
    "film_places",
    "film_size",
    "moved_apart",
    "seconds",
    "time_axis",
]

FILM_FRAMES = 9  # at most
_TALLEST = 1.1  # inches
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # between numbers of a time axis
GAP = 0.44  # inches from the time axis to the film, for the numbers of the axis


class Page:
    """A figure whose axes and texts are placed in inches, from the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure, self.width, self.height = new_figure(width, height), width, height
        self.figure.set_layout_engine("none")

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Axes with their left at ``x`` and their top at ``y``."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        style_axes(axes)
        return axes

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write a text with its left at ``x`` and its top at ``y``."""
        style = {"color": TEXT, "va": "top", "parse_math": False, **style}
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)


@dataclass(frozen=True)
class Film:
    """Frames on a time axis.

    Attributes:
        times_s: when each is on screen, [n].
        pixels: uint8 [n, H, W, 3].
        captions: below each; None for the times.
        heat: how strongly each place of a frame is coloured, from 0 to 1, [n, h, w]; None for plain frames.
    """

    times_s: Sequence[float]
    pixels: NDArray[np.uint8]
    captions: Sequence[str] | None = None
    heat: NDArray[np.float64] | None = None


def film_places(
    numbers: NDArray[np.int64], times_s: NDArray[np.float64], start_s: float, end_s: float
) -> list[int]:
    """All of a few frames, or those nearest to the middles of equal parts of the time; each frame once.

    Args:
        numbers: of the frames, [n].
        times_s: of the frames, [n].
        start_s, end_s: of the time.

    Returns:
        Places among the n.
    """
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    if len(first) <= FILM_FRAMES:
        return [int(place) for place in np.sort(first)]
    middles = start_s + (end_s - start_s) * (np.arange(FILM_FRAMES) + 0.5) / FILM_FRAMES
    after = np.searchsorted(times_s, middles).clip(0, len(times_s) - 1)
    before = (after - 1).clip(0)
    places = np.where(middles - times_s[before] < times_s[after] - middles, before, after)
    return [int(place) for place in np.unique(first[which[places]])]


def moved_apart(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places in the same order, at least ``apart`` from one another, as near to the wanted ones as they can be.

    Args:
        wanted: places, in any order.
        apart: least distance. If there is no room for it, the places go on below ``low``.
        low, high: the first and the last place that can be taken.
    """
    order = sorted(range(len(wanted)), key=lambda number: (wanted[number], -number))
    steps = apart * np.arange(len(order))
    # The nearest ascending row: means of neighbours that are out of order.
    blocks: list[tuple[float, int]] = []
    for value in np.array([wanted[number] for number in order]) - steps:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (first, many), (second, more) = blocks[-2:]
            blocks[-2:] = [((first * many + second * more) / (many + more), many + more)]
    row = np.concatenate([np.full(count, value) for value, count in blocks])
    placed = row.clip(low, None).clip(None, high - steps[-1]) + steps
    found = dict(zip(order, placed.tolist(), strict=True))
    return [found[number] for number in range(len(order))]


def film_size(count: int, width: float, shape: Sequence[int]) -> tuple[float, float]:
    """Width and height in inches of a frame of a film.

    Args:
        count: number of frames.
        width: of the film, inches.
        shape: of the frames, [n, H, W, 3].
    """
    ratio = shape[1] / shape[2]
    wide = min(0.94 * width / max(count, 1), _TALLEST / ratio, 1.6)
    return wide, wide * ratio


def draw_film(axes: Any, film: Film, span_s: tuple[float, float], wide: float) -> None:
    """Draw frames side by side below a time axis, each joined to its time.

    Args:
        axes: directly below the time axis, as wide; as high as `GAP` and a frame of `film_size`.
        film: the frames.
        span_s: the first and the last second of the time axis.
        wide: width of a frame as a share of the axis.
    """
    start_s, length_s = span_s[0], (span_s[1] - span_s[0]) or 1.0
    top = 1 - GAP / (axes.figure.get_figheight() * axes.get_position().height)
    axes.set_zorder(-1)  # the numbers of the axis are above the lines that join frames to their times
    wanted = [(time_s - start_s) / length_s for time_s in film.times_s]
    middles = moved_apart(wanted, 1.05 * wide, wide / 2, 1 - wide / 2)
    captions = film.captions or [seconds(time_s, span_s[1]) for time_s in film.times_s]
    for number, (at, middle) in enumerate(zip(wanted, middles, strict=True)):
        place = {"extent": (middle - wide / 2, middle + wide / 2, 0, top), "aspect": "auto"}
        axes.imshow(film.pixels[number], **place)
        if film.heat is not None:
            heat = film.heat[number]
            style = {"cmap": _heat_colours(), "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
            axes.imshow(heat, **style, **place)
        axes.plot((at, at, middle), (1, top + 0.3 * (1 - top), top), color=GREY, linewidth=0.6)
        style = {"fontsize": 7.5, "color": TEXT, "ha": "center", "va": "top"}
        axes.text(middle, -0.03, captions[number], **style)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _heat_colours() -> Any:
    """From transparent to a strong red."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = [(0.0, (1, 0.3, 0, 0)), (0.15, (1, 0.3, 0, 0.08)), (1.0, (1, 0.05, 0, 0.7))]
    return LinearSegmentedColormap.from_list("heat", stops)


def time_axis(axes: Any, start_s: float, end_s: float) -> None:
    """Let an axis show these seconds. After the first minute its numbers are minutes and seconds."""
    end_s = end_s if end_s > start_s else start_s + 1
    axes.set_xlim(start_s, end_s)
    unit = "s"
    if end_s > 60:
        step = next((step for step in _STEPS_S if (end_s - start_s) / step <= 12), 3600)
        first = -(-start_s // step) * step
        ticks = np.arange(first, end_s + 1e-6, step)
        unit = "min" if end_s < 3600 else "h"
        axes.set_xticks(ticks, [seconds(tick, end_s) for tick in ticks])
    for label in axes.get_xticklabels():
        label.set_bbox({"facecolor": "white", "linewidth": 0, "pad": 0.8})
    style = {"fontsize": 8, "color": TEXT, "va": "top", "annotation_clip": False}
    axes.annotate(unit, (1, 0), (18, -6), "axes fraction", "offset points", **style)


def seconds(time_s: float, most_s: float) -> str:
    """A time, of times up to ``most_s``: "2.40 s" within a minute, otherwise "1:02" and "1:02:03"."""
    if most_s <= 60:
        return f"{time_s:.2f} s"
    minutes, rest = divmod(round(time_s), 60)
    if most_s < 3600:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def clean(name: str, length: int = 34) -> str:
    """A name as text of a figure: printable, and shortened."""
    found = "".join(letter if letter.isprintable() else "?" for letter in name)
    return found if len(found) <= length else found[: length - 1] + "…"
