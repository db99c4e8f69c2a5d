"""The figure of ``over_time.py``: accuracy by system and stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from praxiscope.explain.explanation import BLACK, BLUE, ORANGE, TEXT, Explanation, new_figure, style_axes

__all__ = ["Accuracy", "draw_figure"]

STREAMS = {"rgb": (BLUE, "o"), "flow": (ORANGE, "s"), "fused": (BLACK, "D")}
"""Colour and marker of each stream."""


class Accuracy(NamedTuple):
    """Top-1 accuracy, and its 95 % interval."""

    mean: float
    low: float
    high: float


def draw_figure(panels: Sequence[tuple[str, Mapping[tuple[str, str], Accuracy], float]]) -> Explanation:
    """Draw a panel for each set of videos.

    Args:
        panels: the title, the accuracies by system and stream, in the order of the rows, and the accuracy of chance.
    """
    figure = new_figure(4.6 * len(panels), 4.4)
    for place, (title, found, chance) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        systems = list(dict.fromkeys(system for system, _ in found))
        for shift, (stream, (colour, marker)) in enumerate(STREAMS.items()):
            known = [
                (row, found[system, stream])
                for row, system in enumerate(systems)
                if (system, stream) in found
            ]
            axes.errorbar(
                [one.mean for _, one in known],
                [row + 0.22 * (shift - 1) for row, _ in known],
                xerr=[[one.mean - one.low for _, one in known], [one.high - one.mean for _, one in known]],
                color=colour,
                marker=marker,
                markersize=4,
                linestyle="",
                linewidth=1.2,
                label=stream,
            )
        axes.axvline(chance, color=TEXT, linestyle=":", linewidth=1)
        axes.set(xlim=(0, 1), ylim=(len(systems) - 0.5, -0.5), xlabel="top-1 accuracy")
        axes.set_yticks(range(len(systems)), systems, fontsize=8)
        axes.set_title(title, loc="left", fontsize=9, color=TEXT)
        if place == 0:
            axes.legend(fontsize=8, labelcolor=TEXT, loc="lower left", framealpha=1, edgecolor="none")
        style_axes(axes, frame=False, grid="x")
    return Explanation(figure)
