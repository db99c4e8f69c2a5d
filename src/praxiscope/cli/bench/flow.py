"""``praxiscope bench flow``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.bench.common import print_cells
from praxiscope.cli.common import DATA_PANEL, MODEL_PANEL, Json, print_json, reporter


def flow(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Frames with known flow: a folder made by praxiscope dataset moving-shapes, or LAYOUT:FOLDER (chairs, "
            "sintel, middlebury). May be given several times.",
            show_default=False,
        ),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,PARAMETER=VALUE]",
            help="Method, with parameters if they are not the defaults: dis,preset=fast. Default: all methods. May be "
            "given several times.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    flow_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of methods that need some: a file or 'download'.", rich_help_panel=MODEL_PANEL
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Run folder of a flow network, for methods that need one.", rich_help_panel=MODEL_PANEL
        ),
    ] = None,
    libraries: Annotated[
        bool,
        typer.Option(
            "--libraries/--no-libraries",
            help="Also measure TV-L1 of OpenCV and scikit-image, where they are installed.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = True,
    split: Annotated[
        str | None, typer.Option(help="Split: train or test. Default: both.", rich_help_panel=DATA_PANEL)
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Official split list of FlyingChairs, if it is not beside the data.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of samples of each set, evenly spaced. Default: all.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Number of timed turns of each method.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="Shortest duration of a turn, seconds.")] = 1.0,
    device: Annotated[
        str, typer.Option(help="Device of praxiscope's methods: cpu, cuda, cuda:1, mps or auto.")
    ] = "cpu",
    json: Json = False,
) -> None:
    """Measure the end-point error and the speed of flow methods on frames with known flow.

    One thread is used, and times on the CPU are of the processor.

    Example: praxiscope bench flow middlebury:pairs/ --method tvl1 --method dis
    """
    from praxiscope.commands.arguments import parse_method
    from praxiscope.data.flow_samples import check_split, find_flow_data
    from praxiscope.devices import check_device
    from praxiscope.flow.methods import check_method

    check_device(device)
    for spec in method or ():
        check_method(parse_method(spec)[0])
    asked = check_split(split)
    for each in data:
        find_flow_data(each)
    with quick_imports():
        from praxiscope.bench.flow import HEADER, FlowTest, bench_flow, format_flow
    rows = bench_flow(
        data,
        FlowTest(
            method or (),
            flow_weights,
            run,
            libraries=libraries,
            split=asked,
            annotations=annotations,
            samples=samples,
            repeat=repeat,
            seconds=seconds,
            device=device,
        ),
        reporter=reporter(),
    )
    if json:
        print_json(rows)
    else:
        print_cells(HEADER, format_flow(rows))
