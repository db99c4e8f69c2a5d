"""``praxiscope flow``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.common import Annotations, Data, Json, MaxSkip, Split, print_json, reporter
from praxiscope.flow.methods import list_methods
from praxiscope.units import counted

HELP = """Estimate and store the optical flow of a data set's videos.

Run the same command again to continue an interrupted run.

Example: praxiscope flow videos/ --method tvl1 --out flow/ --workers 2
"""


def flow(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the stored flow.")],
    method: Annotated[
        str,
        typer.Option(help=f"Flow method: {', '.join(list_methods())}.", autocompletion=complete.flow_methods),
    ] = "tvl1",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Parameter of the method, as name=value. May be repeated."),
    ] = None,
    flow_weights: Annotated[
        str | None, typer.Option(help="RAFT weights: a file, or 'download' for those of torchvision.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a trained flow network, or of an exported one, for the method network.",
            metavar="RUN",
        ),
    ] = None,
    range: Annotated[
        str,
        typer.Option(
            help="Largest stored displacement, in pixels; larger ones are clipped. Or frame: the minimum and maximum "
            "of each field."
        ),
    ] = "20",
    short_side: Annotated[
        int | None,
        typer.Option(min=16, help="Resize frames to this short side first, pixels. Default: no resizing."),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="Also store the flow to the previous frame.")
    ] = False,
    format: Annotated[
        str, typer.Option(help="ffv1: one file per video and direction; jpeg: folders with TSN's file names.")
    ] = "ffv1",
    split: Split = None,
    annotations: Annotations = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes, of one thread each. Default: one per core."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device for tvl1, raft and network: cpu, cuda, cuda:1, mps or auto.")
    ] = "cpu",
    max_skip: MaxSkip = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read every stored field and extract damaged clips again. The exit code is 1 if there were any.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    from dataclasses import asdict

    from praxiscope.commands.arguments import check_flow_network, parse_parameters
    from praxiscope.data.manifest import find_data
    from praxiscope.devices import check_device
    from praxiscope.flow.contract import check_range, check_storage
    from praxiscope.flow.methods import check_method

    check_method(method)
    check_device(device)
    check_range(range)
    check_storage(format)
    parameters = parse_parameters(assignments or [])
    if flow_weights is not None:
        parameters["weights"] = flow_weights
    if run is not None:
        parameters["run"] = check_flow_network(method, run)
    find_data(data, split, annotations)
    with quick_imports():
        from praxiscope.commands.flow import StoreOptions, extract_flow
    summary = extract_flow(
        data,
        out,
        StoreOptions(
            method=method,
            parameters=parameters,
            range=range,
            short_side=short_side,
            backward=backward,
            storage=format,
            split=split,
            annotations=annotations,
            workers=workers,
            device=device,
            max_skip=max_skip,
            verify=verify,
        ),
        reporter=reporter(),
    )
    code = 1 if summary.damaged else 0
    if json:
        print_json(asdict(summary))
        raise typer.Exit(code)
    print(
        f"{counted(summary.clips, 'clip')}, {counted(summary.fields, 'field')}, {summary.bytes / 1e6:.1f} MB: "
        f"{summary.bytes_per_field:.0f} bytes per field, {summary.compression:.0f} times smaller than float32."
    )
    print(
        f"Error of the stored flow: {summary.error_px:.3f} px (root mean square), at most "
        f"{summary.largest_error_px:.3f} px; {summary.clipped:.2%} of the displacements were clipped."
    )
    if summary.seconds_per_minute is not None:
        print(f"{summary.seconds_per_minute:.1f} s per minute of video.")
    raise typer.Exit(code)
