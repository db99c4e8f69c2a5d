"""The picture of the gain of one network over another in each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.class_gain import ClassGain, class_gains
from praxiscope.evaluation.plot_style import dress, page_theme, short_name
from praxiscope.evaluation.scores import Scores
from praxiscope.explain.explanation import Explanation, new_figure, set_title
from praxiscope.units import counted

__all__ = ["explain_gain"]

_BAR = 0.21  # inches


def explain_gain(
    one: str | Path,
    other: str | Path,
    *,
    groups: str | Path | None = None,
    most: int = 40,
    seed: int = 0,
) -> Explanation:
    """Draw how many more videos of each class one network recognises than another.

    Args:
        one, other: scores files of the same videos (``praxiscope test --out``).
        groups: data set (folder, list or LAYOUT:FOLDER) whose groups are drawn for the intervals. None: videos.
        most: number of classes that are drawn, of those with the largest and the smallest gains.
        seed: of the samples of the bootstrap.

    Returns:
        The figure with the facts ``one`` and ``other`` (names), ``videos``, ``grouped``, ``whole`` and ``classes``, the
        largest gain first: for each the attributes of `praxiscope.evaluation.class_gain.ClassGain`.

    Raises:
        ScoresError: a file is damaged, or the videos or classes differ.
        ArgumentError: videos have several labels, a video has no group, or ``most`` is below 1.
        DataError: the data set cannot be read.
    """
    if most < 1:
        raise ArgumentError(f"most must be at least 1, got {most}")
    first, second = Scores.load(one), Scores.load(other)
    known = None if groups is None else _groups(groups)
    whole, *classes = class_gains(first, second, known, seed=seed)
    names = _names(Path(one), Path(other))
    facts = {
        "one": names[0],
        "other": names[1],
        "videos": whole.videos,
        "grouped": groups is not None,
        "whole": asdict(whole),
        "classes": [asdict(found) for found in classes],
    }
    return Explanation(_draw(names, whole, classes, most, grouped=groups is not None), facts)


def _groups(data: str | Path) -> dict[str, str]:
    """The group of each video; a video without one is its own."""
    records = load_records(data, random_split=False).records
    return {record.id: record.group or record.id for record in records}


def _names(one: Path, other: Path) -> tuple[str, str]:
    """Names of two files: without their folder, if they then differ."""
    if one.stem != other.stem:
        return one.stem, other.stem
    return tuple(f"{path.resolve().parent.name}/{path.stem}" for path in (one, other))  # type: ignore[return-value]


def _draw(
    names: tuple[str, str], whole: ClassGain, classes: Sequence[ClassGain], most: int, *, grouped: bool
) -> Any:
    """Horizontal bars with intervals, the largest gain at the top."""
    upper = -(-most // 2)
    left_out = len(classes) - most
    shown = [*classes[:upper], *classes[len(classes) - (most - upper) :]] if left_out > 0 else list(classes)
    theme = page_theme(dark=False)
    figure = new_figure(7.6, 1.25 + _BAR * len(shown))
    set_title(figure, f"{names[0]} against {names[1]}: gain in accuracy by class")
    axes = figure.add_subplot()
    places = range(len(shown))
    colours = [theme.first if found.gain >= 0 else theme.second for found in shown]
    axes.barh(places, [100 * found.gain for found in shown], color=colours, height=0.72)
    for place, found in enumerate(shown):
        if not math.isnan(found.low):
            axes.hlines(place, 100 * found.low, 100 * found.high, color=theme.text, linewidth=1.1, alpha=0.6)
    labels = [f"{short_name(found.label)} ({found.videos})" for found in shown]
    axes.set_yticks(places, labels, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=8)
    axes.axvline(0, color=theme.text, linewidth=0.8)
    axes.grid(True, axis="x", color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    low, high = (f"{100 * value:+.1f}" for value in (whole.low, whole.high))
    interval = "" if math.isnan(whole.low) else f" ({low} to {high})"
    note = f"percentage points; lines: 95 % intervals (bootstrap over {'groups' if grouped else 'videos'})"
    both = f"all {counted(whole.videos, 'video')}: {100 * whole.gain:+.1f}{interval}"
    if left_out > 0:
        both += f"; {left_out} classes in the middle are not shown"
    axes.set_xlabel(f"{note}\n{both}", fontsize=9)
    dress(axes, theme)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
