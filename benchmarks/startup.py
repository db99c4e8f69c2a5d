"""Processor time until a command prints an error or its help, or reads the first frame of a prediction."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from common import Table, parser, run_command, write_tables

# The process prints its processor time when it first opens a video, or at its end, and exits.
_LEAVE = """
import os, resource, sys
def leave(*_, **__):
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(2, f"used {used.ru_utime + used.ru_stime}".encode())
    os._exit(0)
"""
_TORCH = _LEAVE + "import torch\nleave()\n"
_FIRST_FRAME = (
    _LEAVE
    + "import av\nav.open = leave\nfrom praxiscope.cli.main import main\nsys.argv[0] = 'praxiscope'\nmain()\n"
)

COMMANDS = {
    "help": ["--help"],
    "help of a command": ["train", "--help"],
    "data that are not there": ["train", "nosuch", "--out", "x"],
    "an unknown model": ["train", ".", "--model", "nosuch", "--out", "x"],
    "an unknown setting": ["train", ".", "--set", "optim.nosuch=1", "--out", "x"],
    "an unknown backbone": ["train", ".", "--set", "model.backbone=nosuch", "--out", "x"],
    "a run that is not there": ["predict", "nosuch", "clip.mp4"],
    "check of data that are not there": ["check", "nosuch"],
}


def whole(words: list[str], source: Path | None) -> float:
    """Return the processor seconds of a process, user and system, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=_environment(source), capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def until(code: str, words: list[str], source: Path | None) -> float:
    """Return the processor seconds of a process until it exits."""
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, env=_environment(source), capture_output=True, text=True)
    return float(done.stderr.rpartition("used ")[2])


def _environment(source: Path | None) -> dict[str, str]:
    added = {} if source is None else {"PYTHONPATH": str(source.resolve())}
    return {**os.environ, "OMP_NUM_THREADS": "1", **added}


def main() -> None:
    """Measure all commands in turn, and write the medians."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("run", type=Path, help="a trained run")
    arguments.add_argument("clip", type=Path, help="a video to predict")
    arguments.add_argument(
        "--turns", type=int, default=7, help="number of measurements; their median is reported"
    )
    arguments.add_argument(
        "--before", type=Path, metavar="SRC", help="source folder of another version, to compare with"
    )
    options = arguments.parse_args()
    predict = ["predict", str(options.run), str(options.clip)]
    sources = {"this version": None, **({"before": options.before} if options.before else {})}
    figures: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.turns):
        for name, source in sources.items():
            turn = {what: whole(["-m", "praxiscope", *words], source) for what, words in COMMANDS.items()}
            turn["import torch, alone"] = until(_TORCH, [], source)
            turn["a prediction, before its first frame"] = until(_FIRST_FRAME, predict, source)
            for what, seconds in turn.items():
                figures.setdefault((what, name), []).append(seconds)
    medians = {key: statistics.median(values) for key, values in figures.items()}
    torch = {name: medians["import torch, alone", name] for name in sources}
    rows = [
        [
            what,
            *(f"{medians[what, name]:.2f}" for name in sources),
            *(f"{medians[what, name] / torch[name]:.2f}" for name in sources),
        ]
        for what in [*COMMANDS, "import torch, alone", "a prediction, before its first frame"]
    ]
    header = ["until there is an answer", *(f"s, {name}" for name in sources)]
    header += [f"times torch, {name}" for name in sources]
    write_tables(
        options,
        __file__,
        "What a command costs before it begins",
        [Table("", header, rows)],
        f"Seconds of processor time, user and system: medians of {options.turns} turns, each of which "
        "measures every row "
        "once.",
    )


if __name__ == "__main__":
    run_command(main)
