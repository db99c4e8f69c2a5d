"""``praxiscope bench compare`` and ``praxiscope bench power``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.bench.common import check_figure, markdown, print_cells, print_text
from praxiscope.cli.common import OUTPUT_PANEL, Json, print_json, reporter

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FILES…",
            help="Systems: scores files (of test --out), globs of them in quotes, or folders of bench folds. The files "
            "of a system are its seeds and folds.",
        ),
    ],
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Data of the tests, whose groups are kept together. Default: no groups."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare with this system only. Default: all pairs.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Image file for the differences: .png, .jpg, .pdf or .svg.", rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare systems that were tested on the same videos: differences, intervals, tests.

    Example: praxiscope bench compare tsn=runs/tsn tsm=runs/tsm --groups ucf101:videos/
    """
    check_figure(picture)
    with quick_imports():
        from praxiscope.bench.compare import (
            PAIRS_HEADER,
            SYSTEMS_HEADER,
            compare_systems,
            draw_differences,
            pair_cells,
            pair_rows,
            system_cells,
            system_rows,
        )
    found = compare_systems(systems, groups, against)
    if groups is None:
        reporter().line(
            "Note: every video counts as independent. If several are of one person or source, give the data: --groups."
        )
    rows, pairs = system_rows(found), pair_rows(found)
    if picture is not None:
        draw_differences(found, picture)
    if json:
        print_json({"systems": rows, "pairs": pairs})
        return
    tables = (SYSTEMS_HEADER, map(system_cells, rows)), (PAIRS_HEADER, map(pair_cells, pairs))
    print_text("\n\n".join(markdown(header, [*cells]) for header, cells in tables))


def power(
    videos: Annotated[int, typer.Argument(min=1, help="Number of independent test videos.")],
    differing: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the videos that only one of two systems classifies correctly. May be repeated. Default: "
            "several shares."
        ),
    ] = None,
    wanted: Annotated[
        float, typer.Option("--power", help="Probability with which the difference is to be shown.")
    ] = 0.8,
    json: Json = False,
) -> None:
    """Tell how large a difference a number of test videos can show (exact McNemar test, two-sided, 5 %).

    Example: praxiscope bench power 225 --differing 0.1
    """
    from praxiscope.errors import ArgumentError
    from praxiscope.evaluation.power import smallest_difference

    if not 0 < wanted < 1:
        raise ArgumentError(f"--power {wanted:g}: must be between 0 and 1")
    rows = [
        {"videos": videos, "differing": share, "difference": smallest_difference(videos, share, wanted)}
        for share in differing or _SHARES
    ]
    if json:
        print_json(rows)
        return
    cells = [
        [
            str(videos),
            f"{row['differing']:g}",
            "none" if row["difference"] is None else f"{row['difference']:.3f}",
        ]
        for row in rows
    ]
    print_cells(["videos", "share that differs", f"smallest difference shown with {wanted:g}"], cells)
