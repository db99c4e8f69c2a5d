"""Rows of features [n, P] of any length, in memory or mapped from a file, read a part at a time.

Few rows are held in memory as float64. More are read again in every pass, as float32, which is faster,
and memory does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Rows: TypeAlias = "Tensor | NDArray[Any] | Standardised"

__all__ = ["Standardised", "chunks", "in_memory", "is_large", "mean_and_std", "take"]

_CHUNK = 4_000_000
"""Numbers that are read at once; 32 MB in float64."""

_FAST_CHUNK = 500_000
"""The same in float32; 2 MB, which a processor's cache holds from one use to the next."""

_LARGE = 16_000_000
"""Numbers that are held in memory as float64, 128 MB."""


def is_large(rows: Rows) -> bool:
    """Whether rows are too many to be held in memory as float64."""
    count, width = rows.shape
    return count * width > _LARGE


def chunks(rows: Rows, dtype: torch.dtype = torch.float64) -> Iterator[tuple[slice, Tensor]]:
    """The rows from the first to the last, a part at a time: which, and their values [m, P], float64 or float32."""
    count, width = rows.shape
    step = max(1, (_CHUNK if dtype == torch.float64 else _FAST_CHUNK) // max(width, 1))
    for first in range(0, count, step):
        part = slice(first, min(first + step, count))
        yield part, rows.read(part, dtype) if isinstance(rows, Standardised) else _read(rows[part], dtype)


def in_memory(rows: Rows) -> Rows:
    """Rows that are few enough are read once, as float64 [n, P]; more stay where they are."""
    return rows if is_large(rows) or not len(rows) else torch.cat([part for _, part in chunks(rows)])


def take(rows: Rows, chosen: Tensor) -> Tensor:
    """Some of the rows, by their numbers in ascending order, int64 [m]: float32 [m, P]."""
    taken, done = torch.empty(len(chosen), rows.shape[1]), 0
    for part, values in chunks(rows, torch.float32):
        inside = chosen[(chosen >= part.start) & (chosen < part.stop)] - part.start
        taken[done : done + len(inside)] = values[inside]
        done += len(inside)
    return taken


def _read(rows: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(rows, Tensor):
        return rows.to("cpu", dtype)
    values = np.asarray(rows, dtype=np.float64 if dtype == torch.float64 else np.float32)
    return torch.from_numpy(values if values.flags.writeable else values.copy())


@dataclass(frozen=True, eq=False)
class Standardised:
    """Rows minus their mean, divided by their standard deviation, computed when a part is read.

    Args:
        rows: values [n, P].
        mean, std: [P], as `mean_and_std` returns them.
    """

    rows: Tensor | NDArray[Any]
    mean: Tensor
    std: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        count, width = self.rows.shape
        return count, width

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, part: slice, dtype: torch.dtype = torch.float64) -> Tensor:
        """Rows of a slice, [m, P]."""
        return (_read(self.rows[part], dtype) - self.mean.to(dtype)).div_(self.std.to(dtype))


def mean_and_std(rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, float32 [P], in two passes.

    The standard deviation of a column that is constant up to rounding is given as 1, so that it becomes 0 by
    standardising and has no influence.
    """
    count, width = rows.shape
    mean, square = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for _, part in chunks(rows):
        mean += part.sum(0) / count
    for _, part in chunks(rows):
        square += (part - mean).square().sum(0) / count
    std = square.sqrt()
    constant = std <= 1e-6 * mean.abs().clamp(min=1e-6)
    return mean.float(), std.masked_fill(constant, 1.0).float()
