"""Find the nearest of many vectors of length 1: exactly, or with an approximate index of FAISS.

Axis letters: N vectors, D dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError
from praxiscope.video.framefiles import edge_digest

__all__ = ["EXACT_UP_TO", "KINDS", "Nearest", "build_index", "exact_index", "has_faiss", "open_index"]

EXACT_UP_TO = 100_000
"""Rows up to which a search compares all of them, unless asked otherwise."""

KINDS = ("exact", "hnsw", "ivf-pq")
"""Kinds of indices: all rows are compared; a graph of neighbours, which keeps the vectors; cells of compressed rows."""

_INSTALL = "Install it: pip install 'praxiscope[retrieval]'"


class Nearest(Protocol):
    """Rows of vectors that can be searched."""

    def search(self, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The nearest rows of a query.

        Args:
            query: float32 [D].
            count: their number, at most N.

        Returns:
            Their numbers, int64, and their cosines, float32, the largest first. Of equal rows the first wins.
        """


class _Exact:
    """Compares all rows, a block at a time."""

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self._blocks = blocks

    def search(self, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rows, values, first = [torch.empty(0, dtype=torch.int64)], [torch.empty(0)], 0
        for block in self._blocks:
            similar = block @ query.to(block.dtype)
            best, places = similar.topk(min(count, len(similar)))
            rows.append(places + first)
            values.append(best)
            first += len(block)
        number, value = torch.cat(rows), torch.cat(values)
        order = torch.from_numpy(np.lexsort((number.numpy(), -value.numpy()))[:count].copy())
        return number[order], value[order]


def exact_index(blocks: Sequence[Tensor]) -> Nearest:
    """Search that compares all rows of blocks, float32 [n, D]."""
    return _Exact(blocks)


class _Faiss:
    def __init__(self, index: Any) -> None:
        self._index = index

    def search(self, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, rows = self._index.search(query.numpy()[None], count)
        known = rows[0] >= 0
        return torch.from_numpy(rows[0][known]), torch.from_numpy(values[0][known])


def has_faiss() -> bool:
    """Whether FAISS is installed."""
    from importlib.util import find_spec

    return find_spec("faiss") is not None


def build_index(folder: Path, blocks: Sequence[Tensor], kind: str = "hnsw", *, seed: int = 0) -> str:
    """Build an approximate index and write it; the file appears complete. Returns its name, which has a digest.

    Args:
        folder: of the file.
        blocks: the rows, float32 [n, D].
        kind: "hnsw" or "ivf-pq".
        seed: of the sample that "ivf-pq" learns its cells from.

    Raises:
        ArgumentError: an unknown kind, or FAISS is not installed.
    """
    faiss = _faiss()
    dims, count = blocks[0].shape[1], sum(map(len, blocks))
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dims, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 100, 128
    elif kind == "ivf-pq":
        cells = max(1, min(4096, round(4 * count**0.5), count // 39))  # FAISS asks for 39 rows for each
        coarse = faiss.IndexFlatIP(dims)
        index = faiss.IndexIVFPQ(coarse, dims, cells, _codes(dims), 8, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(1, cells // 32)
        index.train(_sample(blocks, min(count, 64 * cells), seed))
    else:
        raise ArgumentError(f"kind must be {', '.join(KINDS[1:])}, got {kind!r}")
    for block in blocks:
        for part in torch.split(block, 1 << 16):
            index.add(np.ascontiguousarray(part.numpy()))
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{os.getpid()}.part"
    try:
        faiss.write_index(index, str(unfinished))
        name = f"{kind}-{edge_digest(unfinished)}.faiss"
        unfinished.replace(folder / name)
    finally:
        unfinished.unlink(missing_ok=True)
    return name


def open_index(path: Path) -> Nearest:
    """Open an index of `build_index`.

    Raises:
        ArgumentError: FAISS is not installed.
        DataError: the file is missing or damaged.
    """
    faiss = _faiss()
    try:  # the process would crash if FAISS mapped a file that was cut off
        whole = path.stem.rpartition("-")[2] == edge_digest(path)
        found = faiss.read_index(str(path), faiss.IO_FLAG_MMAP) if whole else None
    except (OSError, RuntimeError):
        found = None
    if found is None:
        raise DataError(
            f"{path}: the index is missing or damaged. Run `praxiscope index` again, which builds it."
        )
    return _Faiss(found)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ArgumentError(f"an approximate index needs FAISS. {_INSTALL}") from error
    return faiss


def _codes(dims: int) -> int:
    """Bytes of a compressed row: the largest divisor of D that is at most D / 4."""
    return next(size for size in range(max(1, dims // 4), 0, -1) if dims % size == 0)


def _sample(blocks: Sequence[Tensor], count: int, seed: int) -> Any:
    total = sum(map(len, blocks))
    keep = np.zeros(total, dtype=bool)
    keep[np.random.default_rng(seed).permutation(total)[:count]] = True
    first, parts = 0, []
    for block in blocks:
        parts.append(block[torch.from_numpy(keep[first : first + len(block)])])
        first += len(block)
    return torch.cat(parts).numpy()
