"""Find items of a library that show nearly the same: the same film in two encodings, cropped, cut, flipped, slowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from praxiscope.data.label_trouble import NearDuplicate
from praxiscope.data.near_duplicates import near_duplicates
from praxiscope.errors import ArgumentError, DataError
from praxiscope.progress import Reporter
from praxiscope.retrieval.blocks import Item
from praxiscope.retrieval.library import Library
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["LEAST_SIMILARITY", "Duplicates", "check_duplicates"]

LEAST_SIMILARITY = 0.75
"""Similarity from which on two items of a library are near duplicates; see ``benchmarks/duplicates.md``."""


@dataclass(frozen=True, repr=False)
class Duplicates:
    """The result of a search for near duplicates in a library.

    Attributes:
        library: the folder.
        items: number of items that were compared.
        pairs: those across splits first, then those with different labels; the most similar first.
        more: number of further pairs, less similar than those.
        least_similarity: similarity from which on a pair is listed.
    """

    library: str
    items: int
    pairs: tuple[NearDuplicate, ...]
    more: int
    least_similarity: float

    @property
    def leaks(self) -> int:
        """Number of pairs in different splits."""
        return sum(pair.splits_differ for pair in self.pairs)

    def __str__(self) -> str:
        found = counted(len(self.pairs) + self.more, "pair")
        return (
            f"Near duplicates in {self.library}: {found} of {counted(self.items, 'item')}, {self.leaks} in different "
            f"splits (similarity {self.least_similarity:g} or more)."
        )

    def __repr__(self) -> str:
        return f"<Duplicates in {self.library}: {len(self.pairs)} pairs of {self.items} items>"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON."""
        return {
            "library": self.library,
            "items": self.items,
            "pairs": [pair.to_dict() for pair in self.pairs],
            "more": self.more,
            "least_similarity": self.least_similarity,
        }


def check_duplicates(
    library: str | Path,
    *,
    least: float = LEAST_SIMILARITY,
    most: int = 1000,
    reporter: Reporter | None = None,
) -> Duplicates:
    """Find pairs of items that show nearly the same.

    The similarity is the cosine of the vectors of whole items, as `praxiscope retrieve` prints it. Parts of one video
    are not compared.

    Args:
        library: its folder.
        least: similarity from which on a pair is found, above 0, at most 1.
        most: the largest number of pairs to return.
        reporter: shows progress.

    Raises:
        DataError: the folder is no library, or has fewer than two items.
    """
    if not 0 < least <= 1:
        raise ArgumentError(f"the least similarity must be above 0 and at most 1, got {least:g}")
    opened = Library(library)
    if len(opened) < 2:
        raise DataError(f"{library}: has {counted(len(opened), 'item')}; at least two are compared.")
    x = torch.stack([opened.vectors_of(item.id)[0] for item in opened.items]).float()
    numbers: dict[tuple[str, str], int] = {}
    sources = [numbers.setdefault((item.source, item.path), len(numbers)) for item in opened.items]
    with (reporter or Reporter()).bar("comparing items", len(opened)) as bar:
        found = near_duplicates(
            x, sources=sources, least=least, most=most, standardise=False, progress=bar.advance
        )
    records = [_record(opened, item) for item in opened.items]
    pairs = [
        NearDuplicate((records[one], records[other]), value, (0, 0)) for one, other, value in found.pairs
    ]
    pairs.sort(key=lambda pair: (not pair.splits_differ, not pair.labels_differ, -pair.similarity))
    return Duplicates(str(library), len(opened), tuple(pairs), found.more, least)


def _record(library: Library, item: Item) -> VideoRecord:
    return VideoRecord(
        item.id,
        library.path_of(item),
        item.labels,
        item.start_s,
        item.end_s,
        split=item.split,
        group=item.group,
    )
