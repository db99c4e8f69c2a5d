"""Options and results of `praxiscope.commands.index`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.errors import ArgumentError
from praxiscope.retrieval.encode_items import Reading
from praxiscope.retrieval.learning import Learning
from praxiscope.retrieval.nearest import KINDS
from praxiscope.retrieval.parts import Part

__all__ = ["IndexOptions", "IndexSummary"]


@dataclass(frozen=True)
class IndexOptions:
    """How a library is built.

    A feature store as data decides the network, the layer and the frames of a new library.

    Attributes:
        backbone, weights: see `praxiscope.inference.frame_network.create_frame_network`.
        layers: parts, ``LAYER@SIZE``; joined.
        learning: of the encoder.
        learn_from: data from which it is learned. None: the first data of the library.
        encoder: a library whose encoder is taken.
        reading: how videos are read.
        search: "auto", or a kind of `praxiscope.retrieval.nearest.KINDS`.
        annotations, split: see `praxiscope.data.manifest.load_records`.
        frame_folders: whether a folder of numbered images is one video; otherwise each image is an item.
        thumbs: whether thumbnails are stored.
        workers: number of processes; None: one per core.
        device: name of the device.
        max_skip: largest share of items that may be unreadable.
        retry: read items again that were skipped before.
    """

    backbone: str = "efficientnet_lite0"
    weights: str | None = None
    layers: Sequence[str] = ("blocks.4",)
    learning: Learning = field(default_factory=Learning)
    learn_from: str | None = None
    encoder: str | None = None
    reading: Reading = field(default_factory=Reading)
    search: str = "auto"
    annotations: Path | None = None
    split: int | str | None = None
    frame_folders: bool = False
    thumbs: bool = True
    workers: int | None = None
    device: str = "auto"
    max_skip: float | None = None
    retry: bool = False

    def made_with(self) -> dict[str, Any]:
        """The options that decide the encoder and the reading of a new library, by their names."""
        return {
            "backbone": self.backbone,
            "weights": self.weights,
            "layer": [str(Part.parse(text)) for text in self.layers],
            "words": self.learning.words,
            "dims": self.learning.dims,
            "learn_from": self.learn_from,
            "encoder": self.encoder,
            "seed": self.learning.seed,
            "fps": self.reading.fps,
            "window": self.reading.window_s,
            "stride": self.reading.stride_s,
        }

    def __post_init__(self) -> None:
        if self.search not in ("auto", *KINDS):
            raise ArgumentError(f"search must be auto, {', '.join(KINDS)}, got {self.search!r}")


@dataclass(frozen=True)
class IndexSummary:
    """The content of a library, and the result of a call.

    Attributes:
        items, rows, dims: of the library.
        added, changed, removed, kept: items of this data.
        skipped: items of this data that cannot be read.
        search: the kind of search.
        bytes: of all files.
        seconds: time that this took.
    """

    items: int
    rows: int
    dims: int
    added: int
    changed: int
    removed: int
    kept: int
    skipped: int
    search: str
    bytes: int
    seconds: float
