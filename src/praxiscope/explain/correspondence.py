"""Images whose patches are replaced by the nearest patches of other images, by layer and scale.

J. Y.-H. Ng, F. Yang, L. S. Davis, "Exploiting Local Features from Deep Networks for Image Retrieval", CVPR Workshops
2015, after J. Long, N. Zhang, T. Darrell, "Do Convnets Learn Correspondence?", NeurIPS 2014.
A layer that tells places apart keeps the image recognisable. One that has abstracted from them shows the same few
patches again and again.

Axis letters: Q images, P = n * n positions of a map, k neighbours, S height and width of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.explanation import GREY, Explanation
from praxiscope.explain.film import Page, clean
from praxiscope.explain.patch_data import (
    MOST,
    LayerFeatures,
    alike,
    images_of,
    labels_of,
    search,
    searched_in,
)
from praxiscope.progress import Reporter
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.patches import (
    Grid,
    Images,
    Nearest,
    NearestPatches,
    file_numbers,
    middle_frame,
    read_patches,
)
from praxiscope.types import VideoRecord
from praxiscope.video.geometry import resize

__all__ = ["Reassembled", "explain_correspondence", "reassemble"]

_CELL, _GAP, _EDGE, _TITLE, _HEAD, _BELOW = 1.75, 0.08, 0.15, 0.56, 0.5, 0.42  # inches


@dataclass(frozen=True)
class Reassembled:
    """An image, made of the patches of others.

    Attributes:
        image: its id in the data, or its name.
        part, grid: the layer and its patches.
        neighbours: k; each patch is the mean of so many.
        pixels: uint8 [S, S, 3].
        distinct: different patches among the P * k that were found, as a share of these.
        same_label: share of the P * k patches that are of images with a label of this one; None if it is not known.
    """

    image: str
    part: Part
    grid: Grid
    neighbours: int
    pixels: NDArray[np.uint8]
    distinct: float
    same_label: float | None

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "image": self.image,
            "layer": str(self.part),
            "neighbours": self.neighbours,
            "positions": self.grid.across**2,
            "distinct": self.distinct,
            "same_label": self.same_label,
        }


def explain_correspondence(
    images: Sequence[str | Path],
    records: Sequence[VideoRecord],
    features: LayerFeatures,
    *,
    neighbours: Sequence[int] = (1, 5),
    frames: int = 3,
    most: int = MOST,
    reporter: Reporter | None = None,
) -> Explanation:
    """Draw images with each patch replaced by the mean of its nearest patches of other images.

    Args:
        images: images, or videos, of which the middle frame is taken. Patches of the same file and of its copies are
            not used, nor those of other frames of the same video.
        records: images and videos whose patches are used.
        features: of layers of a network.
        neighbours: numbers of nearest patches.
        frames: of each video.
        most: largest number of records that are used, evenly spaced.
        reporter: shows progress.

    Returns:
        The figure: a row for each image, with the image and what is made for each layer and number of neighbours. The
        facts are ``searched`` (images and frames), ``skipped`` (reasons by id) and ``made``, see `Reassembled`.

    Raises:
        ArgumentError: a number is invalid, or the output of a layer is not a map.
        DataError: fewer than two images, or fewer patches than neighbours.
        VideoError: an image cannot be read.
    """
    reporter = reporter or Reporter()
    if not images:
        raise ArgumentError("give at least one image")
    if not neighbours or min(neighbours) < 1:
        raise ArgumentError(f"neighbours must be numbers of at least 1, got {list(neighbours)}")
    data = images_of(records, features, frames, most, reporter)
    pictures, made, read = reassemble([Path(image) for image in images], data, features, neighbours, reporter)
    facts = {"searched": read, "skipped": dict(data.skipped), "made": [one.facts() for one in made]}
    return Explanation(_draw(pictures, made, searched_in(data, read, features)), facts)


def reassemble(
    images: Sequence[Path],
    data: Images,
    features: LayerFeatures,
    neighbours: Sequence[int],
    reporter: Reporter,
) -> tuple[list[NDArray[np.uint8]], list[Reassembled], int]:
    """Replace the patches of images; see `explain_correspondence`.

    Returns:
        The images, warped to the largest size, uint8 [S, S, 3]; for each image, layer and number of neighbours what is
        made, in this order; and the number of images and frames that were searched.
    """
    neighbours = list(dict.fromkeys(neighbours))
    files = file_numbers([*images, *(record.path for record in data.records)])
    own, data.files = files[: len(images)], files[len(images) :]
    shown = [middle_frame(VideoRecord(str(path), path, ()), data.short_side) for path in images]
    local = [features(one[None]) for one in shown]
    grids = [Grid.of(part, one.shape[1]) for part, one in zip(features.parts, local[0], strict=True)]
    searches = [
        NearestPatches(
            torch.cat([one[number][0] for one in local]),
            np.repeat(own, grid.across**2).tolist(),
            max(neighbours),
        )
        for number, grid in enumerate(grids)
    ]
    read = search(data, features, searches, reporter)
    found = [one.result() for one in searches]
    if not all(np.isfinite(one.distance).all() for one in found):
        raise DataError(
            f"the other images have fewer than {max(neighbours)} patches. Give more images, or fewer --neighbours."
        )
    sums, labels, made = _sums(data, grids, found, neighbours), labels_of(data), []
    for image, (path, file) in enumerate(zip(images, own, strict=True)):
        item = data.files.index(file) if file in data.files else None
        name = path.name if item is None else data.records[item].id
        for number, (part, grid) in enumerate(zip(features.parts, grids, strict=True)):
            rows = slice(image * grid.across**2, (image + 1) * grid.across**2)
            for count in neighbours:
                nearest = found[number].of(rows, count).patches()
                made.append(
                    Reassembled(
                        image=name,
                        part=part,
                        grid=grid,
                        neighbours=count,
                        pixels=_joined(np.rint(sums[number, count][rows] / count).astype(np.uint8), grid),
                        distinct=len(set(nearest)) / len(nearest),
                        same_label=alike(labels[item], [labels[other] for other, _, _ in nearest])
                        if item is not None
                        else None,
                    )
                )
    largest = max(part.size for part in features.parts)
    pictures = [resize(one[None], (largest, largest))[0].permute(1, 2, 0).numpy() for one in shown]
    return pictures, made, read


def _sums(
    data: Images, grids: Sequence[Grid], found: Sequence[Nearest], neighbours: Sequence[int]
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """For each part and k the sums of the k nearest patches, int64 [Q * P, side, side, 3]."""
    sums = {
        (number, count): np.zeros((len(one.item), grid.side, grid.side, 3), np.int64)
        for number, (grid, one) in enumerate(zip(grids, found, strict=True))
        for count in neighbours
    }
    for number, query, neighbour, patch in read_patches(data, grids, found):
        for count in neighbours:
            if neighbour < count:
                sums[number, count][query] += patch
    return sums


def _joined(patches: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """The picture of patches [P, side, side, 3]."""
    rows = patches.reshape(grid.across, grid.across, grid.side, grid.side, 3)
    return rows.swapaxes(1, 2).reshape(grid.across * grid.side, grid.across * grid.side, 3)


def _draw(pictures: Sequence[NDArray[np.uint8]], made: Sequence[Reassembled], subtitle: str) -> Any:
    """A row for each image."""
    across = len(made) // len(pictures)
    step, down = _CELL + _GAP, _CELL + _BELOW
    page = Page(2 * _EDGE + (1 + across) * step - _GAP, _TITLE + _HEAD + len(pictures) * down)
    page.write(_EDGE, 0.1, "Each patch replaced by the nearest patches of other images", fontsize=11)
    page.write(_EDGE, 0.34, subtitle, fontsize=8.5, color=GREY)
    for column, head in enumerate(["image", *(_head(one) for one in made[:across])]):
        page.write(_EDGE + column * step, _TITLE + _HEAD - 0.05, head, fontsize=7.5, va="bottom")
    for row, picture in enumerate(pictures):
        own = made[row * across : (row + 1) * across]
        cells = [(picture, clean(own[0].image, 28)), *((one.pixels, _caption(one)) for one in own)]
        for column, (pixels, caption) in enumerate(cells):
            x, y = _EDGE + column * step, _TITLE + _HEAD + row * down
            axes = page.axes(x, y, _CELL, _CELL)
            axes.imshow(pixels, aspect="auto", interpolation="nearest" if column else "antialiased")
            axes.set(xticks=[], yticks=[])
            page.write(x, y + _CELL + 0.04, caption, fontsize=7.5)
    return page.figure


def _head(one: Reassembled) -> str:
    nearest = "nearest patch" if one.neighbours == 1 else f"mean of the {one.neighbours} nearest patches"
    return f"{one.part.layer}, {one.part.size} pixels\n{one.grid}\n{nearest}"


def _caption(one: Reassembled) -> str:
    count = one.grid.across**2 * one.neighbours
    caption = f"{round(one.distinct * count)} different patches of {count}"
    return caption if one.same_label is None else f"{caption}\n{one.same_label:.0%} of the same label"
