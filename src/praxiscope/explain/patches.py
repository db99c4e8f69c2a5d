"""Patches and their nearest patches in other images, by layer and scale.

J. Y.-H. Ng, F. Yang, L. S. Davis, "Exploiting Local Features from Deep Networks for Image Retrieval", CVPR Workshops
2015. Here each image gives at most one patch to a row: an image, or a video, often has many
that are nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.explain.explanation import GREY, Explanation
from praxiscope.explain.film import Page
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
from praxiscope.retrieval.patches import Grid, Images, Nearest, NearestPatches, middle_frame, read_patches
from praxiscope.types import VideoRecord
from praxiscope.video.geometry import resize

__all__ = ["explain_patches"]

_TILE, _STEP = 0.44, 0.48  # inches, of a patch, and from one to the next
_EDGE, _TITLE, _HEAD, _BELOW, _BETWEEN, _LEAST_WIDTH = 0.15, 0.66, 0.24, 0.14, 0.3, 6.5
_SIDE = 64  # pixels of a patch at least: smaller ones are enlarged
_BORDER = 200  # grey


class _Reference(NamedTuple):
    """A sampled place: number of the item, its pixels uint8 [3, H, W], row and column from 0 to 1."""

    item: int
    pixels: Tensor
    row: float
    column: float

    def position(self, grid: Grid) -> int:
        """The patch of a grid that holds the place."""
        return int(self.row * grid.across) * grid.across + int(self.column * grid.across)


def explain_patches(
    records: Sequence[VideoRecord],
    features: LayerFeatures,
    *,
    rows: int = 8,
    columns: int = 10,
    frames: int = 3,
    most: int = MOST,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Explanation:
    """Draw sampled patches, each with its nearest patches of other images by their distance, for each layer.

    The references are at random places of different files, the same places for all layers; of a video in its middle
    frame. A row has at most one patch of each file.

    Args:
        records: images and videos.
        features: of layers of a network.
        rows: number of references; fewer if there are fewer files.
        columns: nearest patches of each; fewer if there are fewer files.
        frames: of each video.
        most: largest number of records that are used, evenly spaced.
        seed: of the references.
        reporter: shows progress.

    Returns:
        The figure with the facts ``searched`` (images and frames), ``skipped`` (reasons by id) and ``layers``: for each
        its ``layer``, ``patch`` (pixels), ``same_label`` (share of the found patches that are of images with a label of
        the reference; None if labels are not known) and ``rows``, with the ``image`` (id), ``row`` and ``column`` of
        the reference and, as ``found``, of the others with their ``distance``.

    Raises:
        ArgumentError: a number is invalid, or the output of a layer is not a map.
        DataError: fewer than two images.
    """
    reporter = reporter or Reporter()
    for name, value in (("rows", rows), ("columns", columns)):
        if value < 1:
            raise ArgumentError(f"{name} must be at least 1, got {value}")
    data = images_of(records, features, frames, most, reporter)
    references = _sampled(data, rows, seed)
    if not references:
        raise VideoError(data.records[0].path, "cannot be read, nor the others", "Check the data.")
    local = [features(one.pixels[None]) for one in references]
    grids = [Grid.of(part, one.shape[1]) for part, one in zip(features.parts, local[0], strict=True)]
    files = [data.files[one.item] for one in references]
    searches = [
        NearestPatches(
            torch.stack(
                [own[number][0, one.position(grid)] for own, one in zip(local, references, strict=True)]
            ),
            files,
            min(columns, len(set(data.files)) - 1),
            apart=True,
        )
        for number, grid in enumerate(grids)
    ]
    read = search(data, features, searches, reporter)
    found = [one.result() for one in searches]
    tiles = _tiles(data, grids, references, found)
    layers = [
        {
            "layer": str(part),
            "patch": grid.side,
            "same_label": _same_label(data, references, one),
            "rows": _rows(data, grid, references, one),
        }
        for part, grid, one in zip(features.parts, grids, found, strict=True)
    ]
    figure = _draw(features.parts, grids, tiles, searched_in(data, read, features))
    return Explanation(figure, {"searched": read, "skipped": dict(data.skipped), "layers": layers})


def _sampled(data: Images, rows: int, seed: int) -> list[_Reference]:
    """Random places of different files that can be read."""
    rng = np.random.default_rng(seed)
    seen: set[int] = set()
    found: list[_Reference] = []
    for item in rng.permutation(len(data.records)).tolist():
        if data.files[item] in seen:
            continue
        seen.add(data.files[item])
        try:
            pixels = middle_frame(data.records[item], data.short_side)
        except VideoError:
            continue  # the search says so
        found.append(_Reference(item, pixels, *rng.random(2).tolist()))
        if len(found) == rows:
            break
    return found


def _rows(data: Images, grid: Grid, references: Sequence[_Reference], found: Nearest) -> list[dict[str, Any]]:
    rows = []
    for number, one in enumerate(references):
        others = [
            {**_place(data, grid, int(item), int(position)), "distance": float(distance)}
            for item, position, distance in zip(
                found.item[number], found.position[number], found.distance[number], strict=True
            )
            if item >= 0
        ]
        rows.append({**_place(data, grid, one.item, one.position(grid)), "found": others})
    return rows


def _place(data: Images, grid: Grid, item: int, position: int) -> dict[str, Any]:
    row, column = divmod(position, grid.across)
    return {"image": data.records[item].id, "row": row, "column": column}


def _same_label(data: Images, references: Sequence[_Reference], found: Nearest) -> float | None:
    labels = labels_of(data)
    shares = [
        alike(labels[one.item], [labels[item] for item in own if item >= 0])
        for one, own in zip(references, found.item.tolist(), strict=True)
    ]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def _tiles(
    data: Images, grids: Sequence[Grid], references: Sequence[_Reference], found: Sequence[Nearest]
) -> list[NDArray[np.uint8]]:
    """For each part the patches, the references first, uint8 [rows, 1 + k, side, side, 3]; white where none is."""
    tiles = [
        np.full((len(one.item), 1 + one.item.shape[1], grid.side, grid.side, 3), 255, np.uint8)
        for grid, one in zip(grids, found, strict=True)
    ]
    for row, one in enumerate(references):
        for grid, own in zip(grids, tiles, strict=True):
            warped = resize(one.pixels[None], (grid.size, grid.size))[0]
            own[row, 0] = grid.cut(warped, one.position(grid))
    for number, row, column, patch in read_patches(data, grids, found):
        tiles[number][row, 1 + column] = patch
    return tiles


def _draw(
    parts: Sequence[Part], grids: Sequence[Grid], tiles: Sequence[NDArray[np.uint8]], subtitle: str
) -> Any:
    """A block for each layer, at most three side by side."""
    rows, columns = tiles[0].shape[:2]
    wide, high = (columns + 1) * _STEP - _TILE / 2, rows * _STEP
    down = -(-len(parts) // 3)
    across = -(-len(parts) // down)
    width = 2 * _EDGE + across * (wide + _BETWEEN) - _BETWEEN
    page = Page(max(width, _LEAST_WIDTH), _TITLE + down * (_HEAD + high + _BELOW))
    page.write(_EDGE, 0.1, "Patches and the nearest patches of other images", fontsize=11)
    page.write(
        _EDGE,
        0.34,
        f"{subtitle}. At the left a random patch, then the others by their distance, one of each image at most.",
        fontsize=8.5,
        color=GREY,
    )
    for number, (part, grid, own) in enumerate(zip(parts, grids, tiles, strict=True)):
        x = _EDGE + number % across * (wide + _BETWEEN)
        y = _TITLE + number // across * (_HEAD + high + _BELOW)
        page.write(x, y, f"{part.layer}, {part.size} pixels: {grid}", fontsize=8.5)
        axes = page.axes(x, y + _HEAD, wide, high)
        axes.imshow(_mosaic(own), aspect="auto", interpolation="nearest")
        axes.set_axis_off()
    return page.figure


def _mosaic(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture of all patches with grey borders, half a patch between the first column and the others."""
    scale = max(1, -(-_SIDE // tiles.shape[2]))
    large = tiles.repeat(scale, 2).repeat(scale, 3)
    rows, columns, side = large.shape[:3]
    gap, line = round(side * (_STEP - _TILE) / _TILE), max(1, side // 50)
    step = side + gap
    found = np.full((rows * step, (columns + 1) * step - side // 2, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * step, column * step + (step - side // 2 if column else 0)
            found[top : top + side, left : left + side] = _BORDER
            inner = large[row, column, line:-line, line:-line]
            found[top + line : top + side - line, left + line : left + side - line] = inner
    return found
