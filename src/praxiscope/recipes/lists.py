"""The small lists that stand in a run's folder: what was skipped, and which video was on which side."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from praxiscope.types import VideoRecord

__all__ = ["read_split", "write_skipped", "write_split"]


def write_skipped(path: Path, skipped: Mapping[str, str]) -> None:
    """Write ``id,problem`` rows, sorted."""
    _write(path, ("id", "problem"), sorted(skipped.items()))


def write_split(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write ``id,label,split`` rows: by id, so that they hold for a packed copy of the same videos too."""
    _write(path, ("id", "label", "split"), [(r.id, "|".join(r.labels), r.split or "") for r in records])


def read_split(path: Path) -> dict[str, str]:
    """Split by id. Empty when there is no such list, or it is damaged."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {row["id"]: row["split"] for row in csv.DictReader(file) if row.get("id") and row.get("split")}


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    os.replace(temporary, path)
