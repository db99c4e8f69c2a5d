"""What the benchmark commands share: running one experiment once, and writing tables."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.recipes.test import test
from praxiscope.recipes.train import train

__all__ = ["experiment", "machine", "write_table", "write_tables"]


def experiment(
    settings: TrainSettings, run: Path, protocol: str, *, split: str | None = None, subset: str = "test"
) -> dict[str, Any]:
    """Train and test once; a finished experiment is read back, a begun one goes on.

    The scores stand in the run's folder, by the protocol's name and, but for "test", the subset's.

    Returns:
        The test's figures with ``train_seconds`` and ``test_seconds``. Time that an interrupted run had spent
        before is not known to it, so ``train_seconds`` is then missing.
    """
    name = protocol if subset == "test" else f"{protocol}_{subset}"
    result = run / f"result_{name}.json"
    if result.is_file():
        return json.loads(result.read_text())
    reporter = ConsoleReporter()
    figures: dict[str, Any] = {}
    resume = (run / "run.json").is_file()
    started = time.perf_counter()
    if not train(settings, run, resume=resume, reporter=reporter):
        sys.exit(130)
    if not resume:
        figures["train_seconds"] = round(time.perf_counter() - started, 1)
    started = time.perf_counter()
    tested = test(
        run,
        settings.data.source,
        protocol=protocol,
        split=split,
        annotations=settings.data.annotations,
        subset=subset,
        flow=settings.data.flow,
        flow_range=settings.data.flow_range,
        out=run / f"scores_{name}.npz",
        workers=settings.data.workers,
        reporter=reporter,
    )
    figures |= {**tested.figures, "test_seconds": round(time.perf_counter() - started, 1)}
    result.write_text(json.dumps(figures, indent=2))
    return figures


def machine() -> str:
    """The processor, its cores and the threads that were used, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    if torch.cuda.is_available():
        model += f", {torch.cuda.get_device_name()}"
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    return f"{model}, {os.cpu_count()} cores, {threads}, torch {torch.__version__}"


def _short(word: str) -> str:
    """A path's last part, also behind LAYOUT: ; other words as they are."""
    layout, colon, path = word.rpartition(":")
    return f"{layout}{colon}{Path(path).name}" if Path(path).exists() else word


def write_table(
    path: Path, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], note: str
) -> None:
    """Write a Markdown table with the date, the machine and the command that made it, and print it."""
    write_tables(path, title, [("", header, rows)], note)


def write_tables(
    path: Path, title: str, tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]], note: str
) -> None:
    """Write several tables, each with its heading ("" for none), header and rows, as `write_table` does one."""
    lines = [f"# {title}", ""]
    for heading, header, rows in tables:
        lines += [f"## {heading}", ""] if heading else []
        lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
        lines.append("")
    words = ["python", *(_short(word) for word in sys.argv)]
    command = shlex.join(words).replace("python ", "python benchmarks/", 1)
    lines += [note, "", f"{datetime.date.today()}, {machine()}.", f"Command: `{command}`", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
