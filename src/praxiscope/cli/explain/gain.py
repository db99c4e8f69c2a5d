"""``praxiscope explain gain``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Json
from praxiscope.cli.explain.common import Out, output_path, write
from praxiscope.units import counted


def gain(
    one: Annotated[
        Path, typer.Argument(metavar="ONE", help="Scores file of the first run.", show_default=False)
    ],
    other: Annotated[
        Path,
        typer.Argument(
            metavar="OTHER", help="Scores file of the second run, on the same videos.", show_default=False
        ),
    ],
    groups: Annotated[
        str | None,
        typer.Option(
            help="Data set (folder, CSV or LAYOUT:FOLDER) whose groups are drawn for the intervals, since videos of a "
            "group are alike. Default: videos are drawn."
        ),
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Number of classes that are drawn: the largest and the smallest gains.")
    ] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw how many more videos of each class one run recognises than another, with intervals.

    The scores files are those of praxiscope test --out.

    Example: praxiscope explain gain one.npz other.npz --out gain.png
    """
    out = output_path(out, str(one), "gain")
    with quick_imports():
        from praxiscope.explain.gain import explain_gain
    made = explain_gain(one, other, groups=groups, most=most, seed=seed)
    whole, classes = made.facts["whole"], made.facts["classes"]
    interval = (
        "" if math.isnan(whole["low"]) else f" ({100 * whole['low']:+.1f} to {100 * whole['high']:+.1f})"
    )
    best = f"most in {classes[0]['label']}, {100 * classes[0]['gain']:+.1f}"
    found = f"{100 * whole['gain']:+.1f} points{interval} on {counted(whole['videos'], 'video')}; {best}"
    write(made, out, found, json)
