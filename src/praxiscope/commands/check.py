"""Check a data set."""

from __future__ import annotations

from pathlib import Path

from praxiscope.data.check import CheckReport, inspect
from praxiscope.data.manifest import load_records
from praxiscope.processes import run_once
from praxiscope.progress import Reporter

__all__ = ["check"]

_FEW_FILES = 1000


def check(
    data: str | Path,
    *,
    split: str | None = None,
    annotations: str | Path | None = None,
    full: bool = False,
    workers: int = 2,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Open every video of a data set and report problems and class counts; see `praxiscope.check`.

    Raises:
        DataError: the data set cannot be listed.
    """
    run_once()
    reporter = reporter or Reporter()
    manifest = load_records(data, split=split, annotations=Path(annotations) if annotations else None)
    files = len({record.path for record in manifest.records})
    if not full and files < _FEW_FILES:
        workers = 1  # starting processes takes longer than opening so few files
    with reporter.bar("checking", files) as bar:
        return inspect(manifest, full=full, workers=workers, progress=lambda done, total: bar.advance())
