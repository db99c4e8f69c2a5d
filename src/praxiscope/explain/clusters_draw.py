"""The figure of a video's clusters. Positions are in inches, so that frames keep their aspect ratio.

Axis letters: N frames of a video, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.explain.explanation import GREY, GRID, TEXT, new_figure, style_axes

__all__ = ["Cluster", "Row", "Timeline", "colour_of", "draw_timeline"]

# The colours of Okabe and Ito, ordered so that neighbours differ in lightness. From the ninth cluster on they are
# repeated, first lighter, then darker.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8a8f98")
_SHOWN = {"target": "#0b63a8", "distractor": "#e8710f", "background": "#c3c8cf", "black": "#24272c"}
_WIDTH = 12.0  # inches, as all below
_STRIP, _BETWEEN = 0.24, 0.07
_CURVE = 1.5
_TITLE, _NUMBERS, _ABOVE_ROWS, _ABOVE_CURVE, _BELOW_CURVE = 0.62, 0.22, 0.12, 0.14, 0.85
_EDGE = 0.22
_CAPTION = 1.52  # beside a cluster's thumbnails
_LETTER = 0.076  # of a bold label, about
_LONGEST = 30  # letters of a label
_ACROSS = 8  # thumbnails
_MOST_LEVELS = 32  # lines
_TALLEST = 0.9  # thumbnails of upright videos

Frames = tuple[list[int], NDArray[np.uint8]]  # their numbers and pixels [n, H, W, 3]


@dataclass(frozen=True)
class Cluster:
    """Frames that are averaged together.

    Attributes:
        number: from 1.
        start_frame, end_frame: the first and the last frame.
        start_s, end_s: seconds at which it starts, and at which the next one does.
    """

    number: int
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.end_frame - self.start_frame + 1

    def facts(self) -> dict[str, Any]:
        """All attributes by name."""
        return {**self.__dict__, "frames": self.frames}


@dataclass(frozen=True)
class Row:
    """A row of cells along the time.

    Attributes:
        name: its label.
        starts: the first frame of each cell.
        kinds: what each cell shows; empty where the cells are clusters, numbered from 1.
        own: whether these are the clusters of the network itself.
    """

    name: str
    starts: list[int]
    kinds: list[str] = field(default_factory=list)
    own: bool = False


def colour_of(number: int) -> str:
    """The colour of the cluster with this number, from 1."""
    from matplotlib.colors import to_hex, to_rgb

    again, place = divmod(number - 1, len(_COLOURS))
    colour = np.array(to_rgb(_COLOURS[place]))
    mixed = (colour, 0.5 + 0.5 * colour, 0.6 * colour)[again % 3]
    return str(to_hex(tuple(mixed)))


@dataclass(frozen=True)
class Timeline:
    """The content of a figure of clusters.

    Attributes:
        title, subtitle: the first two lines.
        rows: from top to bottom.
        times: seconds at which frames appear, and at which the last one ends, [N + 1].
        distance: cumulative distance at each frame, as a share of the places, [N].
        levels: number of equal parts of the whole distance, drawn as lines; 0: no lines.
        clusters: of the network itself.
        drawn: the clusters whose frames are shown.
        film: numbers and pixels [n, H, W, 3] of the frames at the top, each at the middle of an equal part of the time.
        thumbnails: the same for each of the clusters that are drawn.
    """

    title: str
    subtitle: str
    rows: Sequence[Row]
    times: NDArray[np.float64]
    distance: NDArray[np.float64]
    levels: int
    clusters: Sequence[Cluster]
    drawn: Sequence[Cluster]
    film: Frames
    thumbnails: Sequence[Frames]


class _Page:
    """A figure whose axes and texts are placed in inches, from the top left."""

    def __init__(self, height: float) -> None:
        self.figure, self.height = new_figure(_WIDTH, height), height
        self.figure.set_layout_engine("none")

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        box = (x / _WIDTH, 1 - (y + height) / self.height, width / _WIDTH, height / self.height)
        axes = self.figure.add_axes(box)
        style_axes(axes)
        return axes

    def write(self, x: float, y: float, text: str, size: float) -> None:
        place = (x / _WIDTH, 1 - y / self.height)
        self.figure.text(*place, text, fontsize=size, color=TEXT, va="top", parse_math=False)


def draw_timeline(timeline: Timeline) -> Any:
    """Draw frames, rows of cells and the distance along the time; below, the frames of each cluster.

    Returns:
        A matplotlib figure: axes of the frames, of the rows, of the distance, then one for each cluster that is drawn.
    """
    rows, drawn, film = timeline.rows, timeline.drawn, timeline.film
    left = 0.35 + _LETTER * max(10, min(max(len(row.name) for row in rows), _LONGEST))
    wide = _WIDTH - left - _EDGE
    _, height, width, _ = film[1].shape
    film_tall = min(wide / len(film[0]) * 0.96 * height / width, 2.0)
    rows_tall = len(rows) * (_STRIP + _BETWEEN)
    columns = 2 if len(drawn) > 3 else 1
    lines = -(-len(drawn) // columns)
    across = (_WIDTH - 2 * _EDGE) / 2
    thumb = min((across - _CAPTION - 0.1) / _ACROSS, _TALLEST * width / height)
    thumb_tall = thumb * height / width
    line_tall = thumb_tall + 0.26
    gaps = sum((_TITLE, _NUMBERS, _ABOVE_ROWS, _ABOVE_CURVE, _BELOW_CURVE)) + 0.05
    page = _Page(gaps + film_tall + rows_tall + _CURVE + lines * line_tall)
    page.write(_EDGE, 0.12, timeline.title, 11)
    page.write(_EDGE, 0.38, timeline.subtitle, 9)
    down = _TITLE + _NUMBERS
    _draw_film(page.axes(left, down, wide, film_tall), film, wide / len(film[0]), film_tall)
    down += film_tall + _ABOVE_ROWS
    _draw_rows(page.axes(left, down, wide, rows_tall), rows, timeline.times, wide)
    down += rows_tall + _ABOVE_CURVE
    _draw_curve(page.axes(left, down, wide, _CURVE), timeline)
    down += _CURVE + _BELOW_CURVE
    page.write(_EDGE, down - 0.3, _heading(timeline), 9)
    for number, (cluster, (numbers, pixels)) in enumerate(zip(drawn, timeline.thumbnails, strict=True)):
        column, line = divmod(number, lines)
        place = (_EDGE + column * across, down + line * line_tall)
        axes = page.axes(*place, _CAPTION + _ACROSS * thumb, thumb_tall + 0.16)
        _draw_cluster(axes, cluster, numbers, pixels, thumb, thumb_tall)
    return page.figure


def _heading(timeline: Timeline) -> str:
    """The line above the frames of the clusters."""
    shown, count = len(timeline.drawn), len(timeline.clusters)
    part = f" ({shown} of {count} clusters)" if shown < count else ""
    return f"Frames of each cluster{part}, at most {_ACROSS}, evenly spaced, with their frame numbers"


def _draw_film(axes: Any, film: tuple[list[int], NDArray[np.uint8]], slot: float, tall: float) -> None:
    """Frames side by side; the unit is an equal part of the time."""
    numbers, pixels = film
    _, height, width, _ = pixels.shape
    half = min(0.48, tall * width / height / slot / 2)
    for at, (number, picture) in enumerate(zip(numbers, pixels, strict=True)):
        axes.imshow(picture, extent=(at + 0.5 - half, at + 0.5 + half, 0, 1), aspect="auto")
        axes.text(at + 0.5, 1.04, f"frame {number}", fontsize=8, color=TEXT, ha="center", va="bottom")
    axes.set(xlim=(0, len(numbers)), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_rows(axes: Any, rows: Sequence[Row], times: NDArray[np.float64], wide: float) -> None:
    for line, row in enumerate(rows):
        edges = times[[*row.starts, len(times) - 1]]
        lengths = np.diff(edges)
        colours = [_SHOWN.get(kind, GREY) for kind in row.kinds] or [
            colour_of(number + 1) for number in range(len(lengths))
        ]
        texts = row.kinds or [str(number + 1) for number in range(len(lengths))]
        tall = _STRIP / (_STRIP + _BETWEEN)
        axes.barh(
            np.full(len(lengths), line), lengths, tall, edges[:-1],
            color=colours, edgecolor="white", linewidth=0.6 if len(lengths) <= 100 else 0,
        )  # fmt: skip
        for start, length, colour, text in zip(edges, lengths, colours, texts, strict=False):
            room = length / times[-1] * wide / len(text)
            if room > 0.065:
                size = 8 if room > 0.1 else 6.5
                style = {"ha": "center", "va": "center_baseline", "fontsize": size, "color": _ink(colour)}
                axes.text(start + length / 2, line, text, **style)
    names = axes.set_yticks(range(len(rows)), [_short(row.name) for row in rows]) and axes.get_yticklabels()
    for name, row in zip(names, rows, strict=True):
        name.set(fontsize=9, fontweight="bold" if row.own else "normal", parse_math=False)
    axes.set(xlim=(0, times[-1]), ylim=(len(rows) - 0.5, -0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_curve(axes: Any, timeline: Timeline) -> None:
    """The cumulative distance over the time, in the colours of the clusters."""
    times, distance, levels = timeline.times, timeline.distance, timeline.levels
    whole = float(distance[-1]) or 1.0
    for part in range(1, levels if levels <= _MOST_LEVELS else 0):
        axes.axhline(whole * part / levels, color=GRID, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
    starts = times[:-1]
    axes.plot(starts, distance, color=GREY, linewidth=0.8, zorder=1)
    dots = len(distance) <= 160
    for cluster in timeline.clusters:
        mine = slice(cluster.start_frame, cluster.end_frame + 1)
        marker = "o" if dots or cluster.frames == 1 else None
        style = {"color": colour_of(cluster.number), "linewidth": 2.2, "marker": marker, "markersize": 4}
        axes.plot(starts[mine], distance[mine], **style, solid_capstyle="round", zorder=2)
    axes.set(xlim=(0, times[-1]), ylim=(-0.04 * whole, 1.06 * whole))
    equal = f"; dashed: {levels} equal parts" if 1 < levels <= _MOST_LEVELS else ""
    note = f"cumulative Hamming distance (fraction of the activations that change sign){equal}"
    axes.text(0.008, 0.94, note, fontsize=8.5, color=TEXT, va="top", transform=axes.transAxes)
    axes.set_xlabel("time, s", fontsize=9)
    style_axes(axes, frame=False)


def _draw_cluster(
    axes: Any, cluster: Cluster, numbers: Sequence[int], pixels: NDArray[np.uint8], thumb: float, tall: float
) -> None:
    """The number of a cluster in its colour, its span, and its frames; the axes are in inches."""
    from matplotlib.patches import Rectangle

    colour = colour_of(cluster.number)
    axes.add_patch(Rectangle((0, 0), 0.3, tall, facecolor=colour, linewidth=0))
    axes.text(
        0.15,
        tall / 2,
        str(cluster.number),
        fontsize=10,
        color=_ink(colour),
        ha="center",
        va="center_baseline",
    )
    first, last = cluster.start_frame, cluster.end_frame
    span = f"frame {first}" if first == last else f"frames {first}–{last}"
    text = f"{span}\n{cluster.start_s:.2f}–{cluster.end_s:.2f} s"
    axes.text(0.37, tall / 2, text, fontsize=7.5, color=TEXT, va="center", linespacing=1.35)
    for at, (number, picture) in enumerate(zip(numbers, pixels, strict=True)):
        x = _CAPTION + at * thumb
        axes.imshow(picture, extent=(x, x + 0.95 * thumb, 0, tall), aspect="auto")
        axes.text(
            x + 0.475 * thumb, tall + 0.02, str(number), fontsize=6.5, color=GREY, ha="center", va="bottom"
        )
    axes.set(xlim=(0, _CAPTION + _ACROSS * thumb), ylim=(0, tall + 0.16), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _ink(colour: str) -> str:
    """Return black or white, the colour with the higher contrast to a background."""
    from matplotlib.colors import to_rgb

    return "#101114" if float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) > 0.52 else "#ffffff"


def _short(name: str, length: int = _LONGEST) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
