"""``praxiscope pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    RUN_PANEL,
    Annotations,
    Data,
    Json,
    MaxSkip,
    Split,
    print_json,
    reporter,
)
from praxiscope.units import counted

HELP = """Copy a data set to a format for fast training: smaller frames, each of which decodes independently.

\b
Example: praxiscope pack videos/ packed/ --short-side 256
"""
_FORMAT = "Frames"


def pack(
    data: Data,
    out: Annotated[Path, typer.Argument(help="Folder of the copy. Use it as DATA in other commands.")],
    short_side: Annotated[
        int, typer.Option(min=16, help="Short side of the frames, pixels.", rich_help_panel=_FORMAT)
    ] = 256,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames per second to keep. Default: all frames.", rich_help_panel=_FORMAT),
    ] = None,
    quality: Annotated[
        int,
        typer.Option(
            min=0,
            max=31,
            help="1 (best) to 31: MPEG-2 quantiser. 0: uncompressed, about 12 times as large and fastest to read.",
            rich_help_panel=_FORMAT,
        ),
    ] = 3,
    split: Split = None,
    annotations: Annotations = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes. Default: one per core.", rich_help_panel=RUN_PANEL),
    ] = None,
    max_skip: MaxSkip = None,
    json: Json = False,
) -> None:
    from dataclasses import asdict

    from praxiscope.commands.arguments import check_fps
    from praxiscope.data.manifest import find_data

    if fps is not None:
        check_fps(fps)
    find_data(data, split, annotations)
    with quick_imports():
        from praxiscope.commands.pack import PackFormat
        from praxiscope.commands.pack import pack as run_pack

    speaker = reporter()
    summary = run_pack(
        data,
        out,
        format=PackFormat(short_side, fps, quality),
        split=split,
        annotations=annotations,
        workers=workers,
        max_skip=max_skip,
        reporter=speaker,
    )
    if json:
        print_json(asdict(summary))
        return
    print(
        f"{counted(summary.clips, 'clip')}, {counted(summary.frames, 'frame')}: {summary.bytes_in / 1e6:.1f} MB became "
        f"{summary.bytes_out / 1e6:.1f} MB ({summary.bytes_out / max(1, summary.bytes_in):.2f} times, "
        f"{summary.bytes_out / max(1, summary.frames) / 1e3:.1f} kB per frame)."
    )
    if summary.reading_speedup:
        print(
            f"Reading 8 random frames of a clip is {summary.reading_speedup:.1f} times as fast as from the originals."
        )
