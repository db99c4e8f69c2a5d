"""``praxiscope bench load``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.bench.common import print_text
from praxiscope.cli.common import Data, Json, Workers, print_json, reporter


def load(
    data: Data,
    packed: Annotated[
        list[Path] | None,
        typer.Option(help="Packed copy of the same videos. May be given several times."),
    ] = None,
    frames: Annotated[
        list[int] | None,
        typer.Option(help="Frames per clip. Default: 8 and 25. May be given several times."),
    ] = None,
    short_side: Annotated[
        int, typer.Option(min=16, help="Short side of the resized frames, in pixels.")
    ] = 256,
    crop: Annotated[int, typer.Option(min=16, help="Side of the random square crop, in pixels.")] = 224,
    workers: Workers = 2,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Number of clips, evenly spaced. Default: all.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Number of timed rounds of each reader.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="Minimum duration of a round, seconds.")] = 3.0,
    json: Json = False,
) -> None:
    """Measure how many clips per second are read, from raw and packed videos, and with other readers.

    The other readers are installed by `pip install 'praxiscope[bench]'`. Missing ones are reported.

    Example: praxiscope bench load videos/ --packed packed/
    """
    from praxiscope.data.manifest import find_data

    for source in (data, *(packed or ())):
        find_data(source)
    with quick_imports():
        from praxiscope.bench.load import LoadTest, bench_load, format_bench

    test = LoadTest(frames or (8, 25), short_side, crop, workers, clips, repeat, seconds)
    rows = bench_load(data, packed or (), test, reporter=reporter())
    if json:
        print_json(rows)
    else:
        print_text(format_bench(rows))
