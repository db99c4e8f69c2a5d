"""``praxiscope explain flow``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.common import Device, Json, reporter
from praxiscope.cli.explain.common import Out, Video, output_path, write
from praxiscope.flow.methods import list_methods
from praxiscope.units import counted


def flow(
    video: Video,
    method: Annotated[
        str,
        typer.Option(help=f"Flow method: {', '.join(list_methods())}.", autocompletion=complete.flow_methods),
    ] = "tvl1",
    flow_weights: Annotated[
        str | None, typer.Option(help="Weights of the method raft: a file or 'download'.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Number of frames, evenly spaced.")] = 8,
    short_side: Annotated[
        int, typer.Option(min=16, help="Larger frames are resized to this short side, in pixels.")
    ] = 256,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw frames of a video above their optical flow.

    The colour shows the direction of the motion, its strength the speed.

    Example: praxiscope explain flow clip.mp4 --method tvl1
    """
    from praxiscope.devices import check_device
    from praxiscope.flow.methods import check_method
    from praxiscope.video.sources import check_there

    out = output_path(out, video, "flow")
    check_method(method)
    check_device(device)
    check_there(video)
    with quick_imports():
        from praxiscope.explain.flow import explain_flow
    parameters = {} if flow_weights is None else {"weights": flow_weights}
    made = explain_flow(
        video,
        method,
        frames=frames,
        short_side=short_side,
        device=device,
        reporter=reporter(),
        **parameters,
    )
    shown = counted(len(made.facts["frames"]), "frame")
    write(made, out, f"{shown}, strongest colour at {made.facts['scale_px']:g} pixels per frame", json)
