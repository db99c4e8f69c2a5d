"""Rows of features [n, P] of any length, in memory or mapped from a file, read a part at a time."""

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

__all__ = ["Standardised", "chunks", "in_memory", "mean_and_std"]

_CHUNK = 4_000_000
"""Numbers that are read at once; 32 MB in float64."""


def chunks(rows: Rows) -> Iterator[tuple[slice, Tensor]]:
    """The rows from the first to the last, a part at a time: which, and their values, float64 [m, P]."""
    count, width = rows.shape
    step = max(1, _CHUNK // max(width, 1))
    for first in range(0, count, step):
        part = slice(first, min(first + step, count))
        yield part, _float64(rows[part])


def in_memory(rows: Rows) -> Rows:
    """Rows that are few enough are read once, as float64 [n, P]; more stay where they are."""
    count, width = rows.shape
    return torch.cat([part for _, part in chunks(rows)]) if 0 < count * width <= 4 * _CHUNK else rows


def _float64(rows: Any) -> Tensor:
    if isinstance(rows, Tensor):
        return rows.to("cpu", torch.float64)
    return torch.from_numpy(np.asarray(rows, dtype=np.float64))


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

    def __getitem__(self, part: slice) -> Tensor:
        """Rows of a slice, float64 [m, P]."""
        return (_float64(self.rows[part]) - self.mean.double()) / self.std.double()


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
