"""``praxiscope explain blocks``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Json, Task, reporter
from praxiscope.cli.explain.common import Out, Run, Video, check_inputs, output_path, write


def blocks(
    run: Run,
    video: Video,
    frames: Annotated[
        int, typer.Option(min=3, max=2000, help="Number of frames; of more, so many evenly spaced ones.")
    ] = 64,
    cuts: Annotated[
        int, typer.Option(min=1, help="Number of the largest distances of the first block, that are marked.")
    ] = 7,
    checkpoint: Checkpoint = None,
    task: Task = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the distances between neighbouring frames after each block of a network, and whether the blocks agree.

    Example: praxiscope explain blocks runs/full clip.mp4
    """
    out = output_path(out, video, "blocks")
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.blocks import explain_blocks
    made = explain_blocks(
        run,
        video,
        frames=frames,
        cuts=cuts,
        checkpoint=checkpoint,
        reporter=reporter(),
        task=task,
        device=device,
    )
    found = ", ".join(
        f"{block['layer']} {block['correlation']:.2f}"
        for block in made.facts["blocks"][1:]
        if block["correlation"] is not None
    )
    write(made, out, f"rank correlation with the first block: {found or 'not defined'}", json)
