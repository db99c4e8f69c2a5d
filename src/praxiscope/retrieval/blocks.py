"""One file of a library: the vectors of a block of items, as safetensors, which is never changed.

    vectors   float32 [rows, D]
    place_s   float64 [rows, 2]     start and end of each row in its file, seconds
    thumbs    uint8 [bytes]         JPEG images, one after the other

The header's metadata list the items in the order of their rows: the first row of an item is all of it, the others are
its windows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from praxiscope.errors import DataError
from praxiscope.video.picturefile import replacing

__all__ = ["Block", "Item", "NewItem", "read_block", "write_block"]


@dataclass(frozen=True)
class Item:
    """What a library knows of an image, a video, or a part of one.

    Attributes:
        id: the path below the folder of its data, with ``@start-end`` for a part.
        path: below the folder of its data, or absolute.
        source: key of the data that it belongs to.
        mark: of the content of its file, by which a changed one is found.
        kind: "image" or "video".
        rows: number of its vectors: all of it, then its windows.
        thumbs: bytes of each of its thumbnails.
        labels, split, group: of its record.
        start_s, end_s: the part, if it is one.
        damage: the frames that do not decode, as a clause; empty for none.
    """

    id: str
    path: str
    source: str
    mark: str
    kind: str
    rows: int
    thumbs: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    damage: str = ""


@dataclass(frozen=True)
class NewItem:
    """An item with its content.

    Attributes:
        item: see there.
        vectors: float32 [rows, D].
        place_s: float64 [rows, 2].
        thumbs: JPEG images.
    """

    item: Item
    vectors: Tensor
    place_s: NDArray[np.float64]
    thumbs: Sequence[bytes] = field(default=())


@dataclass(frozen=True)
class Block:
    """A block, mapped into memory.

    Attributes:
        path: the file.
        items: in the order of their rows.
        vectors, place_s: see the file.
        first: first row of each item, and the number of all rows at the end.
        encoder: digest of the encoder and of how videos were read.
    """

    path: Path
    items: tuple[Item, ...]
    vectors: Tensor
    place_s: Tensor
    first: tuple[int, ...]
    encoder: str
    _thumbs: Tensor

    def thumbs(self, number: int) -> list[bytes]:
        """The thumbnails of an item."""
        place = sum(sum(item.thumbs) for item in self.items[:number])
        found = []
        for size in self.items[number].thumbs:
            found.append(self._thumbs[place : place + size].numpy().tobytes())
            place += size
        return found

    def take(self, number: int) -> NewItem:
        """An item with its content, to write it to another block."""
        rows = slice(self.first[number], self.first[number + 1])
        return NewItem(
            self.items[number], self.vectors[rows], self.place_s[rows].numpy(), self.thumbs(number)
        )


def write_block(path: Path, items: Sequence[NewItem], encoder: str) -> None:
    """Write a block. The file appears complete.

    Args:
        path: the file.
        items: at least one.
        encoder: digest of the encoder and of how videos were read.
    """
    dims = items[0].vectors.shape[1]
    thumbs = b"".join(image for item in items for image in item.thumbs)
    tensors = {
        "vectors": torch.cat([item.vectors.float().reshape(-1, dims) for item in items]),
        "place_s": torch.from_numpy(np.concatenate([item.place_s for item in items])),
        "thumbs": torch.frombuffer(bytearray(thumbs or b"\0"), dtype=torch.uint8),
    }
    about = {
        "items": json.dumps([asdict(item.item) for item in items], ensure_ascii=False),
        "encoder": encoder,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(save_tensors(tensors, about))
        file.flush()


def read_block(path: Path) -> Block:
    """Map a block into memory.

    Raises:
        DataError: the file is missing, cut off or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            about: Any = file.metadata()
            encoder = str(about["encoder"])
            items = tuple(_item(entry) for entry in json.loads(about["items"]))
            vectors, place_s, thumbs = (file.get_tensor(name) for name in ("vectors", "place_s", "thumbs"))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: the block is missing or damaged ({error}). Remove the library, and run `praxiscope index` again."
        ) from error
    first = [0]
    for item in items:
        first.append(first[-1] + item.rows)
    if first[-1] != len(vectors) or tuple(place_s.shape) != (len(vectors), 2):
        raise DataError(
            f"{path}: the block is damaged: its items do not have its rows. Remove the library, and run `praxiscope "
            "index` again."
        )
    return Block(path, items, vectors, place_s, tuple(first), encoder, thumbs)


def _item(entry: dict[str, Any]) -> Item:
    return Item(**{**entry, "thumbs": tuple(entry["thumbs"]), "labels": tuple(entry["labels"])})
