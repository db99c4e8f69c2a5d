"""The patches that local features stand for, and the nearest patches of other images.

A local feature of a map of n x n positions, of an image warped to SIZE x SIZE pixels, stands for the square of SIZE / n
pixels at its place (J. Y.-H. Ng, F. Yang, L. S. Davis, CVPR Workshops 2015, after J. Long, N. Zhang, T. Darrell, "Do
Convnets Learn Correspondence?", 2014). The feature itself sees more of the image.

Features are compared while the images are read, and the pixels of the patches that were found are read afterwards, so
that memory does not grow with the number of images.

Axis letters: m queries, P = n * n positions of an image, d dimensions of a feature, k neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.reading import all_frames, frames_of
from praxiscope.types import VideoRecord
from praxiscope.video.framefiles import edge_digest
from praxiscope.video.geometry import resize

__all__ = [
    "Grid",
    "Images",
    "Nearest",
    "NearestPatches",
    "PatchFeatures",
    "file_numbers",
    "find_patches",
    "middle_frame",
    "read_patches",
]

PatchFeatures = Callable[[Tensor], Sequence[Tensor]]
"""Frames uint8 [n, 3, H, W] to the features of each part, float32 [n, P, d], such as
`praxiscope.retrieval.encoder.LocalFeatures`."""

_VALUES = 1 << 22  # distances that are in memory at once: 16 MiB in float32


class Grid(NamedTuple):
    """Where the patches of a map are.

    size: height and width of the warped image, pixels.
    across: n, rows and columns of the map.
    """

    size: int
    across: int

    @staticmethod
    def of(part: Part, positions: int) -> Grid:
        """The grid of a map with this number of positions.

        Raises:
            ArgumentError: the map is not square.
        """
        across = math.isqrt(positions)
        if across * across != positions:
            raise ArgumentError(f"the map of {part} is not square: it has {positions} positions")
        return Grid(part.size, across)

    def __str__(self) -> str:
        return f"{self.across} x {self.across} patches of {self.side} pixels"

    @property
    def side(self) -> int:
        """Height and width of a patch in pixels, rounded."""
        return max(1, round(self.size / self.across))

    def cut(self, warped: Tensor, position: int) -> NDArray[np.uint8]:
        """The patch of a position.

        Args:
            warped: uint8 [3, size, size].
            position: row * n + column.

        Returns:
            uint8 [side, side, 3].
        """
        top, left = (
            min(round(one * self.size / self.across), self.size - self.side)
            for one in divmod(position, self.across)
        )
        patch = warped[:, top : top + self.side, left : left + self.side]
        return patch.permute(1, 2, 0).cpu().numpy()


@dataclass
class Images:
    """Images, and a few frames of each video, which are read as often as they are needed.

    Attributes:
        records: the items.
        frames: of each video, evenly spaced.
        short_side: to which larger frames of videos are scaled, pixels.
        files: a number for the file of each item; see `file_numbers`.
        skipped: the reasons for items that could not be read, by id.
    """

    records: Sequence[VideoRecord]
    frames: int = 3
    short_side: int | None = None
    files: list[int] = field(init=False)
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = file_numbers([record.path for record in self.records])

    def read(self, items: Sequence[int] | None = None) -> Iterator[tuple[int, int, Tensor]]:
        """Yield the frames of all items, or of some: number of the item, number among its frames, uint8 [3, H, W]."""
        chosen = range(len(self.records)) if items is None else items
        # Items that break off give the same frames each time.
        skipped = self.skipped if items is None else dict[str, str]()
        last, place = -1, 0
        records = [self.records[number] for number in chosen]
        for number, part in all_frames(records, {"frames": self.frames}, skipped, short_side=self.short_side):
            place = place if number == last else 0
            last = number
            for pixels in part.pixels:
                yield chosen[number], place, pixels
                place += 1


def file_numbers(paths: Sequence[Path]) -> list[int]:
    """A number for each path. Copies of a file have the same, and so have several parts of one."""
    known: dict[str, int] = {}
    return [known.setdefault(_content(path), len(known)) for path in paths]


def _content(path: Path) -> str:
    try:
        return edge_digest(path)
    except (OSError, VideoError):  # it cannot be read
        return str(path)


def middle_frame(record: VideoRecord, short_side: int | None = None) -> Tensor:
    """An image, or the middle frame of a video, uint8 [3, H, W].

    Raises:
        VideoError: the file cannot be read.
    """
    for part in frames_of(record, {"frames": 1}, short_side=short_side):
        return part.pixels[0]
    raise VideoError(record.path, "has no frame", "Leave it out.")


class Nearest(NamedTuple):
    """The nearest patches of queries, the nearest first.

    item, frame: of the image, int64 [m, k]; see `Images.read`.
    position: of the patch, int64 [m, k].
    distance: L2, float32 [m, k]; infinite where there are fewer patches.
    """

    item: NDArray[np.int64]
    frame: NDArray[np.int64]
    position: NDArray[np.int64]
    distance: NDArray[np.float32]

    def of(self, queries: slice, count: int) -> Nearest:
        """The nearest few of some queries."""
        return Nearest(*(one[queries, :count] for one in self))  # type: ignore[arg-type]

    def patches(self) -> list[tuple[int, int, int]]:
        """Item, frame and position of each, in one list."""
        item, frame, position = (one.ravel().tolist() for one in self[:3])
        return list(zip(item, frame, position, strict=True))


class NearestPatches:
    """Keeps the nearest patches of queries while images come. Of equally near ones the first stays.

    Args:
        queries: float32 [m, d].
        files: the number of each query's file, whose patches are left out.
        count: k.
        apart: at most one patch of each file.
    """

    def __init__(self, queries: Tensor, files: Sequence[int], count: int, *, apart: bool = False) -> None:
        self._queries, self._count, self._apart = queries, count, apart
        self._files = torch.tensor(files, device=queries.device)
        self._distance = torch.full((len(queries), count), math.inf, device=queries.device)
        # File, item, frame and position of each neighbour.
        self._place = torch.full((len(queries), count, 4), -1, dtype=torch.int64, device=queries.device)

    def add(self, features: Tensor, *, item: int, frame: int, file: int) -> None:
        """Compare the patches of an image, [P, d]."""
        others = torch.nonzero(self._files != file)[:, 0]
        for rows in torch.split(others, max(1, _VALUES // len(features))):
            distance = _squared_distance(self._queries[rows], features)
            # After a few images most queries find nothing nearer, so this is looked at first.
            nearer = distance.amin(1) < self._distance[rows, -1]
            rows, distance = rows[nearer], distance[nearer]
            least, position = _least(distance, 1 if self._apart else min(self._count, len(features)))
            place = torch.tensor([file, item, frame, 0], device=position.device).expand(*position.shape, 4)
            place = torch.cat([place[..., :3], position[..., None]], -1)
            self._merge(rows, least, place)

    def _merge(self, rows: Tensor, distance: Tensor, place: Tensor) -> None:
        kept, kept_place = self._distance[rows], self._place[rows]
        if self._apart:  # the farther of two patches of a file goes
            same = kept_place[..., 0] == place[:, :1, 0]
            nearer = torch.where(same, kept, math.inf).amin(1, keepdim=True) <= distance
            distance = distance.masked_fill(nearer, math.inf)
            kept = kept.masked_fill(same & ~nearer, math.inf)
        all_distances, order = torch.cat([kept, distance], 1).sort(dim=1, stable=True)
        order = order[:, : self._count]
        places = torch.cat([kept_place, place], 1)
        self._distance[rows] = all_distances[:, : self._count]
        self._place[rows] = places.gather(1, order[..., None].expand(*order.shape, 4))

    def result(self) -> Nearest:
        """What was found."""
        _, item, frame, position = self._place.cpu().numpy().transpose(2, 0, 1)
        return Nearest(item, frame, position, self._distance.sqrt().cpu().numpy())


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared L2 distances of rows [m, d] and [P, d], [m, P]."""
    return torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1, keepdim=True)).clamp_(0)


