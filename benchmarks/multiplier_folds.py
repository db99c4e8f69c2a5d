"""Connections of two streams: Table 2 of the multiplier networks' paper with every clip tested.

`python benchmarks/multiplier_folds.py DATA FLOW` trains the streams and all rows for each fold and seed, and compares
the rows on the same clips. DATA are videos, such as `weizmann:weizmann`, and FLOW is what `praxiscope flow` stored for
them. It can be stopped and run again; finished runs are kept. ``--only`` trains some folds and writes no table, so
that several processes can share the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common import Run, Table, describe, parser, read_run, run_command, score_cells, write_tables
from compared import at_least, comparison_tables

from praxiscope.bench.experiment import Plan
from praxiscope.bench.multiplier import FUSED, PROTOCOL, STREAMS, bench_multiplier
from praxiscope.commands.fuse import fuse
from praxiscope.evaluation.comparison import read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.sections import TaskSource
from praxiscope.run_folder import LOG_FILE, SCORES_FILE
from praxiscope.training.log import read_log

ROWS = (
    "no-connection",
    "residual-additive",
    "residual-multiplicative",
    "direct-additive",
    "direct-multiplicative",
    "reverse-multiplicative",
    "both-multiplicative",
)
PAIRS = [
    ("motion", "appearance"),
    (FUSED, "appearance"),
    (FUSED, "motion"),
    ("no-connection", FUSED),
    ("residual-additive", "no-connection"),
    ("residual-multiplicative", "no-connection"),
    ("residual-multiplicative", "residual-additive"),
    ("residual-additive", "direct-additive"),
    ("residual-multiplicative", "direct-multiplicative"),
    ("residual-multiplicative", "reverse-multiplicative"),
    ("residual-multiplicative", "both-multiplicative"),
]


def main() -> None:
    """Train and test the rows on all folds, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", metavar="DATA", help="videos of class folders, or LAYOUT:FOLDER")
    arguments.add_argument("flow", metavar="FLOW", help="folder of stored flow")
    arguments.add_argument("--folds", type=at_least(2), default=4, help="number of folds, divided by group")
    arguments.add_argument("--seeds", type=at_least(1), default=1, help="number of runs of each row and fold")
    arguments.add_argument("--workers", type=int, default=1, help="processes that read videos")
    arguments.add_argument(
        "--only", type=int, nargs="+", metavar="FOLD", help="folds to train; no table is written"
    )
    options = arguments.parse_args()
    for fold in options.only or range(1, options.folds + 1):
        bench_multiplier(
            TaskSource(source=options.data, split=f"{fold}/{options.folds}", flow=options.flow),
            options.out / f"fold{fold}of{options.folds}",
            plan=Plan(ROWS, options.seeds, options.workers, "cpu"),
            reporter=ConsoleReporter(),
        )
    if options.only:
        return
    places = [options.out / f"fold{fold}of{options.folds}" for fold in range(1, options.folds + 1)]
    systems, runs = [], {}
    for name in (*STREAMS, FUSED, *ROWS):
        found = [_scores(place, name, seed) for seed in range(options.seeds) for place in places]
        systems.append(read_system(name, found))
    for name in (*STREAMS, *ROWS):
        for folder in (place / f"{name}-{seed}" for seed in range(options.seeds) for place in places):
            runs[folder] = read_run(folder, PROTOCOL, folder / "result.json")
    tables = comparison_tables("", systems, options.data, PAIRS)
    losses = []
    for name in ROWS:
        logs = [read_log(folder / LOG_FILE) for folder in runs if folder.name.rpartition("-")[0] == name]
        cells = [score_cells([last_loss(log, stream) for log in logs])[:2] for stream in ("rgb", "flow")]
        losses.append([name, str(len(logs)), *cells[0], *cells[1]])
    header = ["row", "runs", "appearance", "deviation", "motion", "deviation"]
    tables.append(Table("Training losses of the streams in the last epoch", header, losses))
    every: list[Run] = list(runs.values())
    note = describe([run for folder, run in runs.items() if folder.parent == places[0]])
    write_tables(
        options,
        __file__,
        "Connections of two streams, every clip tested",
        tables,
        f"Of fold 1: {note}",
        runs=every,
    )


def last_loss(log: Sequence[dict[str, float]], stream: str) -> float:
    """The mean loss of a stream over the steps of the last epoch."""
    steps = [
        row[f"loss_{stream}"] for row in log if row["epoch"] == log[-1]["epoch"] and f"loss_{stream}" in row
    ]
    return sum(steps) / len(steps)


def _scores(place: Path, name: str, seed: int) -> Scores:
    """The scores of a row of a fold; the fusion averages the scores of the streams before softmax."""
    if name == FUSED:
        return fuse([place / f"{stream}-{seed}" / SCORES_FILE for stream in STREAMS], weights=[1, 1]).scores
    return Scores.load(place / f"{name}-{seed}" / SCORES_FILE)


if __name__ == "__main__":
    run_command(main)
