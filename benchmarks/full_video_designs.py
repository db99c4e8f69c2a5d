"""Table 1 of the full-video paper on other interpretations of Move4MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import Run, Table, describe, parser, read_run, run_command, score_cells, write_tables

from praxiscope.bench.experiment import Plan
from praxiscope.bench.full_video import PRESETS, Preset, bench_full_video
from praxiscope.progress import ConsoleReporter

ROWS = ("TSM-8", "uniform-8", "slope-8", "cumulative-8")

# The fraction of the other digits that do not move (the others jump in every frame); whether the other frames are
# around the motion or interrupt it (inserted); and the length of their stretches in frames.
DESIGNS: Mapping[str, Mapping[str, Any]] = {
    "around the motion, in long stretches, none jump (the table's)": {},
    "around the motion, in short stretches, half of the other digits jump": {"run": (2, 8), "still": 0.5},
    "inserted, in short stretches, none jump": {"inserted": True, "run": (2, 8)},
    "inserted, in long stretches, none jump": {"inserted": True},
    "inserted, in long stretches, a quarter jump": {"inserted": True, "still": 0.75},
    "inserted, in long stretches, half jump": {"inserted": True, "still": 0.5},
}


def main() -> None:
    """Train and test every row of every design, then write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--digits", type=Path, help="folder of MNIST's idx files")
    arguments.add_argument("--backgrounds", type=Path, help="folder of background videos")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument(
        "--only", type=int, nargs="*", help="numbers of designs, from 0; no table is written"
    )
    arguments.add_argument("--rows", nargs="*", default=ROWS)
    arguments.add_argument("--workers", type=int, default=1)
    options = arguments.parse_args()
    table: list[list[str]] = []
    runs: list[Run] = []
    for number, (name, design) in enumerate(DESIGNS.items()):
        if options.only is not None and number not in options.only:
            continue
        small: Preset = PRESETS["cpu"]
        preset = replace(small, design={**small.design, **design}, seeds=options.seeds)
        found = bench_full_video(
            options.out / str(number),
            preset,
            digits=options.digits,
            backgrounds=options.backgrounds,
            costs=False,
            plan=Plan(options.rows, workers=options.workers, device="cpu"),
            reporter=ConsoleReporter(),
        )
        cells = {row["name"]: row["top1"] for row in found}
        table.append([name, *(cell(cells[row]) for row in options.rows)])
        print(*table[-1], flush=True)
        for row, scores in cells.items():
            for seed in range(len(scores)):
                folder = options.out / str(number) / f"{row}-{seed}"
                protocol = "1xfull" if row.startswith("TSM") else "allxfull"
                runs.append(read_run(folder, protocol, folder / "result.json"))
    if options.only is None:
        write_tables(
            options,
            __file__,
            "Which rule is best, on other readings of Move4MNIST",
            [Table("", ["the rest of the videos", *options.rows], table)],
            f"Top-1 in %; with several seeds the mean, and each in brackets. {describe(runs)}",
            runs=runs,
        )


def cell(scores: Sequence[float]) -> str:
    """Format the mean in %, and each score if there are several."""
    mean, _, each = score_cells([100 * score for score in scores], digits=1)
    return f"{mean} ({each})" if len(scores) > 1 else mean


if __name__ == "__main__":
    run_command(main)
