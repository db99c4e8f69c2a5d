"""``praxiscope bench``: speeds and sizes measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope.cli.common import Data, Json, print_json, reporter

app = typer.Typer(help="Measure on this machine.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass


@app.command(
    "load",
    help="""Clips per second of the input path, raw and packed, beside plain loops over other readers.

The other readers come with `pip install 'praxiscope[bench]'`; those that are missing are named.

Example: praxiscope bench load videos/ --packed packed/
""",
)
def load(
    data: Data,
    packed: Annotated[
        list[Path] | None, typer.Option(help="A packed copy of the same videos; may be given many times.")
    ] = None,
    frames: Annotated[
        list[int] | None, typer.Option(help="Frames per clip; may be given many times.")
    ] = None,
    short_side: Annotated[int, typer.Option(min=16, help="Pixels of the scaled short side.")] = 256,
    crop: Annotated[int, typer.Option(min=16, help="Pixels of the random square.")] = 224,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 2,
    clips: Annotated[int | None, typer.Option(min=1, help="Use so many of the clips. Default: all.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Timed turns of each reader.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="What a turn lasts at least.")] = 3.0,
    json: Json = False,
) -> None:
    from praxiscope.recipes.bench import bench_data
    from praxiscope.recipes.bench_load import format_bench

    rows = bench_data(
        data,
        packed or (),
        frames=frames or (8, 25),
        short_side=short_side,
        crop=crop,
        workers=workers,
        clips=clips,
        repeat=repeat,
        seconds=seconds,
        reporter=reporter(),
    )
    if json:
        print_json(rows)
    else:
        print(format_bench(rows))


@app.command(
    "principal",
    help="""Time of a training step and its peak memory, by snippets watched and learned from.

Full-m learns from all m snippets at once, PB-m-n watches m and learns from n, cached-m makes Full-m's gradient in
chunks.

Example: praxiscope bench principal --backbone resnet18 --picture cost.png
""",
)
def principal(
    backbone: Annotated[
        list[str] | None, typer.Option(help="May be given many times. Default: resnet18 and resnet50.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Videos of a step.")] = 4,
    size: Annotated[int, typer.Option(min=32, help="Side of a picture, pixels.")] = 224,
    most: Annotated[int, typer.Option(min=1, help="Full-1 … Full-m and PB-1-1 … PB-m-1 up to this m.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each; their median counts.")] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="32 or bf16.")] = "32",
    picture: Annotated[Path | None, typer.Option(help="Draw time and memory over m into this PNG.")] = None,
    json: Json = False,
) -> None:
    from praxiscope.recipes.bench_principal import (
        bench_principal,
        draw_bench,
        format_bench_principal,
        rows_of_paper,
    )
    from praxiscope.recipes.explain import check_picture_path

    if picture is not None:
        check_picture_path(picture)
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
        print(format_bench_principal(rows))
