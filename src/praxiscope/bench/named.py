"""Benchmarks on a data set by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from praxiscope.bench.load import bench_load
from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError
from praxiscope.progress import Reporter
from praxiscope.units import counted
from praxiscope.video.opening import open_video

__all__ = ["bench_data"]


def bench_data(
    data: str | Path,
    packed: Sequence[str | Path] = (),
    *,
    reporter: Reporter | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure how fast a data set is read; see ``praxiscope.bench.load.bench_load``.

    Args:
        data: as for training.
        packed: its packed copies; clips are matched by id, and those that one of them lacks left out.
        reporter: says what is measured.
        options: of ``bench_load``.

    Raises:
        DataError: a copy has no clip of ``data``.
    """
    reporter = reporter or Reporter()
    videos = {record.id: record.path for record in load_records(data, random_split=False).records}
    copies: dict[str, dict[str, Path]] = {}
    for folder in packed:
        found = {record.id: record.path for record in load_records(folder, random_split=False).records}
        videos = {name: path for name, path in videos.items() if name in found}
        if not videos:
            raise DataError(f"{folder}: holds no packed clip of {data}. Make it with praxiscope pack.")
        name = f"praxiscope packed, {open_video(next(iter(found.values()))).codec}"
        copies[f"{name}, {folder}" if name in copies else name] = found
    reporter.line(f"{counted(len(videos), 'clip')}; every reader reads each several times.")
    in_order = {name: [found[clip] for clip in videos] for name, found in copies.items()}
    return bench_load(list(videos.values()), in_order, reporter=reporter, **options)
