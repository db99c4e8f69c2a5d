"""``praxiscope explain future``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import FLOW_PANEL, Checkpoint, Device, FlowRange, Json
from praxiscope.cli.explain.common import Out, Run, Video, check_inputs, output_path, write
from praxiscope.units import counted


def future(
    run: Run,
    video: Video,
    frames: Annotated[int, typer.Option(min=1, max=12, help="Number of columns.")] = 7,
    start: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="When the snippet begins, seconds, of a network over time. Default: in the middle of the video.",
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            help="Folder of stored flow (praxiscope flow) that is drawn below, and compared with the estimate.",
            rich_help_panel=FLOW_PANEL,
        ),
    ] = None,
    flow_range: FlowRange = None,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the flow that a network estimates, also to a frame that it does not see.

    For flownet, flownet-3d, actionflownet and actionflownet-2f.

    Example: praxiscope explain future runs/afn clip.mp4 --flow flow/
    """
    from praxiscope.flow.store import FlowStore
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "future")
    FlowOptions(flow, flow_range)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, None, device)
    with quick_imports():
        from praxiscope.explain.future import explain_future
    made = explain_future(
        run,
        video,
        frames=frames,
        start_s=start,
        flow=None if flow is None else FlowStore(flow, range=flow_range),
        checkpoint=checkpoint,
        device=device,
    )
    columns = made.facts["columns"]
    found = (
        f"{counted(len(columns), 'field')}, strongest colour at {made.facts['scale_px']:g} pixels per frame"
    )
    errors = [column["error_px"] for column in columns if column.get("error_px") is not None]
    if errors:
        found += f", end-point error {sum(errors) / len(errors):.2f} pixels"
    write(made, out, found, json)
