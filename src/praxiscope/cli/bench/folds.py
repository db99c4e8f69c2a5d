"""``praxiscope bench folds``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.bench.common import print_cells
from praxiscope.cli.common import FLOW_PANEL, MODEL_PANEL, Data, Device, Json, Workers, print_json, reporter


def folds(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the runs, named like the system.")],
    count: Annotated[
        int, typer.Option("--folds", min=2, help="Number of folds, which keep groups together.")
    ] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs of each fold.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(help="Model. Default: that of the recipe.", rich_help_panel=MODEL_PANEL),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="See praxiscope train.", autocompletion=complete.recipes)
    ] = "default",
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Override one setting, such as optim.epochs=5. May be repeated.",
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Views of the test. Default: those of the model.")
    ] = None,
    flow: Annotated[
        Path | None, typer.Option(help="Folder of stored flow (praxiscope flow).", rich_help_panel=FLOW_PANEL)
    ] = None,
    workers: Workers = 2,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train and test a system on every fold, so that every video is tested. Run the command again to resume.

    Example: praxiscope bench folds ucf101:videos/ --out runs/tsm --model tsm --folds 5 --seeds 2
    """
    from praxiscope.data.manifest import find_data
    from praxiscope.devices import check_device

    check_device(device)
    find_data(data)
    with quick_imports():
        from praxiscope.bench.compare import SYSTEMS_HEADER, Comparison, groups_of, system_cells, system_rows
        from praxiscope.bench.folds import Validation, cross_validate

    chosen = {"workers": workers, **({} if device == "auto" else {"device": device})}
    wanted = Validation(
        data,
        count,
        seeds,
        model,
        recipe,
        chosen,
        assignments or (),
        None if flow is None else str(flow),
        protocol,
    )
    system = cross_validate(wanted, out, reporter=reporter())
    rows = system_rows(Comparison([system], groups_of([system], data)))
    if json:
        print_json(rows)
    else:
        print_cells(SYSTEMS_HEADER, [system_cells(row) for row in rows])
