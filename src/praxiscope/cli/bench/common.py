"""Options shared by several benchmarks, and functions to print tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope.cli.common import OUTPUT_PANEL, command_line

__all__ = [
    "Figure",
    "Rows",
    "Seeds",
    "Side",
    "Steps",
    "check_figure",
    "markdown",
    "print_cells",
    "print_text",
]

Rows = Annotated[
    list[str] | None,
    typer.Option("--row", help="Name of a row to measure. Default: all. May be given several times."),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Number of runs of each row. Default: 2.")]
Side = Annotated[int, typer.Option(min=32, help="Side of a frame, in pixels.")]
Steps = Annotated[int, typer.Option(min=1, help="Number of timed steps, of which the median is reported.")]
Figure = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        help="Image file for a plot of time and memory: .png, .jpg, .pdf or .svg.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


def check_figure(path: Path | None) -> None:
    """Raise ArgumentError if a figure is requested and cannot be written."""
    from praxiscope.explain.checks import check_picture_path

    if path is not None:
        check_picture_path(path)


def print_cells(header: list[str], rows: list[list[str]], made: str = "") -> None:
    """Print a Markdown table."""
    print_text(markdown(header, rows), made)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def print_text(table: str, made: str = "") -> None:
    """Print a table with the date, the machine and the command below it. Default: today and this machine."""
    from praxiscope.bench.machine import made_now

    print(f"{table}\n\n{made or made_now()}.\nCommand: `{command_line()}`")
