"""``praxiscope explain clusters``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Json, Task, reporter
from praxiscope.cli.explain.common import Out, Run, Video, check_inputs, output_path, write
from praxiscope.units import counted


def clusters(
    run: Run,
    video: Video,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Another network, drawn below: a run or model folder, or start (this run before training), last or "
            "best. May be given several times."
        ),
    ] = None,
    epochs: Annotated[
        bool,
        typer.Option(
            "--epochs", help="Add a row for each checkpoint that the run has kept (--set run.keep_epochs=1)."
        ),
    ] = False,
    checkpoint: Checkpoint = None,
    task: Task = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw which frames of a video a full-video network averages together.

    A timeline of the clusters by each rule, the distances between neighbouring frames, and the frames of each cluster.

    Example: praxiscope explain clusters runs/full clip.mp4 --compare start --epochs
    """
    out = output_path(out, video, "clusters")
    check_inputs(run, [video], checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.clusters import explain_clusters
    made = explain_clusters(
        run,
        video,
        compare=compare or (),
        epochs=epochs,
        checkpoint=checkpoint,
        task=task,
        device=device,
        reporter=reporter(),
    )
    facts = made.facts
    found = f"{counted(facts['frames'], 'frame')} in {counted(len(facts['clusters']), 'cluster')}"
    write(made, out, f"{facts['label']}; {found}, {facts['rule']}", json)
