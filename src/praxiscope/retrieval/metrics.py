"""Metrics of retrieval. All are fractions from 0 to 1.

A ranking is a list of items, the most similar first.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from praxiscope.errors import ArgumentError

__all__ = ["recall_at", "trapezoidal_ap"]


def trapezoidal_ap(
    ranked: Sequence[Hashable], positives: Collection[Hashable], junk: Collection[Hashable] = ()
) -> float:
    """Average precision as the official scripts of Holidays, Oxford and Paris compute it.

    The area below the curve of precision over recall, by the trapezoidal rule: each positive adds the mean of the
    precision at its rank and of that at the rank before it, divided by the number of positives. Before the first rank
    the precision is 1. It is not `praxiscope.evaluation.metrics.average_precision`, which takes the precision at the
    positive alone.

    Args:
        ranked: the ranking, without the query. Positives that are not in it add 0.
        positives: the items to find.
        junk: items that are skipped, as if they were not in the ranking. A positive in it counts as junk.

    Raises:
        ArgumentError: there is no positive, or an item is ranked twice.
    """
    wanted, skipped = set(positives), set(junk)
    wanted -= skipped
    if not wanted:
        raise ArgumentError("positives must have at least one item that is not junk")
    if len(set(ranked)) != len(ranked):
        raise ArgumentError("ranked has an item twice")
    total, before, right, rank = 0.0, 1.0, 0, 0
    for item in ranked:
        if item in skipped:
            continue
        rank += 1
        right += item in wanted
        precision = right / rank
        if item in wanted:
            total += (before + precision) / 2
        before = precision
    return total / len(wanted)


def recall_at(
    k: int, ranked: Sequence[Hashable], positives: Collection[Hashable], junk: Collection[Hashable] = ()
) -> float:
    """1 if one of the first k items is a positive, otherwise 0 (recall@k of image retrieval); junk is skipped.

    Raises:
        ArgumentError: k is below 1.
    """
    if k < 1:
        raise ArgumentError(f"k must be at least 1, got {k}")
    skipped = set(junk)
    first = [item for item in ranked if item not in skipped][:k]
    return float(any(item in set(positives) - skipped for item in first))
