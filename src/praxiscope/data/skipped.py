"""The lists of what was skipped, and of what has lost frames, which stand in a run's folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from praxiscope.errors import TrainingError
from praxiscope.progress import Reporter
from praxiscope.run_folder import DAMAGED_FILE, SKIPPED_FILE, of_process
from praxiscope.units import counted

__all__ = ["DamageList", "check_skips", "merge_skipped", "read_skipped", "write_skipped"]

DEFAULT_MAX_SKIP, ALWAYS_ALLOWED = 0.05, 3


def check_skips(count: int, total: int, max_skip: float | None, listing: Path) -> None:
    """Stop when too many videos cannot be read.

    Args:
        count: videos that cannot be read.
        total: videos in all.
        max_skip: the largest share that is accepted. None is 5 %, but three broken videos alone never stop a
            run that has others left: in a set of twenty each one is 5 %.
        listing: the file that names them.

    Raises:
        TrainingError: there are more.
    """
    allowed = max(DEFAULT_MAX_SKIP * total, ALWAYS_ALLOWED) if max_skip is None else max_skip * total
    if count > allowed:
        share = DEFAULT_MAX_SKIP if max_skip is None else max_skip
        raise TrainingError(
            f"{count} of {counted(total, 'video')} cannot be read, more than --max-skip {share:g}; they are listed in "
            f"{listing}. Repair or remove them, or raise --max-skip."
        )


def write_skipped(path: Path, skipped: Mapping[str, str]) -> None:
    """Write ``id,problem`` rows, sorted."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "problem"))
        writer.writerows(sorted(skipped.items()))
    os.replace(temporary, path)


class DamageList:
    """Lists the videos that were read although frames of them are lost, each once, and says so.

    Args:
        path: the list, which begins to be with the first of them. What it holds already is kept.
        reporter: is told of each.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self.path, self.reporter = path, reporter
        self.found: dict[str, str] = {}

    def __call__(self, damaged: Iterable[tuple[str, str]]) -> None:
        """Take (id, what is lost) of videos."""
        new = {name: problem for name, problem in damaged if problem and self.found.get(name) != problem}
        if not new:
            return
        self.found |= new
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_skipped(self.path, _read(self.path) | self.found)
        for name, problem in new.items():
            self.reporter.line(f"Damaged: {name}: {problem}")


def merge_skipped(run: Path) -> None:
    """Merge the lists of all processes of a run (``skipped.N.csv``, ``damaged.N.csv``) into one each."""
    for name in (SKIPPED_FILE, DAMAGED_FILE):
        if others := sorted(run.glob(of_process(name, "*"))):
            write_skipped(run / name, read_skipped(run, name))
            for path in others:
                path.unlink(missing_ok=True)


def read_skipped(run: Path, name: str = SKIPPED_FILE) -> dict[str, str]:
    """The problems by id that the processes of a run have listed so far."""
    found: dict[str, str] = {}
    for path in (*sorted(run.glob(of_process(name, "*"))), run / name):
        found |= _read(path)
    return found


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {row["id"]: row["problem"] for row in csv.DictReader(file) if row.get("id")}
