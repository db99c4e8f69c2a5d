"""``praxiscope bench``: speed, memory and the tables of papers, measured on this machine."""

from __future__ import annotations

from praxiscope.cli.bench import (
    compare,
    flow,
    folds,
    full_video,
    full_video_cost,
    load,
    multiplier,
    predict,
    principal,
    retrieval,
)
from praxiscope.cli.help import App

__all__ = ["app"]

_SPEED, _PAPERS, _COMPARE = "Speed and memory", "Tables of papers", "Comparisons"

app = App(help="Measure speed, memory and the tables of papers on this machine.")
app.command("flow", rich_help_panel=_SPEED)(flow.flow)
app.command("load", rich_help_panel=_SPEED)(load.load)
app.command("predict", rich_help_panel=_SPEED)(predict.predict)
app.command("principal", rich_help_panel=_SPEED)(principal.principal)
app.command("full-video-cost", rich_help_panel=_SPEED)(full_video_cost.full_video_cost)
app.command("full-video", rich_help_panel=_PAPERS)(full_video.full_video)
app.command("multiplier", rich_help_panel=_PAPERS)(multiplier.multiplier)
app.command("retrieval", rich_help_panel=_PAPERS)(retrieval.retrieval)
app.command("folds", rich_help_panel=_COMPARE)(folds.folds)
app.command("compare", rich_help_panel=_COMPARE)(compare.compare)
app.command("power", rich_help_panel=_COMPARE)(compare.power)
