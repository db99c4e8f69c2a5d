"""``praxiscope explain occlusion``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Flow, FlowRange, FlowWeights, Json, Task, reporter
from praxiscope.cli.explain.common import Out, Run, Video, check_inputs, output_path, write

if TYPE_CHECKING:
    from praxiscope.explain.occlusion import Fill


def occlusion(
    run: Run,
    video: Video,
    square: Annotated[
        float,
        typer.Option(help="Side of the square: pixels, or below 1 a fraction of the frame's short side."),
    ] = 0.25,
    stride: Annotated[float, typer.Option(help="From one position to the next, in the same units.")] = 0.125,
    fill: Annotated[
        str | None,
        typer.Option(
            help="Colour of the square: black or mean. Default: black; mean for networks that standardise clips."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Views that are scored, such as 5x1, which takes less time. Default: as praxiscope predict."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=6, help="Number of classes, the most probable first.")] = 1,
    label: Annotated[
        str | None, typer.Option("--label", "--class", help="A class that is drawn, too.")
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
    """Draw how far the probability of a class falls when a square hides a part of the frames.

    For any recogniser, also a fused one. It scores the video once for each position of the square.

    Example: praxiscope explain occlusion runs/a clip.mp4 --protocol 5x1
    """
    from praxiscope.evaluation.protocols import parse_protocol
    from praxiscope.explain.checks import check_square
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "occlusion")
    check_square(square, stride, fill)
    if protocol is not None:
        parse_protocol(protocol)
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.occlusion import Occlusion, explain_occlusion
    made = explain_occlusion(
        run,
        video,
        Occlusion(square, stride, cast("Fill | None", fill)),
        protocol=protocol,
        top=top,
        label=label,
        reporter=reporter(),
        checkpoint=checkpoint,
        task=task,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        device=device,
    )
    best = made.facts["classes"][0]
    found = f"falls by at most {100 * best['largest']:.0f} %, at x = {best['x']:.0f}, y = {best['y']:.0f}"
    write(made, out, f"{best['label']}, {100 * best['probability']:.0f} %, {found}", json)
