"""``praxiscope bench multiplier``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.bench.common import Rows, Seeds, print_cells
from praxiscope.cli.common import (
    FLOW_PANEL,
    Annotations,
    Data,
    Device,
    FlowRange,
    Json,
    Split,
    Workers,
    print_json,
    reporter,
)


def multiplier(
    data: Data,
    flow: Annotated[
        Path, typer.Option(help="Folder of stored flow (praxiscope flow).", rich_help_panel=FLOW_PANEL)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("multiplier-bench"),
    preset: Annotated[
        str,
        typer.Option(
            help="cpu (ResNet-18, 64 pixels, random weights) or paper (ResNet-50, 224 pixels, ImageNet weights)."
        ),
    ] = "cpu",
    size: Annotated[
        int | None, typer.Option(min=32, help="Side of the crop, in pixels. Default: that of the preset.")
    ] = None,
    row: Rows = None,
    seeds: Seeds = None,
    split: Split = None,
    annotations: Annotations = None,
    flow_range: FlowRange = None,
    workers: Workers = 2,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Reproduce Tables 2 and 3 of the paper on multiplier networks on a data set: connections, temporal filters.

    Both streams are trained for each seed, and every row starts from them. Run the same command again to resume.

    Example: praxiscope bench multiplier videos/ --flow flow/ --out tables
    """
    from praxiscope.commands.arguments import check_preset
    from praxiscope.data.manifest import find_data
    from praxiscope.devices import check_device
    from praxiscope.training.checks import check_flow_folder

    check_preset(preset)
    check_device(device)
    find_data(data, split, annotations)
    check_flow_folder(flow)
    with quick_imports():
        from praxiscope.bench.experiment import Plan, made_of
        from praxiscope.bench.multiplier import HEADER, bench_multiplier, format_table
        from praxiscope.recipes.sections import TaskSource

    rows = bench_multiplier(
        TaskSource(source=data, split=split, annotations=annotations, flow=str(flow)),
        out,
        preset,
        flow_range=flow_range,
        size=size,
        plan=Plan(row, seeds, workers, device),
        reporter=reporter(),
    )
    if json:
        print_json(rows)
    else:
        print_cells(HEADER, format_table(rows), made_of(out, (row["name"] for row in rows)))
