"""``praxiscope bench predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.bench.common import print_cells
from praxiscope.cli.common import (
    FLOW_PANEL,
    Annotations,
    Data,
    Device,
    FlowRange,
    FlowWeights,
    Json,
    Split,
    Task,
    print_json,
    reporter,
)


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder or model folder.", show_default=False)],
    data: Data,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Test protocol. Default: that of the model. May be given several times.",
            autocompletion=complete.protocols,
        ),
    ] = None,
    flow: Annotated[
        Path | None,
        typer.Option(
            help="Folder of stored flow. Default: estimate the flow, and include its time.",
            rich_help_panel=FLOW_PANEL,
        ),
    ] = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    task: Task = None,
    videos: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of videos. Default: all test videos.")
    ] = None,
    split: Split = None,
    annotations: Annotations = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the time to predict a video, in total and by part, for one or several protocols.

    Example: praxiscope bench predict runs/a videos/ --protocol 25x10 --protocol fully-convolutional
    """
    from praxiscope.commands.arguments import TestOptions, check_test
    from praxiscope.inference.options import FlowOptions, LoadOptions

    load = LoadOptions(device=device, task=task, flow=FlowOptions(flow, flow_range, flow_weights))
    for name in protocol or (None,):
        check_test(run, data, TestOptions(name, split=split, annotations=annotations), load)
    with quick_imports():
        from praxiscope.bench.predict import HEADER, bench_predict, format_table

    rows = bench_predict(
        run,
        data,
        protocol or (),
        split=split,
        annotations=annotations,
        videos=videos,
        reporter=reporter(),
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        task=task,
        device=device,
    )
    if json:
        print_json(rows)
    else:
        print_cells(HEADER, format_table(rows))
