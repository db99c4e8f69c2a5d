"""``praxiscope explain cluster-gradients``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Device, Json, Task, reporter
from praxiscope.cli.explain.common import (
    Label,
    Out,
    Run,
    Videos,
    check_inputs,
    output_path,
    write,
)


def cluster_gradients(
    run: Run,
    videos: Videos,
    frames: Annotated[int, typer.Option(min=1, help="Maximum number of frames, evenly spaced.")] = 64,
    label: Label = None,
    checkpoint: Checkpoint = None,
    task: Task = None,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw how far the gradient of each cluster is from the sum of the gradients of its frames.

    Each clustering rule is compared, for a full-video network.

    Example: praxiscope explain cluster-gradients runs/full a.mp4 b.mp4
    """
    out = output_path(out, videos[0], "cluster_gradients")
    check_inputs(run, videos, checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.cluster_gradients import explain_cluster_gradients
    made = explain_cluster_gradients(
        run,
        list[str | Path](videos),
        label=label,
        frames=frames,
        checkpoint=checkpoint,
        task=task,
        device=device,
        reporter=reporter(),
    )
    means = ", ".join(f"{rule} {mean['distance']:.3g}" for rule, mean in made.facts["mean"].items())
    write(made, out, f"mean distance of a cluster's gradient ({made.facts['parameters']}): {means}", json)
