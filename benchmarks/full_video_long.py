"""Table 1 of the full-video paper on longer videos with more shots and a shorter action, and 2,000 test videos.

`python benchmarks/full_video_long.py` trains and tests every row on three sets, and compares the rows on the same test
videos. It can be stopped and run again; a finished row is not trained again. ``--only`` trains some rows, such as
``around:TSM-8``, and writes no table, so that several processes can share the work. ``--costs`` trains nothing: it
measures time and memory of the rows, and writes another page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common import Run, Table, describe, parser, read_run, run_command, write_tables
from compared import comparison_tables

from praxiscope.bench.experiment import Plan
from praxiscope.bench.full_video import PRESETS, bench_full_video, row_costs, table_rows
from praxiscope.data.move4mnist import digest_of_set
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import ConsoleReporter

SETS = {"around": "long", "inserted": "long-inserted", "longer": "longer"}
"""The preset of each set: other frames around the motion, or inserted into it; and videos of twice as many frames."""

KNOWN = tuple(row.name for row in table_rows())
EIGHT = ("TSM-8", "uniform-8", "slope-8", "cumulative-8")


class Part(NamedTuple):
    """Two tables of the page: accuracies and differences of some rows.

    set: a name in `SETS`.
    title: the heading.
    rows: names of rows.
    seeds: number of runs of each.
    """

    set: str
    title: str
    rows: tuple[str, ...]
    seeds: int


PARTS = (
    Part("around", "48 frames, the motion in one stretch", ("TSM-16", "TSM-all", *EIGHT), 1),
    Part("around", "The same, two seeds", EIGHT, 2),
    Part("inserted", "48 frames, other frames inserted into the motion", EIGHT, 1),
    Part(
        "longer",
        "96 frames, the motion in one stretch",
        ("TSM-16", "TSM-all", "uniform-16", "slope-16", "cumulative-16"),
        1,
    ),
)
PAIRS = [
    ("TSM-all", "TSM-8"),
    ("TSM-all", "TSM-16"),
    ("TSM-all", "cumulative-8"),
    ("TSM-all", "cumulative-16"),
    ("uniform-8", "TSM-8"),
    ("slope-8", "TSM-8"),
    ("cumulative-8", "TSM-8"),
    ("slope-8", "uniform-8"),
    ("cumulative-8", "uniform-8"),
    ("cumulative-8", "slope-8"),
    ("uniform-16", "TSM-16"),
    ("slope-16", "TSM-16"),
    ("cumulative-16", "TSM-16"),
    ("slope-16", "uniform-16"),
    ("cumulative-16", "uniform-16"),
    ("cumulative-16", "slope-16"),
]


def main() -> None:
    """Train and test the rows, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--workers", type=int, default=1, help="processes that read videos")
    arguments.add_argument("--only", nargs="+", metavar="SET:ROW", help="rows to train; no table is written")
    arguments.add_argument("--costs", action="store_true", help="measure time and memory instead")
    options = arguments.parse_args()
    if options.costs:
        write_costs(options)
        return
    seeds = {f"{part.set}:{row}": part.seeds for part in PARTS for row in part.rows}
    for word in options.only or seeds:
        where, _, row = word.partition(":")
        if where not in SETS or row not in KNOWN:
            raise ArgumentError(
                f"--only takes {' or '.join(SETS)} with a row, such as around:TSM-8, got {word!r}"
            )
        bench_full_video(
            options.out / where,
            SETS[where],
            costs=False,
            plan=Plan([row], seeds.get(word, 1), options.workers, "cpu"),
            reporter=ConsoleReporter(),
        )
    if options.only:
        return
    tables: list[Table] = []
    runs: dict[str, Run] = {}
    for part in PARTS:
        made, found = compared(options.out / part.set, part.rows, part.seeds)
        tables += [
            made[0]._replace(heading=part.title),
            made[1]._replace(heading=f"{part.title}: differences"),
        ]
        runs |= found
    digests = ", ".join(f"{where} {PRESETS[preset].digest}" for where, preset in SETS.items())
    every = list(runs.values())
    note = f"Move4MNIST; digests of the sets: {digests}. {describe(every)}"
    write_tables(options, __file__, "Clusters of all frames on a harder Move4MNIST", tables, note, runs=every)


def write_costs(options: argparse.Namespace) -> None:
    """Measure a step of each row at both lengths, and write the table."""
    tables = []
    for name in ("around", "longer"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
        rows = [row for part in PARTS if part.set == name for row in part.rows]
        chosen = [row for row in KNOWN if row in rows]
        plan = Plan(chosen, device="cpu")
        costs = row_costs(options.out / name, SETS[name], plan=plan, reporter=ConsoleReporter())
        eight = costs[0]
        cells = [
            [
                cost["name"],
                f"{cost['multiply_adds'] / 1e9:.2f}",
                f"{cost['bytes'] / 2**20:.1f}",
                f"{cost['bytes'] / eight['bytes']:.2f}",
                f"{cost['epoch_seconds']:.0f}",
                f"{cost['epoch_seconds'] / eight['epoch_seconds']:.2f}",
            ]
            for cost in costs
        ]
        header = [
            "model",
            "G multiply-adds / video",
            "MiB / video",
            "times the first",
            "s / epoch",
            "times the first",
        ]
        tables.append(Table(f"{PRESETS[SETS[name]].frames} frames", header, cells))
    note = "One step of a batch of the recipe on random frames, the median of three. An epoch: the steps of 600 videos."
    write_tables(
        options, __file__, "Cost of all frames and of clusters", tables, note, name="full_video_long_cost"
    )


def compared(folder: Path, rows: Sequence[str], seeds: int) -> tuple[list[Table], dict[str, Run]]:
    """The accuracies of rows, their differences, and their runs by folder.

    Raises:
        ArgumentError: the videos are not those of the preset.
    """
    wanted = PRESETS[SETS[folder.name]].digest
    if (found := digest_of_set(folder / "videos")) != wanted:
        raise ArgumentError(f"{folder / 'videos'}: has digest {found}, not {wanted}. Remove {folder}.")
    systems: list[System] = []
    runs: dict[str, Run] = {}
    for row in rows:
        folders = [folder / f"{row}-{seed}" for seed in range(seeds)]
        systems.append(read_system(row, [Scores.load(run / "scores.npz") for run in folders]))
        protocol = "1xfull" if row.startswith("TSM") else "allxfull"
        runs |= {str(run): read_run(run, protocol, run / "result.json") for run in folders}
    return comparison_tables("", systems, None, PAIRS), runs  # every video is drawn by itself


if __name__ == "__main__":
    run_command(main)
