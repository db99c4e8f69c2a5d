"""``praxiscope explain confidence``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Flow, FlowRange, FlowWeights, Json, Task, reporter
from praxiscope.cli.explain.common import Out, Run, SeenBy, Video, check_inputs, output_path, write
from praxiscope.units import counted


def confidence(
    run: Run,
    video: Video,
    protocol: SeenBy = None,
    top: Annotated[int, typer.Option(min=1, max=8, help="Number of classes.")] = 3,
    label: Annotated[str | None, typer.Option(help="The true class, which is drawn, too.")] = None,
    checkpoint: Checkpoint = None,
    task: Task = None,
    flow: Flow = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw how the answer of a model grows while it sees the frames of a video.

    Lines show the probabilities of the best classes after each frame, for models that score a video while it comes:
    lstm, running poolings, tsm with a causal shift.

    Example: praxiscope explain confidence runs/lstm clip.mp4 --protocol allx1
    """
    from praxiscope.evaluation.protocols import parse_protocol
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "confidence")
    if protocol is not None:
        parse_protocol(protocol)
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.confidence import explain_confidence
    made = explain_confidence(
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
    found = (
        f"{facts['label']}, {100 * facts['probability']:.0f} %, ahead from {facts['ahead_from_s']:.2f} s on"
    )
    write(made, out, f"{found}; {counted(facts['frames'], 'frame')}", json)