def _least(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The least values of each row, and their places; of equal ones the first. Overwrites ``values``."""
    found = []
    for _ in range(count):
        least, place = values.min(1, keepdim=True)  # topk leaves open which of equal ones it takes
        values.scatter_(1, place, math.inf)
        found.append((least, place))
    return torch.cat([least for least, _ in found], 1), torch.cat([place for _, place in found], 1)


def find_patches(
    images: Images,
    features: PatchFeatures,
    searches: Sequence[NearestPatches],
    advance: Callable[[], None] = lambda: None,
) -> int:
    """Compare the patches of all images with queries. Returns the number of images and frames.

    Args:
        images: what is searched.
        features: of frames.
        searches: for each part one, which receives the patches.
        advance: called after each image or frame.

    Raises:
        DataError: nothing could be read.
    """
    count = 0
    for item, frame, pixels in images.read():
        for search, found in zip(searches, features(pixels[None]), strict=True):
            search.add(found[0], item=item, frame=frame, file=images.files[item])
        count += 1
        advance()
    if not count:
        reasons = next(iter(images.skipped.values()), "there are none")
        raise DataError(f"none of {len(images.records)} images and videos could be read: {reasons}")
    return count


def read_patches(
    images: Images, grids: Sequence[Grid], found: Sequence[Nearest]
) -> Iterator[tuple[int, int, int, NDArray[np.uint8]]]:
    """Read the pixels of nearest patches, in the order of the images.

    Args:
        images: what was searched.
        grids, found: for each part.

    Yields:
        Number of the part, of the query, of its neighbour, and the patch, uint8 [side, side, 3].
    """
    wanted = np.unique(np.concatenate([one.item.ravel() for one in found]))
    for item, frame, pixels in images.read(wanted[wanted >= 0].tolist()):
        warped: dict[int, Tensor] = {}
        for number, (grid, one) in enumerate(zip(grids, found, strict=True)):
            here = np.argwhere((one.item == item) & (one.frame == frame))
            if len(here) and grid.size not in warped:
                warped[grid.size] = resize(pixels[None], (grid.size, grid.size))[0]
            for query, neighbour in here.tolist():
                yield (
                    number,
                    query,
                    neighbour,
                    grid.cut(warped[grid.size], int(one.position[query, neighbour])),
                )
