"""The list of what was skipped, which stands in a run's folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from praxiscope.errors import TrainingError

__all__ = ["check_skips", "merge_skipped", "read_skipped", "write_skipped"]

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
            f"{count} of {total} videos cannot be read, more than --max-skip {share:g}; they are listed in "
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


def merge_skipped(run: Path) -> None:
    """Bring the lists of all processes of a run (``skipped.N.csv``) into its ``skipped.csv``."""
    if others := sorted(run.glob("skipped.*.csv")):
        write_skipped(run / "skipped.csv", read_skipped(run))
        for path in others:
            path.unlink(missing_ok=True)


def read_skipped(run: Path) -> dict[str, str]:
    """The problems by id that the processes of a run have listed so far."""
    found: dict[str, str] = {}
    for path in (*sorted(run.glob("skipped.*.csv")), run / "skipped.csv"):
        if path.is_file():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                found |= {row["id"]: row["problem"] for row in csv.DictReader(file) if row.get("id")}
    return found
