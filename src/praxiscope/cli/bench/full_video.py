"""``praxiscope bench full-video``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.bench.common import Rows, Seeds, print_cells
from praxiscope.cli.common import Device, Json, Workers, print_json, reporter

PRESETS = ("cpu", "paper", "long", "long-inserted", "longer")


def full_video(
    out: Annotated[Path, typer.Option(help="Folder of the data set and of the runs.")] = Path(
        "full-video-bench"
    ),
    preset: Annotated[
        str,
        typer.Option(
            help="cpu (64 pixels, hours on two cores), paper (224 pixels, for a GPU), or a harder set with 2,000 test "
            "videos (64 pixels): long and long-inserted (48 frames), longer (96)."
        ),
    ] = "cpu",
    digits: Annotated[
        Path | None, typer.Option(help="Folder of MNIST's idx files. Default: the digits of scikit-learn.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Folder of background videos. Default: generated textures.")
    ] = None,
    row: Rows = None,
    seeds: Seeds = None,
    weights: Annotated[
        str | None, typer.Option(help="File of ImageNet weights. Default: random weights.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Download ImageNet weights.")] = False,
    workers: Workers = 2,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Reproduce Table 1 of the full-video paper on Move4MNIST: all frames, sampled frames, clusters of all frames.

    Each row is trained and tested for each seed. Run the same command again to resume.

    Example: praxiscope bench full-video --out table1 --preset cpu --digits mnist/ --backgrounds videos/
    """
    from praxiscope.commands.arguments import check_preset
    from praxiscope.devices import check_device
    from praxiscope.errors import ArgumentError

    check_preset(preset, PRESETS)
    check_device(device)
    if weights is not None and pretrained:
        raise ArgumentError(f"--weights {weights} and --pretrained cannot be combined. Leave one out.")
    with quick_imports():
        from praxiscope.bench.experiment import Plan, made_of
        from praxiscope.bench.full_video import HEADER, bench_full_video, format_table

    rows = bench_full_video(
        out,
        preset,
        digits=digits,
        backgrounds=backgrounds,
        weights="download" if pretrained else weights,
        plan=Plan(row, seeds, workers, device),
        reporter=reporter(),
    )
    if json:
        print_json(rows)
    else:
        print_cells(HEADER, format_table(rows), made_of(out, (row["name"] for row in rows)))
