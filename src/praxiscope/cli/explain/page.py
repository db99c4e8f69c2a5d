"""``praxiscope explain page``, also ``praxiscope explain RUN VIDEO``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    OUTPUT_PANEL,
    Checkpoint,
    Device,
    Flow,
    FlowRange,
    FlowWeights,
    Json,
    Task,
    print_json,
    reporter,
)
from praxiscope.cli.explain.common import Run, Video, check_inputs


def page(
    run: Run,
    video: Video,
    label: Annotated[
        str | None,
        typer.Option("--label", "--class", help="Class that is explained. Default: the most probable one."),
    ] = None,
    checkpoint: Checkpoint = None,
    task: Task = None,
    flow: Flow = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="HTML file to write. Default: VIDEO_why.html in the current folder.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a page on an answer: what, how sure, when in the video and where in the picture.

    For any recogniser, also a fused one. `praxiscope explain RUN VIDEO` does the same.

    Example: praxiscope explain page runs/a clip.mp4 --out why.html
    """
    from praxiscope.explain.checks import check_page_path
    from praxiscope.inference.options import FlowOptions

    out = check_page_path(out or Path(f"{Path(video).stem}_why.html"))
    FlowOptions(flow, flow_range, flow_weights)  # raises if the options cannot be combined
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.why import explain_video, save_page
        from praxiscope.inference.loading import load
    recogniser = load(
        run,
        checkpoint=checkpoint,
        task=task,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        device=device,
    )
    with reporter().bar("explaining", 100) as bar:
        done = 0

        def advance(share: float, text: str) -> None:
            nonlocal done
            bar.advance(int(100 * share) - done, note=text)
            done = int(100 * share)

        made = explain_video(recogniser, video, label=label, progress=advance)
    save_page(made, out)
    if json:
        print_json({"page": str(out), **made.facts})
        return
    found = made.facts["what"]
    left = f"; left out: {', '.join(one['section'] for one in made.facts['left_out'])}" * bool(
        made.facts["left_out"]
    )
    print(f"{out}: {found['label']}, {100 * found['probability']:.0f} %{left}")
