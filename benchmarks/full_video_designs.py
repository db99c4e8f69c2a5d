"""What decides the order of Table 1's rules: the same rows on other readings of Move4MNIST."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import write_table

from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.bench_full_video import PRESETS, Preset, bench_full_video

ROWS = ("TSM-8", "uniform-8", "slope-8", "cumulative-8")

# Of the digits that are not the target, so many stay in place while they are there; the others jump in every frame. The
# rest of the video is around the motion or interrupts it (inserted), in stretches of so many frames.
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path, help="folder of MNIST's idx files")
    parser.add_argument("--backgrounds", type=Path, help="folder of background videos")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of designs, from 0; no table is written")
    parser.add_argument("--rows", nargs="*", default=ROWS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/full_video_designs"))
    options = parser.parse_args()
    table = []
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
            rows=options.rows,
            costs=False,
            workers=options.workers,
            device="cpu",
            reporter=ConsoleReporter(),
        )
        scores = {row["name"]: f"{100 * statistics.mean(row['top1']):.1f}" for row in found}
        print(name, scores, flush=True)
        table.append([name, *(scores[row] for row in options.rows)])
    if options.only is None:
        write_table(
            Path(__file__).with_suffix(".md"),
            "Which rule is best, on other readings of Move4MNIST",
            ["set", *options.rows],
            table,
            f"Top-1 in %, {options.seeds} seed(s), otherwise as [full_video](full_video.md).",
        )


if __name__ == "__main__":
    main()
