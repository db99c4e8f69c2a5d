"""``praxiscope trajectories``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    RUN_PANEL,
    Annotations,
    Data,
    Json,
    MaxSkip,
    Split,
    print_json,
    reporter,
)
from praxiscope.units import counted

HELP = """Extract improved dense trajectories of a data set's videos, with HOG, HOF and MBH around them.

Run the same command again to continue an interrupted run, or after videos were added or changed.

\b
Example: praxiscope trajectories videos/ --out idt/ --workers 2
"""
_METHOD = "Trajectories"


def trajectories(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the trajectories.")],
    short_side: Annotated[
        int,
        typer.Option(
            min=0,
            help="Larger videos are scaled to this short side, pixels; 0: never.",
            rich_help_panel=_METHOD,
        ),
    ] = 240,
    most: Annotated[
        int,
        typer.Option(
            min=1,
            help="Largest number of trajectories of a video, about 0.9 kB each; of more, some are drawn at random.",
            rich_help_panel=_METHOD,
        ),
    ] = 50_000,
    camera_motion: Annotated[
        bool,
        typer.Option(
            "--camera-motion/--no-camera-motion",
            help="Remove the motion of the camera (improved trajectories).",
            rich_help_panel=_METHOD,
        ),
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Seed of RANSAC and of the drawing.", rich_help_panel=_METHOD)
    ] = 0,
    split: Split = None,
    annotations: Annotations = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes. Default: one per core.", rich_help_panel=RUN_PANEL),
    ] = None,
    max_skip: MaxSkip = None,
    json: Json = False,
) -> None:
    from dataclasses import asdict

    from praxiscope.data.manifest import find_data
    from praxiscope.trajectories.opencv import opencv

    opencv()
    find_data(data, split, annotations)
    with quick_imports():
        from praxiscope.commands.trajectories import trajectories as run_trajectories
        from praxiscope.trajectories.settings import Extraction, TrajectorySettings
    summary = run_trajectories(
        data,
        out,
        Extraction(TrajectorySettings(camera_motion=camera_motion, seed=seed), short_side, most),
        split=split,
        annotations=annotations,
        workers=workers,
        max_skip=max_skip,
        reporter=reporter(),
    )
    if json:
        print_json(asdict(summary))
        return
    print(
        f"{counted(summary.clips, 'clip')} in {out}, {summary.already} of them before; "
        f"{counted(summary.trajectories, 'trajectory', 'trajectories')} in {summary.seconds:.0f} s; "
        f"{summary.bytes / 1e6:.1f} MB."
    )
