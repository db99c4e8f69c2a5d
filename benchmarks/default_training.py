"""Training without options: accuracy and seconds of `praxiscope train DATA`, and of the same with `--model probe`.

Seconds are from the videos to the finished run, features included. The probe's seeds differ only in the folds in which
its regularisation is chosen.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from common import Table, parser, run_command, score_cells, write_tables
from stores import settings_of, train_and_test

import praxiscope as px
from praxiscope.checkpoint import read_pointer
from praxiscope.data.manifest import load_records
from praxiscope.progress import ConsoleReporter
from praxiscope.units import counted

SYSTEMS: dict[str, dict[str, Any]] = {"default": {}, "probe": {"model": "probe"}}
"""What is given to `praxiscope.train` beside the data and the seed."""


def main() -> None:
    """Train and test once per system and seed, then write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", help="a data set with splits and groups")
    arguments.add_argument("--split")
    arguments.add_argument("--annotations", type=Path)
    arguments.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--protocol", default="25x1")
    options = arguments.parse_args()
    manifest = load_records(options.data, split=options.split, annotations=options.annotations)
    listed = {"split": options.split, "annotations": options.annotations}
    rows, results = [], []
    for system in options.systems:
        mine = []
        for seed in range(options.seeds):
            run = options.out / f"{system}-{seed}"
            given = {**SYSTEMS[system], **listed, **settings_of(options.assignments), "seed": seed}
            train = trainer(options.data, run, given)
            mine.append(train_and_test(run, train, options.data, options.protocol, settings=given, **listed))
        scores = score_cells([one.top1 for one in mine])
        train, test = (statistics.mean(getattr(one, name) for one in mine) for name in ("train_s", "test_s"))
        rows.append([system, *scores, f"{train:.0f}", f"{test:.0f}"])
        results += mine
    header = ["system", "top-1", "spread", "each seed", "seconds to train", "seconds to test"]
    write_tables(
        options,
        __file__,
        "Training without options",
        [Table("", header, rows)],
        f"{len(manifest.of('train'))} training and {len(manifest.of('test'))} test clips of {len(manifest.classes)} "
        f"classes, protocol {options.protocol}, {counted(options.seeds, 'seed')}. The spread is the sample standard "
        "deviation. "
        "default: `praxiscope train` without options; probe: `--model probe`. Seconds are means over the seeds.",
        runs=results,
    )


def trainer(data: str, run: Path, given: dict[str, Any]) -> Any:
    """Return the function that trains."""
    return lambda: px.train(
        data, out=run, resume=bool(read_pointer(run)), progress=ConsoleReporter(), **given
    )


if __name__ == "__main__":
    run_command(main)
