"""The picture of training losses.

It follows the paper of principal backpropagation (Huang et al., 2019, figures 4 and 5; see
`praxiscope.steps.principal`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.plots import smooth
from praxiscope.explain.checks import no_losses
from praxiscope.explain.explanation import (
    BLACK,
    BLUE,
    ORANGE,
    TEXT,
    Explanation,
    new_figure,
    set_title,
    style_axes,
)
from praxiscope.explain.networks import settings_of
from praxiscope.run_folder import LOG_FILE
from praxiscope.steps.settings.principal import PrincipalSettings
from praxiscope.training.log import read_log
from praxiscope.units import counted

__all__ = ["explain_losses"]


_COLUMNS = 3  # runs in a row
_HALF_WINDOW = 1 / 40  # of the steps of a run: the moving mean is over a twentieth
_WILD = 0.02  # fraction of the steps, above and below, that is ignored for the scale

# Columns of a log: name in the legend, colour and width, so that overlapping curves can all be seen.
_LOSSES = {
    "loss_full": ("all snippets", BLUE, 3.4),
    "loss_chosen": ("chosen", ORANGE, 1.8),
    "loss_unchosen": ("others", BLACK, 0.8),
}
# Of a network of two streams, each with its own loss.
_STREAM_LOSSES = {
    "loss_rgb": ("appearance", BLUE, 1.8),
    "loss_flow": ("motion", ORANGE, 1.8),
}
# The losses of snippets are computed without dropout, the training loss with it.
_OTHER_LOSS = {"loss": ("training loss (with dropout)", BLUE, 1.8)}


@dataclass(frozen=True)
class _Curve:
    """A loss over the steps of a run, and its moving mean."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    window: int


def explain_losses(runs: Sequence[str | Path]) -> Explanation:
    """Draw the training losses of runs side by side, finished or still training.

    For principal backpropagation, these are the losses of all snippets, of the chosen ones and of the others, without
    dropout; for networks of two streams that have losses of their own, those of appearance and motion, with dropout,
    so that runs that are gated one way and the other can be compared (Feichtenhofer et al., 2017); for
    other runs, the training loss, with dropout. The values are drawn faintly, with their moving mean over
    a twentieth of the run (fewer steps at the ends).

    Args:
        runs: run folders.

    Returns:
        The figure with the facts ``runs``: for each its ``run`` (name), ``setting`` (its backpropagation), ``steps``,
        ``window`` (steps of the moving mean) and ``losses``: by column of the log, the mean over the ``first_tenth``
        and over the ``last_tenth`` of the steps.

    Raises:
        ArgumentError: no runs are given, or one has not logged any step.
    """
    if not runs:
        raise ArgumentError("expected at least 1 run, got 0")
    drawn = [(Path(run).resolve().name, _setting(run), _curves(run)) for run in runs]
    facts = [
        {
            "run": name,
            "setting": setting,
            "steps": int(next(iter(curves.values())).steps[-1]),
            "window": next(iter(curves.values())).window,
            "losses": {key: _tenths(curve.values) for key, curve in curves.items()},
        }
        for name, setting, curves in drawn
    ]
    return Explanation(_draw_losses(drawn), {"runs": facts})


def _setting(run: str | Path) -> str:
    """Describe the backpropagation of a run; empty for a folder without settings."""
    settings = settings_of(run)
    if settings is None:
        return ""
    step, given, model = settings.backprop, settings.step_input, settings.model.keywords()
    if "gate" in model:
        return f"gate {model['gate']}, {model.get('direction', '')}".removesuffix(", ")
    if isinstance(step, PrincipalSettings):
        return f"{step.choose} of {given.snippets} snippets, rule {step.rule_for(given.stream)}"
    return f"{settings.backprop.name} backpropagation of {counted(settings.input.snippets, 'snippet')}"


def _curves(run: str | Path) -> dict[str, _Curve]:
    history = read_log(Path(run) / LOG_FILE)
    known = {key for row in history for key in row}
    curves = {}
    wanted = (
        _LOSSES if "loss_full" in known else _STREAM_LOSSES if _STREAM_LOSSES.keys() <= known else _OTHER_LOSS
    )
    for key in filter(known.__contains__, wanted):
        steps, values = np.array([(row["step"], row[key]) for row in history if key in row], dtype=float).T
        window = 2 * int(len(steps) * _HALF_WINDOW) + 1
        curves[key] = _Curve(steps, values, smooth(values, window), window)
    if not curves:
        raise no_losses(run)
    return curves


def _tenths(values: NDArray[np.float64]) -> dict[str, float]:
    tenth = max(1, len(values) // 10)
    return {"first_tenth": float(values[:tenth].mean()), "last_tenth": float(values[-tenth:].mean())}


def _draw_losses(drawn: Sequence[tuple[str, str, dict[str, _Curve]]]) -> Any:
    columns = min(len(drawn), _COLUMNS)
    rows = -(-len(drawn) // columns)
    figure = new_figure(max(4.4 * columns, 5.5), 3.6 * rows + 0.4)
    set_title(figure, "Training losses: each step (faint) and the moving mean over a twentieth of the run")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for axes in panels[::columns]:
        axes.set_ylabel("cross-entropy, nats", fontsize=9)
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    for axes, (name, setting, curves) in zip(panels, drawn, strict=False):
        for key, curve in curves.items():
            label, colour, line = (_LOSSES | _STREAM_LOSSES | _OTHER_LOSS)[key]
            axes.plot(curve.steps, curve.values, color=colour, alpha=0.2, linewidth=0.7)
            axes.plot(curve.steps, curve.smoothed, color=colour, linewidth=line, label=label)
        title = f"{name}\n{setting}" if setting else name
        axes.set_title(title, loc="left", fontsize=10, color=TEXT, parse_math=False)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelleft=True)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 3}
        axes.legend(**below, frameon=False, fontsize=9, labelcolor=TEXT)
        style_axes(axes, frame=False, grid="both")
    panels[0].set_ylim(_limits([curve for _, _, curves in drawn for curve in curves.values()]))
    return figure


def _limits(curves: Sequence[_Curve]) -> tuple[float, float]:
    """Limits that include all means and nearly all values, so that a few outliers do not flatten the curves."""
    low = min(min(np.quantile(one.values, _WILD), one.smoothed.min()) for one in curves)
    high = max(max(np.quantile(one.values, 1 - _WILD), one.smoothed.max()) for one in curves)
    room = 0.05 * (high - low) or 0.1
    return max(low - room, 0.0), high + room
