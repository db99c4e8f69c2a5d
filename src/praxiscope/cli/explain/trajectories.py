"""``praxiscope explain trajectories``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Json, reporter
from praxiscope.cli.explain.common import Out, Video, output_path, write
from praxiscope.units import counted


def trajectories(
    video: Video,
    frames: Annotated[int, typer.Option(min=1, help="Number of frames, evenly spaced.")] = 4,
    short_side: Annotated[
        int, typer.Option(min=32, help="Larger frames are resized to this short side, in pixels.")
    ] = 240,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the trajectories of points over frames, before and after the motion of the camera is removed.

    Orange trajectories move as the camera does; blue ones are left.

    Example: praxiscope explain trajectories clip.mp4
    """
    from praxiscope.trajectories.opencv import opencv
    from praxiscope.video.sources import check_there

    out = output_path(out, video, "trajectories")
    check_there(video)
    opencv()
    with quick_imports():
        from praxiscope.explain.trajectories import explain_trajectories
    made = explain_trajectories(video, frames=frames, short_side=short_side, reporter=reporter())
    before, after = (sum(made.facts[name]) for name in ("before", "after"))
    shown = counted(len(made.facts["frames"]), "frame")
    write(made, out, f"{shown}, {before} trajectories, {after} without those of the camera", json)
