"""The figure of an answer that grows with the frames. Sizes are in inches.

m times, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.explain.explanation import BLACK, GREY, style_axes
from praxiscope.explain.film import GAP, Film, Page, clean, draw_film, film_size, moved_apart, time_axis

__all__ = ["Course", "Line", "draw_course"]

_WIDTH, _TALL = 11.0, 3.0
_LEFT, _EDGE = 0.62, 0.2
_LETTER = 0.073  # of a name at the right, about
_TITLE, _LEGEND, _BELOW = 0.66, 0.22, 0.32
# Those of Okabe and Ito that can be read as text.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8f98", "#7b4fa3")
_TOPS = (10, 25, 50, 100)  # of the axis, %
_FEW = 40  # points that are marked
_APART = 0.068  # from one name to the next, of the whole height


@dataclass(frozen=True)
class Line:
    """The probability of a class over the frames.

    Attributes:
        label: the class.
        grown: after each frame, [m].
        each: at each frame, before those of the frames are combined, [m]; None if this is the same.
        ahead: the share of the frames at which it was the most probable class.
    """

    label: str
    grown: NDArray[np.float32]
    each: NDArray[np.float32] | None
    ahead: float

    @property
    def last(self) -> float:
        """The probability in the final answer."""
        return float(self.grown[-1])

    def facts(self) -> dict[str, Any]:
        """The line by name, as it is printed by ``--json``."""
        found = {
            "label": self.label,
            "probability": self.last,
            "ahead": self.ahead,
            "probabilities": self.grown.tolist(),
        }
        return found if self.each is None else {**found, "at_each_frame": self.each.tolist()}


@dataclass(frozen=True)
class Course:
    """The content of the figure.

    Attributes:
        title, subtitle: the first two lines.
        times_s: [m].
        span_s: the first and the last second.
        repeats_s: when the video starts again.
        lines: of the classes, the final answer first.
        true: the true class, if it is known.
        film: frames that are shown.
    """

    title: str
    subtitle: str
    times_s: NDArray[np.float64]
    span_s: tuple[float, float]
    repeats_s: Sequence[float]
    lines: Sequence[Line]
    true: str | None
    film: Film


def draw_course(course: Course) -> Any:
    """Draw the probabilities over the time, the final ones with their names at the right, and frames below.

    Returns:
        A matplotlib figure: axes of the probabilities, then of the film.
    """
    names = [_name(line, course.true) for line in course.lines]
    right = 0.35 + _LETTER * max(len(name) for name in names)
    wide = _WIDTH - _LEFT - right
    frame_wide, frame_tall = film_size(len(course.film.pixels), wide, course.film.pixels.shape)
    film_tall = frame_tall + GAP
    two = any(line.each is not None for line in course.lines)
    above = _TITLE + (_LEGEND if two else 0)
    page = Page(_WIDTH, above + _TALL + film_tall + _BELOW)
    page.write(_EDGE, 0.12, course.title, fontsize=11)
    page.write(_EDGE, 0.36, course.subtitle, fontsize=9)
    if two:
        note = (
            "thick: the answer for the video so far; thin: the answer at each frame, before they are combined"
        )
        page.write(_EDGE, 0.57, note, fontsize=8.5, color=GREY)
    axes = page.axes(_LEFT, above, wide, _TALL)
    _draw_lines(axes, course)
    _write_names(axes, course, names)
    film = page.axes(_LEFT, above + _TALL, wide, film_tall)
    draw_film(film, course.film, course.span_s, frame_wide / wide)
    return page.figure


def _draw_lines(axes: Any, course: Course) -> None:
    """The lines hold each value until the next frame."""
    times = np.append(course.times_s, max(course.span_s[1], course.times_s[-1]))
    marked = "o" if len(course.times_s) <= _FEW else None
    for number, line in reversed(list(enumerate(course.lines))):
        colour = _colour(number, line, course)
        if line.each is not None:
            each = 100 * np.append(line.each, line.each[-1])
            axes.step(times, each, where="post", color=colour, linewidth=0.8, alpha=0.5)
        grown = 100 * np.append(line.grown, line.grown[-1])
        axes.step(times, grown, where="post", color=colour, linewidth=2.2, solid_capstyle="round")
        if marked:
            axes.plot(times[:-1], grown[:-1], marked, color=colour, markersize=3.5)
    for time_s in course.repeats_s:
        axes.axvline(time_s, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(time_s, 1.03 * _top(course), " again from the start", fontsize=7.5, color=GREY, va="bottom")
    low, high = course.span_s
    top = _top(course)
    axes.set(ylim=(-0.02 * top, 1.02 * top), yticks=np.linspace(0, top, 6 if top < 50 else 5))
    axes.set_ylabel("probability, %", fontsize=9)
    style_axes(axes, frame=False, grid="y")
    time_axis(axes, low, high)


def _write_names(axes: Any, course: Course, names: Sequence[str]) -> None:
    """Names at the height of the last probability, moved apart where they would touch."""
    wanted = [(100 * line.last / _top(course) + 0.02) / 1.04 for line in course.lines]
    heights = moved_apart(wanted, _APART, 0, 1)
    for number, (name, height, line) in enumerate(zip(names, heights, course.lines, strict=True)):
        colour = _colour(number, line, course)
        axes.plot(
            (1, 1.012), (wanted[number], height), color=colour, linewidth=0.8,
            transform=axes.transAxes, clip_on=False,
        )  # fmt: skip
        axes.text(
            1.016, height, name, fontsize=9, color=colour, va="center", transform=axes.transAxes,
            fontweight="bold" if number == 0 else "normal", parse_math=False,
        )  # fmt: skip


def _top(course: Course) -> int:
    """The end of the axis of probabilities, %."""
    most = max(
        float(values.max())
        for line in course.lines
        for values in (line.grown, line.each)
        if values is not None
    )
    return next(top for top in _TOPS if top >= 99.9 * most or top == 100)


def _colour(number: int, line: Line, course: Course) -> str:
    """The colour of a class; a true class that is not among the best is black."""
    extra = number == len(course.lines) - 1 and number > 0 and line.label == course.true
    return BLACK if extra else _COLOURS[number]


def _name(line: Line, true: str | None) -> str:
    percent = 100 * line.last
    share = f"{percent:.0f} %" if percent >= 1 or percent == 0 else "< 1 %"
    return f"{clean(line.label)}  {share}" + ("  (true)" if line.label == true else "")
