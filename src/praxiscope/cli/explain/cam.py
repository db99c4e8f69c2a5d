"""``praxiscope explain cam``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Flow, FlowRange, FlowWeights, Json, Task
from praxiscope.cli.explain.common import OneCrop, Out, Run, Video, check_inputs, output_path, write


def cam(
    run: Run,
    video: Video,
    protocol: OneCrop = None,
    top: Annotated[int, typer.Option(min=1, max=6, help="Number of classes, the most probable first.")] = 3,
    label: Annotated[
        str | None, typer.Option("--label", "--class", help="A class that is drawn, too.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, max=12, help="Number of frames that are shown.")] = 6,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Draw Grad-CAM of this layer, such as layer3, instead: for any network whose layers have names. "
            "A wrong name is answered with all names; last: the last layer of each network."
        ),
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
    """Draw class activation maps: where in its frames a network sees a class.

    For networks that end in the mean of a map and a linear layer; with --layer, for any whose layers have names.
    Others: praxiscope explain occlusion.

    Example: praxiscope explain cam runs/a clip.mp4 --top 2
    """
    from praxiscope.evaluation.protocols import parse_protocol
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "cam")
    if protocol is not None:
        parse_protocol(protocol)
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.cam import explain_cam
        from praxiscope.explain.cam_layers import explain_layer
    options: dict[str, Any] = {
        "protocol": protocol,
        "top": top,
        "label": label,
        "frames": frames,
        "checkpoint": checkpoint,
        "task": task,
        "flow": flow,
        "flow_range": flow_range,
        "flow_weights": flow_weights,
        "device": device,
    }
    if layer is not None:
        made = explain_layer(run, video, None if layer == "last" else layer, **options)
        first = made.facts["layers"][0]
        place = first["strongest"]
        found = (
            f"{first['layer']} sees most for it at {place['time_s']:.2f} s, {100 * place['x']:.0f} % from the left and "
            f"{100 * place['y']:.0f} % from the top"
        )
        write(made, out, f"{made.facts['label']}, {100 * made.facts['probability']:.0f} %; {found}", json)
        return
    made = explain_cam(run, video, **options)
    facts = made.facts
    columns = facts["networks"][0]["columns"]
    best = max(columns, key=lambda one: one["classes"][0]["score"])
    at = best["classes"][0]
    found = (
        f"highest score in frame {best['frames'][0]}, most evidence at x = {at['x']:.0f}, y = {at['y']:.0f}"
    )
    write(made, out, f"{facts['label']}, {100 * facts['probability']:.0f} %; {found}", json)
