"""``praxiscope explain losses``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Json
from praxiscope.cli.explain.common import Out, output_path, write
from praxiscope.units import counted


def losses(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="One run folder or more.", show_default=False),
    ],
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the training losses of runs side by side, also while they train.

    Of principal backpropagation: the losses of all, the chosen and the other snippets.

    Example: praxiscope explain losses runs/pb runs/full
    """
    from praxiscope.explain.checks import check_log

    out = output_path(out, runs[0], "losses")
    for run in runs:
        check_log(run)
    with quick_imports():
        from praxiscope.explain.losses import explain_losses
    made = explain_losses(list[str | Path](runs))
    lengths = ", ".join(f"{one['run']} {counted(one['steps'], 'step')}" for one in made.facts["runs"])
    write(made, out, lengths, json)
