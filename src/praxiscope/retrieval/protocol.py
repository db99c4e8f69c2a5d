"""Evaluate vectors by the protocol of a set: rank all items for each query.

Axis letters: N items, D dimensions, q queries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.retrieval.metrics import recall_at, trapezoidal_ap
from praxiscope.retrieval.sets import RetrievalSet

__all__ = ["Ranked", "evaluate"]

_QUERIES = 256  # whose distances are in memory at once


class Ranked(NamedTuple):
    """How well each query is answered.

    average_precision: float64 [q], trapezoidal.
    found_first: float64 [q], 1 where the first item is a positive.
    """

    average_precision: NDArray[np.float64]
    found_first: NDArray[np.float64]

    @property
    def map(self) -> float:
        """Mean average precision over the queries."""
        return float(self.average_precision.mean())

    @property
    def recall_1(self) -> float:
        """Recall@1: the share of queries whose first item is a positive."""
        return float(self.found_first.mean())


def evaluate(vectors: Tensor, found: RetrievalSet, present: NDArray[np.bool_] | None = None) -> Ranked:
    """Rank the searched items of each query by their distance; of equal distances the first item wins.

    Args:
        vectors: of all items, float [N, D], of length 1.
        found: the items and queries.
        present: bool [N], items that have a vector; None: all. Queries without one, or without a positive that has one,
            have average precision 0.

    Raises:
        ArgumentError: another number of vectors than of items.
    """
    if len(vectors) != len(found.items):
        raise ArgumentError(f"{len(vectors)} vectors for {len(found.items)} items")
    have = np.ones(len(vectors), dtype=bool) if present is None else present
    searched = [number for number in found.searched if have[number]]
    columns = vectors[searched].T
    precisions, firsts = [], []
    for start in range(0, len(found.queries), _QUERIES):
        queries = found.queries[start : start + _QUERIES]
        similar = vectors[[query.item for query in queries]] @ columns
        order = similar.argsort(dim=1, descending=True, stable=True)
        for query, row in zip(queries, order.tolist(), strict=True):
            ranked = [searched[place] for place in row] if have[query.item] else []
            answer = (ranked, query.positives, query.junk)
            precisions.append(trapezoidal_ap(*answer))
            firsts.append(recall_at(1, *answer))
    return Ranked(np.array(precisions), np.array(firsts))
