"""Libraries: a folder with the vectors of images and videos, for search.

    library.json           the contract, how videos are read, and the names of the blocks that count
    encoder/               the vocabulary, the projection and the network
    blocks/*.safetensors   see `praxiscope.retrieval.blocks`; a file is never changed
    index/*.faiss          an approximate index of all rows, for large libraries
    skipped.csv            items that could not be read

An update writes new blocks, then replaces library.json. Whoever reads while it does, or after it was killed, sees the
library as it was before.

N rows, D dimensions, q queries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import DataError
from praxiscope.retrieval.blocks import Block, Item, read_block
from praxiscope.retrieval.nearest import Nearest, exact_index, open_index
from praxiscope.retrieval.state import block_path, read_state

__all__ = [
    "Hit",
    "Library",
]

_TRIES = 5  # to open a library that another process updates at the same time
_WIDER = 8  # rows for each item that is asked for: several rows may be of the same item


class Hit(NamedTuple):
    """An item that was found.

    similarity: the cosine of its nearest row and the query, at most 1.
    start_s, end_s: where in its file that row is, seconds; of an image 0.
    whole: whether the row is all of the item, not a window of it.
    """

    item: Item
    similarity: float
    start_s: float
    end_s: float
    whole: bool


class Library:
    """A library, for reading. What it has read does not change while another process updates the folder.

    Args:
        root: the folder.

    Attributes:
        root: the folder.
        state: see `State`.
        items: all items, in the order of their rows.

    Raises:
        DataError: the folder is no library, or a file of it is damaged.

    Example:
        >>> library = Library("library")
        >>> library.search(library.vectors_of(library.items[0].id)[0], top=3)
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        for left in reversed(range(_TRIES)):
            self.state = read_state(self.root)
            try:
                self._blocks = [read_block(block_path(self.root, name)) for name in self.state.blocks]
                self._nearest = self._open_index()
                break
            except DataError:  # an update may have replaced the files after library.json was read
                if not left or read_state(self.root) == self.state:
                    raise
                time.sleep(0.05)
        self.items = tuple(item for block in self._blocks for item in block.items)

    def __repr__(self) -> str:
        return f"Library({str(self.root)!r}, {len(self)} items, {self.rows} rows)"

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __contains__(self, id: object) -> bool:
        return id in self._numbers

    @property
    def rows(self) -> int:
        """N, number of vectors."""
        return sum(len(block.vectors) for block in self._blocks)

    @property
    def dims(self) -> int:
        """D, dimensions of a vector."""
        return int(self.state.contract["dims"])

    @property
    def exact(self) -> bool:
        """Whether a search compares all rows."""
        return not self.state.index

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {item.id: number for number, item in enumerate(self.items)}

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """The first row of each item, int64 [items + 1]."""
        return np.concatenate([[0], np.cumsum([item.rows for item in self.items], dtype=np.int64)])

    def _place(self, number: int) -> tuple[Block, int]:
        """The block of an item, and its number there."""
        for block in self._blocks:
            if number < len(block.items):
                return block, number
            number -= len(block.items)
        raise IndexError(number)

    def vectors_of(self, id: str) -> Tensor:
        """The vectors of an item, float32 [rows, D]: all of it, then its windows. Raises DataError for unknown ids."""
        block, number = self._place(self._number(id))
        return block.vectors[block.first[number] : block.first[number + 1]]

    def places_of(self, id: str) -> Tensor:
        """Start and end of each row of an item in seconds, float64 [rows, 2]."""
        block, number = self._place(self._number(id))
        return block.place_s[block.first[number] : block.first[number + 1]]

    def path_of(self, item: Item) -> Path:
        """The file of an item, where its data were when they were indexed last."""
        return Path(self.state.sources.get(item.source, ""), item.path)

    def thumbs(self, id: str) -> list[bytes]:
        """The thumbnails of an item, JPEG."""
        block, number = self._place(self._number(id))
        return block.thumbs(number)

    def _number(self, id: str) -> int:
        if id not in self._numbers:
            raise DataError(f"{id}: is not in {self.root}")
        return self._numbers[id]

    def search(self, query: Tensor, top: int = 10, *, without: Sequence[str] = ()) -> list[Hit]:
        """The items with the nearest rows, the most similar first; each item once.

        Args:
            query: float [D], of length 1.
            top: largest number of items.
            without: ids that are left out.
        """
        left_out = {self._numbers[id] for id in without if id in self._numbers}
        found: dict[int, Hit] = {}
        wanted = min(len(self), top + len(left_out))
        count = _WIDER * wanted
        while True:
            rows, similar = self._nearest.search(query.float().reshape(-1), min(count, self.rows))
            for row, value in zip(rows.tolist(), similar.tolist(), strict=True):
                number = int(np.searchsorted(self._first, row, side="right")) - 1
                if number not in found:
                    found[number] = self._hit(number, row - int(self._first[number]), value)
            if len(found) >= wanted or count >= self.rows:
                break
            count *= 4
        return [hit for number, hit in found.items() if number not in left_out][:top]

    def _hit(self, number: int, row: int, similarity: float) -> Hit:
        item = self.items[number]
        start_s, end_s = self.places_of(item.id)[row].tolist()
        return Hit(item, min(similarity, 1.0), start_s, end_s, row == 0)

    def _open_index(self) -> Nearest:
        if self.state.index:
            return open_index(self.root / "index" / self.state.index)
        return exact_index([block.vectors for block in self._blocks])
