"""``praxiscope check``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    DATA_PANEL,
    Annotations,
    Data,
    Json,
    Split,
    Workers,
    print_json,
    print_table,
    reporter,
)

HELP = """Check a data set before training: broken videos, class balance, duplicates and leaks between splits.

\b
Example: praxiscope check videos/
"""


def check(
    data: Data,
    split: Split = None,
    annotations: Annotations = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Decode every frame, to find damaged ones. Slower.", rich_help_panel=DATA_PANEL
        ),
    ] = False,
    workers: Workers = 2,
    json: Json = False,
) -> None:
    from praxiscope.data.manifest import find_data

    find_data(data, split, annotations)
    with quick_imports():
        from praxiscope.commands.check import check as run_check

    speaker = reporter()
    report = run_check(
        data, split=split, annotations=annotations, full=full, workers=workers, reporter=speaker
    )
    if json:
        print_json(report.to_dict())
        raise typer.Exit(0 if report.whole else 1)
    splits = [name for name in ("train", "val", "test") if any(c.get(name) for c in report.classes.values())]
    rows = [
        [name, *(str(counts.get(split_name, 0)) for split_name in splits)]
        for name, counts in report.classes.items()
    ]
    print_table(["class", *splits], rows)
    print(report)
    if not report.whole:
        raise typer.Exit(1)
