"""Benchmarks on a data set by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError
from praxiscope.progress import Reporter
from praxiscope.recipes.bench_load import bench_load

__all__ = ["bench_data"]


def bench_data(
    data: str | Path, packed: str | Path | None = None, *, reporter: Reporter | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Measure how fast a data set is read; see ``praxiscope.recipes.bench_load.bench_load``.

    Args:
        data: as for training.
        packed: its packed copy; clips are matched by id, and those that only one of them holds left out.
        reporter: says what is measured.
        options: of ``bench_load``.

    Raises:
        DataError: the copy has no clip of ``data``.
    """
    reporter = reporter or Reporter()
    videos = {record.id: record.path for record in load_records(data, random_split=False).records}
    copies: Sequence[Path] | None = None
    if packed is not None:
        found = {record.id: record.path for record in load_records(packed, random_split=False).records}
        ids = [name for name in videos if name in found]
        if not ids:
            raise DataError(f"{packed}: holds no packed clip of {data}. Make it with praxiscope pack.")
        videos, copies = {name: videos[name] for name in ids}, [found[name] for name in ids]
    reporter.line(f"{len(videos)} clips; every reader reads each of them several times.")
    return bench_load(list(videos.values()), copies, **options)
