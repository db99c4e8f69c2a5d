"""``praxiscope explain winners``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Flow, FlowRange, FlowWeights, Json, Task, reporter
from praxiscope.cli.explain.common import Out, Run, SeenBy, Video, check_inputs, output_path, write
from praxiscope.units import counted


def winners(
    run: Run,
    video: Video,
    protocol: SeenBy = None,
    top: Annotated[int, typer.Option(min=1, max=9, help="Number of frames that are shown of each kind.")] = 6,
    label: Annotated[
        str | None, typer.Option(help="Class whose score is explained. Default: the predicted class.")
    ] = None,
    checkpoint: Checkpoint = None,
    task: Task = None,
    flow: Flow = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw which frames of a video win the maximum over time of a pooling model.

    Bars show how many units of the maximum each frame has won, and what these units say for a class. For conv-pool,
    the picture also shows where in the frame they are.

    Example: praxiscope explain winners runs/conv clip.mp4 --protocol allx1
    """
    from praxiscope.evaluation.protocols import parse_protocol
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "winners")
    if protocol is not None:
        parse_protocol(protocol)
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.winners import explain_winners
    made = explain_winners(
        run,
        video,
        protocol=protocol,
        top=top,
        label=label,
        checkpoint=checkpoint,
        reporter=reporter(),
        task=task,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        device=device,
    )
    facts = made.facts
    best = max(facts["winners"], key=lambda one: one["contribution"])
    found = f"most for {facts['explained']}: frame {best['frame']} ({best['time_s']:.2f} s)"
    write(made, out, f"{facts['units']} units of {counted(facts['frames'], 'frame')}; {found}", json)
