"""The lists of skipped and of damaged videos in the folder of a run."""

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
    """Raise an error if too many videos cannot be read.

    Args:
        count: number of videos that cannot be read.
        total: number of all videos.
        max_skip: the largest accepted fraction. None for 5 %, but at least three videos, because in a small set each
            video is several per cent.
        listing: the file that lists them.

    Raises:
        TrainingError: more videos cannot be read.
    """
    allowed = max(DEFAULT_MAX_SKIP * total, ALWAYS_ALLOWED) if max_skip is None else max_skip * total
    if count > allowed:
        share = DEFAULT_MAX_SKIP if max_skip is None else max_skip
        raise TrainingError(
            f"{count} of {counted(total, 'video')} cannot be read, more than --max-skip {share:g}. They are listed in "
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
    """Records videos that were read although some of their frames are lost, once each.

    Args:
        path: the list. It is created for the first damaged video; earlier entries are kept.
        reporter: prints a line for each.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self.path, self.reporter = path, reporter
        self.found: dict[str, str] = {}

    def __call__(self, damaged: Iterable[tuple[str, str]]) -> None:
        """Record videos, as (id, problem)."""
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
    """The problems that all processes of a run have listed, by id."""
    found: dict[str, str] = {}
    for path in (*sorted(run.glob(of_process(name, "*"))), run / name):
        found |= _read(path)
    return found


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {row["id"]: row["problem"] for row in csv.DictReader(file) if row.get("id")}
