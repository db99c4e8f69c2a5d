"""What the pictures of patches share: the data that are searched, and the words on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.sheet import spread
from praxiscope.progress import Reporter
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.patches import Images, NearestPatches, find_patches
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["MOST", "LayerFeatures", "alike", "images_of", "labels_of", "search", "searched_in"]

MOST = 1000
"""Items that are searched, unless asked otherwise."""

_LEAST_SIDE = 224  # frames of videos are not decoded smaller than this


class LayerFeatures(Protocol):
    """The local features of frames; see `praxiscope.retrieval.encoder.LocalFeatures`.

    Attributes:
        parts: layers and sizes.
        backbone: name of the network, for display.
    """

    parts: tuple[Part, ...]

    @property
    def backbone(self) -> str: ...

    def __call__(self, frames: Tensor) -> Sequence[Tensor]:
        """uint8 [n, 3, H, W] to float32 [n, positions, d] for each part."""


def images_of(
    records: Sequence[VideoRecord], features: LayerFeatures, frames: int, most: int, reporter: Reporter
) -> Images:
    """The data that are searched: at most so many items, evenly spaced in their order.

    Raises:
        ArgumentError: a number is invalid, or there is no layer.
        DataError: fewer than two different files.
    """
    for name, value, least in (("frames", frames, 1), ("most", most, 2)):
        if value < least:
            raise ArgumentError(f"{name} must be at least {least}, got {value}")
    if not features.parts:
        raise ArgumentError("give at least one layer")
    chosen = [records[number] for number in spread(len(records), most)]
    if len(chosen) < len(records):
        reporter.line(f"Note: {len(chosen)} of {counted(len(records), 'item')} are searched; see --most.")
    found = Images(chosen, frames, max(_LEAST_SIDE, *(part.size for part in features.parts)))
    files = len(set(found.files))
    if files < 2:
        raise DataError(
            f"the data have {counted(files, 'image')} (copies count once), and patches are searched in other images. "
            "Give at least 2."
        )
    return found


def search(
    images: Images, features: LayerFeatures, searches: Sequence[NearestPatches], reporter: Reporter
) -> int:
    """Search the nearest patches, and say what could not be read. Returns the number of images and frames."""
    with reporter.bar("searching patches", None) as bar:
        read = find_patches(images, features, searches, bar.advance)
    if images.skipped:
        first = next(iter(images.skipped.values()))
        reporter.line(f"Note: {counted(len(images.skipped), 'item')} could not be read. {first}")
    return read


def searched_in(images: Images, read: int, features: LayerFeatures) -> str:
    """What was searched, for the subtitle."""
    items = counted(len(images.records) - len(images.skipped), "item")
    shown = items if read == len(images.records) - len(images.skipped) else f"{read} frames of {items}"
    lost = f"; {len(images.skipped)} could not be read" if images.skipped else ""
    return f"{features.backbone}; searched in {shown}{lost}"


def labels_of(images: Images) -> list[tuple[str, ...]]:
    """The labels of each item; none if all have the same."""
    known = [tuple(record.labels) for record in images.records]
    return known if len(set(known)) > 1 else [()] * len(known)


def alike(labels: Sequence[str], others: Sequence[Sequence[str]]) -> float | None:
    """The share of the others that have a label of these; None if no labels are known."""
    if not labels or not others or not any(others):
        return None
    return sum(bool(set(labels) & set(one)) for one in others) / len(others)
