"""Contact sheets of a check of labels: clips that look like another class, and pairs of clips that look alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.data.dataset import frame_range
from praxiscope.data.label_trouble import LabelTrouble
from praxiscope.errors import ArgumentError, PraxiscopeError
from praxiscope.explain.explanation import GREY, GRID, ORANGE, TEXT, Explanation, new_figure, set_title
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video

__all__ = ["draw_duplicates", "draw_suspects"]

_SIDE = 160  # pixels of the shorter side of a frame
_CELL = (2.4, 2.2)  # width and height of a clip in inches
_LETTERS = 36  # characters in the width of a clip


def draw_suspects(found: LabelTrouble, *, most: int = 20, columns: int = 5) -> Explanation:
    """Draw the middle frame of the most suspicious clips, with the given label, the suggested one, and the clip's id.

    Args:
        found: result of the check.
        most: largest number of clips.
        columns: clips in a row.

    Returns:
        The figure with the facts ``clips`` (ids in order) and ``unread`` (ids of clips whose video cannot be read).

    Raises:
        ArgumentError: there is no suspicious clip.
    """
    shown = found.suspects[:most]
    if not shown:
        raise ArgumentError(
            f"{found.features}: no label disagrees with the features, so there is nothing to draw"
        )
    figure, panels = _sheet(len(shown), columns)
    rest = f", the first {len(shown)}" if len(shown) < len(found.suspects) else ""
    set_title(
        figure,
        f"{len(found.suspects)} of {found.judged} labels that the features of their clips contradict{rest}; "
        "the most suspicious first",
    )
    unread = []
    for number, (axes, suspect) in enumerate(zip(panels, shown, strict=True), start=1):
        frame = _frame(suspect.record)
        if frame is None:
            unread.append(suspect.record.id)
        _picture(axes, frame)
        _write(axes, 1.19, f"{number}. given: {suspect.record.labels[0]}", TEXT)
        _write(axes, 1.10, f"looks like: {suspect.suggested} ({suspect.probability:.2f})", ORANGE)
        _write(axes, 1.01, suspect.record.id, GREY, start=False)
    return Explanation(figure, {"clips": [one.record.id for one in shown], "unread": unread})


def draw_duplicates(found: LabelTrouble, *, most: int = 12, columns: int = 3) -> Explanation:
    """Draw pairs of clips that show nearly the same, at the frames at which they are most alike.

    Args:
        found: result of the check.
        most: largest number of pairs.
        columns: pairs in a row.

    Returns:
        The figure with the facts ``pairs`` (ids in order) and ``unread`` (ids of clips whose video cannot be read).

    Raises:
        ArgumentError: there is no such pair.
    """
    shown = found.duplicates[:most]
    if not shown:
        raise ArgumentError(
            f"{found.features}: no two clips are nearly the same, so there is nothing to draw"
        )
    figure, panels = _sheet(2 * len(shown), 2 * columns)
    total = len(found.duplicates) + found.more_duplicates
    rest = f", the first {len(shown)}" if len(shown) < total else ""
    set_title(figure, f"{total} pairs of clips that show nearly the same{rest}")
    unread = []
    for number, pair in enumerate(shown):
        for side, (record, frame_number) in enumerate(zip(pair.records, pair.frames, strict=True)):
            axes = panels[2 * number + side]
            frame = _frame(record, frame_number)
            if frame is None:
                unread.append(record.id)
            _picture(axes, frame)
            head = f"{number + 1}. similarity {pair.similarity:.3f}" if side == 0 else ""
            _write(axes, 1.19, head, TEXT)
            colour = ORANGE if pair.labels_differ or pair.splits_differ else TEXT
            label = " | ".join(record.labels) or "no label"
            _write(axes, 1.10, f"{record.split or 'no split'}: {label}", colour)
            _write(axes, 1.01, record.id, GREY, start=False)
    ids = [[record.id for record in pair.records] for pair in shown]
    return Explanation(figure, {"pairs": ids, "unread": unread})


def _sheet(count: int, columns: int) -> tuple[Any, list[Any]]:
    """A figure with one panel for each clip."""
    rows = math.ceil(count / columns)
    figure = new_figure(columns * _CELL[0], rows * _CELL[1] + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
        axes.set_title("\n\n", fontsize=8)  # room for the lines of `_write`
    return figure, panels[:count]


def _picture(axes: Any, frame: NDArray[np.uint8] | None) -> None:
    if frame is None:
        axes.set(xlim=(0, 4), ylim=(3, 0), aspect="equal")
        axes.add_patch(_rectangle())
        axes.text(2, 1.5, "cannot be read", ha="center", va="center", fontsize=8, color=GREY)
        return
    axes.imshow(frame, interpolation="antialiased")


def _rectangle() -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 4, 3, color=GRID)


def _write(axes: Any, height: float, text: str, colour: str, *, start: bool = True) -> None:
    """Write a line above a panel; a long one is cut at its end, or at its start if that says less."""
    if len(text) > _LETTERS:
        text = f"{text[: _LETTERS - 1]}…" if start else f"…{text[1 - _LETTERS :]}"
    axes.text(
        0, height, text, transform=axes.transAxes, fontsize=7.5, color=colour, va="bottom", parse_math=False
    )


def _frame(record: VideoRecord, number: int | None = None) -> NDArray[np.uint8] | None:
    """A frame of a clip, by default the middle one, uint8 [H, W, 3]; None if it cannot be read."""
    try:
        video = open_video(record.path)
        first, last = frame_range(record, video)
        wanted = (first + last) // 2 if number is None else min(max(number, first), last - 1)
        pixels = video.frames([wanted], short_side=_SIDE)
    except (PraxiscopeError, OSError):
        return None
    return pixels[0].permute(1, 2, 0).numpy()
