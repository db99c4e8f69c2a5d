"""``praxiscope bench principal``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.bench.common import Figure, Side, Steps, check_figure, print_text
from praxiscope.cli.common import Device, Json, print_json, reporter


def principal(
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="Backbone. Default: resnet18 and resnet50. May be given several times.",
            autocompletion=complete.backbones,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Number of videos in a batch.")] = 4,
    size: Side = 224,
    most: Annotated[int, typer.Option(min=1, help="Largest m of Full-1 … Full-m and PB-1-1 … PB-m-1.")] = 8,
    steps: Steps = 3,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="Precision: 32 or bf16.")] = "32",
    picture: Figure = None,
    json: Json = False,
) -> None:
    """Measure the time and the peak memory of a training step of principal backpropagation.

    Full-m is ordinary training with m snippets. PB-m-n watches m snippets and learns from n of them. cached-m computes
    the gradient of Full-m in chunks.

    Example: praxiscope bench principal --backbone resnet18 --picture cost.png
    """
    from praxiscope.devices import check_device
    from praxiscope.models.names import check_backbone

    check_figure(picture)
    check_device(device)
    for name in backbone or ():
        check_backbone(name)
    with quick_imports():
        from praxiscope.bench.principal import (
            bench_principal,
            draw_bench,
            format_bench_principal,
            rows_of_paper,
        )
    rows = bench_principal(
        backbone or ("resnet18", "resnet50"),
        rows=rows_of_paper(most),
        batch=batch,
        size=size,
        steps=steps,
        device=device,
        precision=precision,
        reporter=reporter(),
    )
    if picture is not None:
        draw_bench(rows, picture)
    if json:
        print_json(rows)
    else:
        print_text(format_bench_principal(rows))
