"""Options shared by several commands, and functions to print results."""

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
    "DATA_PANEL",
    "FLOW_PANEL",
    "MODEL_PANEL",
    "OUTPUT_PANEL",
    "RUN_PANEL",
    "TEST_PANEL",
    "Annotations",
    "Average",
    "Checkpoint",
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

# Headings of the options in help texts.
DATA_PANEL = "Data"
MODEL_PANEL = "Model"
TEST_PANEL = "Testing"
FLOW_PANEL = "Optical flow"
RUN_PANEL = "Machine and run"
OUTPUT_PANEL = "Output"

Data = Annotated[
    str,
    typer.Argument(
        help="Folder of class folders, CSV (path,label[,start,end,split,group]), LAYOUT:FOLDER, or stored features."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Official split of a LAYOUT: 1, 2 or 3 (breakfast: 1 to 4); weizmann: the person held out. K/N: fold K of "
        "N of any data, divided by group.",
        rich_help_panel=DATA_PANEL,
    ),
]
Annotations = Annotated[
    str | None,
    typer.Option(
        help="Folder of a LAYOUT's official lists (thumos14: or a file), if they are not beside the videos.",
        rich_help_panel=DATA_PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on standard output.", rich_help_panel=OUTPUT_PANEL),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Number of processes that read videos.", rich_help_panel=RUN_PANEL)
]
MaxSkip = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Stop when more than this fraction of the videos cannot be read. Default: 0.05, and at least 4 videos.",
        rich_help_panel=DATA_PANEL,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint to load: last or best. Default: that of the run.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Flow = Annotated[
    str | None,
    typer.Option(
        help="Folder of stored flow (praxiscope flow), for models of flow. Default: estimate the flow.",
        rich_help_panel=FLOW_PANEL,
    ),
]
FlowRange = Annotated[
    float | None,
    typer.Option(
        help="Range in pixels of flow that another tool stored as JPEGs in --flow, often 20.",
        rich_help_panel=FLOW_PANEL,
    ),
]
FlowWeights = Annotated[
    str | None,
    typer.Option(
        help="RAFT weights, a file or 'download', to estimate flow for a model trained on RAFT flow.",
        rich_help_panel=FLOW_PANEL,
    ),
]
Average = Annotated[
    str | None,
    typer.Option(
        help="How views are averaged: logits (scores before softmax) or softmax (probabilities). Default: that of the "
        "protocol; softmax for two-stream, logits for the others.",
        rich_help_panel=TEST_PANEL,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="Name of the data set whose classes to use, for a run on several (train --data NAME=…).",
        rich_help_panel=MODEL_PANEL,
    ),
]
Device = Annotated[
    str, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=RUN_PANEL)
]


def command_line() -> str:
    """Return the command line, quoted for a shell."""
    return shlex.join(["praxiscope", *sys.argv[1:]])


def reporter() -> Reporter:
    """Return a reporter that prints progress on standard error."""
    from praxiscope.progress import ConsoleReporter

    return ConsoleReporter()


def print_json(content: Any) -> None:
    """Print one JSON document. NaN and infinity become null."""
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
    """Print a table on standard output; columns of numbers are right-aligned."""
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
