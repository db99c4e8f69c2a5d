"""``praxiscope explain principal``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Flow, FlowRange, FlowWeights, Json, Task
from praxiscope.cli.explain.common import Out, Run, Video, check_inputs, output_path, write
from praxiscope.units import counted


def principal(
    run: Run,
    video: Video,
    snippets: Annotated[int, typer.Option(min=1, help="Number of snippets, evenly spaced.")] = 12,
    choose: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of snippets that represent the video. Default: as in the run's training, or 3.",
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Second network, drawn below: a run or model folder, or start (this run before training), last or "
            "best."
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
    """Draw the snippets of a video whose mean scores are nearest to those of all.

    Bars show how far the class probabilities of each snippet are from those of the whole video (KL divergence).

    Example: praxiscope explain principal runs/pb clip.mp4 --compare start
    """
    from praxiscope.inference.options import FlowOptions

    out = output_path(out, video, "principal")
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.principal import explain_principal
    made = explain_principal(
        run,
        video,
        snippets=snippets,
        choose=choose,
        compare=compare,
        checkpoint=checkpoint,
        task=task,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        device=device,
    )
    facts = made.facts
    chosen = ", ".join(str(facts["frames"][number]) for number in facts["chosen"])
    write(
        made,
        out,
        f"{facts['label']}; nearest to all {counted(len(facts['frames']), 'snippet')}: frames {chosen}",
        json,
    )
