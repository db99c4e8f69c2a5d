"""The text format of the published output of improved trajectories: one trajectory per line.

A line has the 10 values of `praxiscope.trajectories.result.INFO`, then 30 of the trajectory, 96 of HOG, 108 of HOF and
96 each of MBHx and MBHy, separated by tabs. Files whose names end with ``.gz`` are compressed.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from praxiscope.errors import DataError
from praxiscope.trajectories.result import INFO, Trajectories
from praxiscope.trajectories.settings import DESCRIPTORS, TrajectorySettings

__all__ = ["read_text", "write_text"]


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[IO[str]]:
    if path.suffix == ".gz":
        with gzip.open(path, f"{mode}b") as raw, io.TextIOWrapper(cast(IO[bytes], raw), "ascii") as file:
            yield file
    else:
        with path.open(mode, encoding="ascii") as file:
            yield file


def write_text(path: str | Path, trajectories: Trajectories) -> None:
    """Write trajectories."""
    columns = [getattr(trajectories, name) for name in ("info", *DESCRIPTORS)]
    with _opened(Path(path), "w") as file:
        for row in np.concatenate(columns, axis=1):
            file.write("\t".join([f"{int(row[0])}", *(f"{value:.6f}" for value in row[1:])]) + "\n")


def read_text(path: str | Path) -> Trajectories:
    """Read trajectories.

    Raises:
        DataError: the file is missing, or a line does not have 436 numbers.
    """
    path, sizes = Path(path), [len(INFO), *TrajectorySettings().sizes.values()]
    width = sum(sizes)
    rows = []
    try:
        with _opened(path, "r") as file:
            for number, line in enumerate(file, 1):
                values = np.array(line.split(), dtype=np.float32)
                if len(values) != width:
                    raise DataError(f"{path}: line {number} has {len(values)} values, not {width}")
                rows.append(values)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as trajectories ({error})") from error
    table = np.stack(rows) if rows else np.empty((0, width), np.float32)
    parts = np.split(table, np.cumsum(sizes)[:-1], axis=1)
    return Trajectories(*parts)
