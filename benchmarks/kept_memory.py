"""Effect of `run.keep_memory`: steps of `praxiscope train` on a CPU, with and without it, in alternating runs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common import Table, parser, run_command, write_tables

from praxiscope.training.log import read_log

WAYS = ("false", "auto")


class Run(NamedTuple):
    """Results of one run: seconds of a step, of the process and of the system, and the peak memory."""

    step_s: float
    user_s: float
    system_s: float
    mebibytes: float


def make_videos(folder: Path, size: int, count: int) -> None:
    """Move4MNIST with drawn digits, 32 frames each."""
    sizes = ["--size", str(size), "--frames", "32", "--seed", "0"]
    words = ["dataset", "move4mnist", str(folder), "--train", str(count), "--test", "4", *sizes]
    subprocess.run([sys.executable, "-m", "praxiscope", *words], check=True, stdout=subprocess.DEVNULL)


def measure(videos: Path, out: Path, size: int, batch: int, precision: str, way: str) -> Run:
    """Train one epoch in a separate process. The first two steps are not timed."""
    settings = {
        "input.size": size,
        "input.short_side": size,
        "optim.batch": batch,
        "optim.warmup_epochs": 0,
        "run.accelerator": "cpu",
        "run.precision": precision,
        "run.keep_memory": way,
        "run.validate_epochs": 0,
        "run.tensorboard": "false",
        "data.workers": 1,
    }
    assignments = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words = [
        "train",
        str(videos),
        "--recipe",
        "move4mnist-64",
        "--epochs",
        "1",
        "--out",
        str(out),
        *assignments,
    ]
    process = subprocess.Popen([sys.executable, "-m", "praxiscope", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words}: ended with exit code {process.returncode}")
    rows = [row for row in read_log(out / "log.csv") if "seconds" in row][2:]
    step = statistics.median(row["seconds"] - row["waiting_seconds"] for row in rows)
    return Run(step, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


def compare(runs: dict[str, list[Run]], columns: Sequence[str]) -> list[str]:
    """Return the medians without and with it, and the median of the ratios of neighbouring runs."""
    cells = []
    for name in columns:
        without, kept = ([getattr(run, name) for run in runs[way]] for way in WAYS)
        ratio = statistics.median(b / a for a, b in zip(without, kept, strict=True))
        cells += [f"{statistics.median(without):.3g}", f"{statistics.median(kept):.3g}", f"{ratio:.2f}"]
    return cells


def main() -> None:
    """Measure each size; write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[64, 112, 224], help="pixels")
    arguments.add_argument(
        "--batches", type=int, nargs="+", default=[16, 16, 4], help="videos of a step, for each size"
    )
    arguments.add_argument("--steps", type=int, default=8, help="steps of each run; the first two warm up")
    arguments.add_argument("--repeats", type=int, default=3, help="number of runs with and without it")
    arguments.add_argument("--precision", default="32", choices=("32", "bf16"))
    options = arguments.parse_args()
    if len(options.sizes) != len(options.batches):
        arguments.error("--batches must have a number for each of --sizes")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for size, batch in zip(options.sizes, options.batches, strict=True):
            videos = Path(name) / f"videos{size}"
            make_videos(videos, size, batch * options.steps)
            runs: dict[str, list[Run]] = {way: [] for way in WAYS}
            for repeat in range(options.repeats):
                for way in WAYS:
                    out = Path(name) / f"{size}-{repeat}-{way}"
                    runs[way].append(measure(videos, out, size, batch, options.precision, way))
                    print(size, way, runs[way][-1], flush=True)
            rows.append([str(size), str(batch), *compare(runs, ("step_s", "system_s", "mebibytes"))])
    header = [
        "pixels",
        "videos",
        *("s / step, given back", "kept", "ratio"),
        *("system's s, given back", "kept", "ratio"),
        *("MiB, given back", "kept", "ratio"),
    ]
    write_tables(
        options,
        __file__,
        "Memory kept between the steps of a training",
        [Table("", header, rows)],
        f"`praxiscope train`, TSM on ResNet-18, 8 frames of each video, precision {options.precision}, "
        f"{options.steps} steps of which the first two warm up, with run.keep_memory=false (given back) and auto "
        f"(kept) in turn, {options.repeats} runs each: medians, and medians of the ratios of neighbouring runs. "
        "Seconds of a step are of its work without waiting for data; the system's seconds are of the process and "
        "its reader; memory is the training process's peak.",
    )


if __name__ == "__main__":
    run_command(main)
