"""``praxiscope explain gates``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Flow, FlowRange, FlowWeights, Json, Task
from praxiscope.cli.explain.common import OneCrop, Out, Run, Video, check_inputs, output_path, write


def gates(
    run: Run,
    video: Video,
    protocol: OneCrop = None,
    frames: Annotated[int, typer.Option(min=1, max=12, help="Number of frames that are shown.")] = 6,
    checkpoint: Checkpoint = None,
    task: Task = None,
    flow: Flow = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the gates of a multiplier network: where one stream lets the other through.

    Example: praxiscope explain gates runs/joint clip.mp4
    """
    from praxiscope.evaluation.protocols import parse_protocol
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "gates")
    if protocol is not None:
        parse_protocol(protocol)
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.gates import explain_gates
    made = explain_gates(
        run,
        video,
        protocol=protocol,
        frames=frames,
        checkpoint=checkpoint,
        task=task,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        device=device,
    )
    found = ", ".join(f"{gate['name']} {100 * gate['open']:.0f} %" for gate in made.facts["gates"])
    write(made, out, f"open: {found}", json)
