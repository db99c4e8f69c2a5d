"""``praxiscope explain gradients``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from praxiscope.units import counted


def gradients(
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
    """Draw whether frames with similar activations have similar gradients.

    One point for each pair of frames of a video, for a full-video network.

    Example: praxiscope explain gradients runs/full clip.mp4
    """
    out = output_path(out, videos[0], "gradients")
    check_inputs(run, videos, checkpoint, task, device)
    with quick_imports():
        from praxiscope.explain.gradients import explain_gradients
    made = explain_gradients(
        run,
        list[str | Path](videos),
        label=label,
        frames=frames,
        checkpoint=checkpoint,
        task=task,
        device=device,
        reporter=reporter(),
    )
    write(made, out, "; ".join(_correlation(one) for one in made.facts["videos"]), json)


def _correlation(found: dict[str, Any]) -> str:
    """Format the correlations of one video."""
    hamming, euclidean = (found[name]["pearson"] for name in ("hamming", "euclidean"))
    return (
        f"{Path(found['video']).name}: {counted(found['pairs'], 'pair')}, Pearson {hamming:.2f} (Hamming), "
        f"{euclidean:.2f} (Euclidean)"
    )
