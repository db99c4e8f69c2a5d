"""Find clips that show nearly the same: the same video cut, cropped a little, or flipped.

Axis letters: n clips, D features of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from praxiscope.fitting.rows import Standardised, mean_and_std

__all__ = ["LEAST_SIMILARITY", "Pairs", "SimilarClips", "near_duplicates"]

LEAST_SIMILARITY = 0.85
"""Similarity from which on two clips are near duplicates, chosen on 162 clips of nine classes of UCF-101 (training
groups of split 1, EfficientNet-Lite0, 25 frames). The largest of the 13,041 similarities between different clips is
0.78. Of 27 copies of them of each kind, all that are flipped, cropped to 95 % of both sides, or cut to 70 % or to 50 %
of their length have 0.86 or more; 26 that are brighter, 19 that are cropped to 85 %, but none that is encoded at a
quarter of the pixels with strong compression (0.48 and more)."""

_BLOCK = 2048  # clips that are compared with as many others at once: 16 MB of similarities


class SimilarClips(NamedTuple):
    """Two clips by their numbers, the smaller first, and their similarity."""

    one: int
    other: int
    similarity: float


class Pairs(NamedTuple):
    """Similar clips, the most similar first, and the number of further pairs that are left out."""

    pairs: list[SimilarClips]
    more: int


def near_duplicates(
    x: Tensor,
    *,
    sources: Sequence[int] | None = None,
    least: float = LEAST_SIMILARITY,
    most: int = 1000,
    standardise: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Pairs:
    """Find all pairs of clips with nearly the same features.

    The similarity of two clips is the cosine of their features, standardised over all clips, so that what all clips
    share does not count. It needs three clips or more. All pairs are compared, a block at a time: the time grows with
    n², the memory with n.

    Args:
        x: features of the clips, float [n, D], for example those of a network averaged over time.
        sources: a number for each clip; pairs with the same number are known to be alike, and left out.
        least: similarity from which on a pair is found.
        most: the largest number of pairs to return.
        standardise: False compares the features as they are.
        progress: called with the number of clips that have been compared with all before them.
    """
    if len(x) < (3 if standardise else 2):
        return Pairs([], 0)
    unit = _unit_rows(x) if standardise else torch.nn.functional.normalize(x.float())
    kinds = torch.arange(len(x)) if sources is None else torch.as_tensor(sources)
    kept = torch.empty(0), torch.empty(0, 2, dtype=torch.int64)
    total = 0
    for last in range(0, len(x), _BLOCK):
        rows = slice(last, last + _BLOCK)
        for first in range(0, last + 1, _BLOCK):
            columns = slice(first, first + _BLOCK)
            similar = unit[rows] @ unit[columns].T
            wanted = (similar >= least) & (kinds[rows, None] != kinds[None, columns])
            if first == last:
                wanted = wanted.tril(-1)
            places = wanted.nonzero()
            total += len(places)
            values = torch.cat([kept[0], similar[wanted]])
            pairs = torch.cat([kept[1], places.flip(1) + torch.tensor([first, last])])
            best = values.argsort(descending=True, stable=True)[:most]
            kept = values[best], pairs[best]
        if progress is not None:
            progress(min(_BLOCK, len(x) - last))
    found = [
        SimilarClips(one, other, min(value, 1.0))
        for value, (one, other) in zip(kept[0].tolist(), kept[1].tolist(), strict=True)
    ]
    return Pairs(found, total - len(found))


def _unit_rows(x: Tensor) -> Tensor:
    """Standardised features of length 1, float32 [n, D]; clips without any difference from the mean are zero."""
    rows = Standardised(x, *mean_and_std(x))
    parts = [rows.read(slice(first, first + _BLOCK)) for first in range(0, len(x), _BLOCK)]
    return torch.cat([torch.nn.functional.normalize(part).float() for part in parts])
