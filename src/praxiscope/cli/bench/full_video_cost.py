"""``praxiscope bench full-video-cost``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.bench.common import Figure, Side, Steps, check_figure, print_text
from praxiscope.cli.common import Device, Json, print_json, reporter


def full_video_cost(
    frames: Annotated[
        list[int] | None,
        typer.Option(
            min=2, help="Frames of a video. Default: 32, 64, 128, 256 and 512. May be given several times."
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Backbone of the networks.", autocompletion=complete.backbones)
    ] = "resnet18",
    clusters: Annotated[int, typer.Option(min=1, help="Number of clusters.")] = 8,
    size: Side = 224,
    early_frames: Annotated[
        int, typer.Option(min=1, help="Frames in a chunk when the first stage is recomputed.")
    ] = 16,
    steps: Steps = 3,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="Precision: 32, bf16, or auto (the faster one).")] = "auto",
    keep_memory: Annotated[
        bool,
        typer.Option(
            "--keep-memory", help="Keep freed memory, like the setting run.keep_memory: faster, more memory."
        ),
    ] = False,
    picture: Figure = None,
    json: Json = False,
) -> None:
    """Measure the time and the peak memory of a training step by the number of frames of a video.

    Networks that process all frames are compared with full-video networks, which process clusters of them.

    Example: praxiscope bench full-video-cost --picture cost.png
    """
    from praxiscope.devices import check_device
    from praxiscope.models.names import check_backbone

    check_figure(picture)
    check_device(device)
    check_backbone(backbone)
    with quick_imports():
        from praxiscope.bench.full_video_cost import bench_full_video_cost, draw_cost, format_cost
    rows = bench_full_video_cost(
        frames or (32, 64, 128, 256, 512),
        backbone=backbone,
        clusters=clusters,
        early_frames=early_frames,
        reporter=reporter(),
        size=size,
        steps=steps,
        device=device,
        precision=precision,
        keep_memory=keep_memory,
    )
    if picture is not None:
        draw_cost(rows, picture)
    if json:
        print_json(rows)
    else:
        print_text(format_cost(rows))
