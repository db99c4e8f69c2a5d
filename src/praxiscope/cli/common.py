"""What the commands share: options, output, and the way from an exception to an exit code."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from praxiscope.progress import Reporter

__all__ = [
    "Annotations",
    "Average",
    "Data",
    "Device",
    "Flow",
    "FlowRange",
    "FlowWeights",
    "Json",
    "MaxSkip",
    "Split",
    "Task",
    "Workers",
    "command_line",
    "print_json",
    "print_table",
    "reporter",
]

Data = Annotated[
    str,
    typer.Argument(
        help="Folder of class folders, CSV (path,label[,start,end,split,group]), or LAYOUT:FOLDER."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(help="Split of a layout: 1, 2, 3 (breakfast: to 4), or the person left out (weizmann)."),
]
Annotations = Annotated[
    str | None,
    typer.Option(help="Folder (thumos14: or file) of a layout's official lists, if not beside the videos."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read videos.")]
MaxSkip = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Stop when more than this share of the videos cannot be read. Default: 0.05, but 3 videos never stop.",
    ),
]
Flow = Annotated[
    str | None,
    typer.Option(
        help="Folder of stored flow (praxiscope flow), for models that see flow. Default: estimate it."
    ),
]
FlowRange = Annotated[
    float | None,
    typer.Option(
        help="Of a --flow folder of JPEGs that another tool has made: its bound in pixels, by custom 20."
    ),
]
FlowWeights = Annotated[
    str | None,
    typer.Option(
        help="Weights of raft, a file or 'download', to estimate flow for a model that was trained on raft's."
    ),
]
Average = Annotated[
    str | None,
    typer.Option(
        help="What of the views is averaged: logits (scores before softmax) or softmax (probabilities). Default: the "
        "protocol's own, softmax of two-stream, else logits."
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="Of a run with several data sets (train --data NAME=…): the name whose classes are meant."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


def command_line() -> str:
    """The command as it was typed, for a shell to take again."""
    return shlex.join(["praxiscope", *sys.argv[1:]])


def reporter() -> Reporter:
    """Progress on standard error."""
    from praxiscope.progress import ConsoleReporter

    return ConsoleReporter()


def print_json(content: Any) -> None:
    """Print one JSON document; what JSON cannot say (NaN) becomes null."""
    print(json.dumps(_plain(content), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on standard output; columns of numbers are set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for number, header in enumerate(headers):
        numeric = bool(rows) and all(row[number].strip(" -+%.0123456789") == "" for row in rows)
        table.add_column(header, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)
