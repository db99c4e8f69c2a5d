"""Sets of retrieval with their queries and what each should find: the published protocols as layouts.

    dvd:FOLDER         Stanford Mobile Visual Search, DVD covers: photographs are searched in the covers
    dvd-groups:FOLDER  the same images in Holidays' way: each object's cover searches its photographs among all images
    holidays:FOLDER    INRIA Holidays: the first image of each group searches the others
    oxford:FOLDER      Oxford Buildings; the lists (``*_query.txt``) are below the folder, or in --annotations
    paris:FOLDER       Paris, in the same format

Does not import torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.registry import Registry
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.image import is_image

__all__ = ["RETRIEVAL_LAYOUTS", "Query", "RetrievalSet", "by_label", "find_retrieval_set", "images_below"]


@dataclass(frozen=True)
class Query:
    """What one item should find.

    Attributes:
        item: its number among the items of the set.
        positives: numbers of the items to find.
        junk: numbers of items that neither help nor hurt; the item itself if it is not searched for.
    """

    item: int
    positives: frozenset[int]
    junk: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RetrievalSet:
    """A set of items, and the queries of its protocol.

    Attributes:
        name: for display.
        items: images or videos.
        searched: numbers of the items that are searched; the queries may be among them.
        queries: see `Query`.
        missing: names of items that are listed but do not exist.
    """

    name: str
    items: tuple[VideoRecord, ...]
    searched: tuple[int, ...]
    queries: tuple[Query, ...]
    missing: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Notes for the user."""
        if not self.missing:
            return []
        few = ", ".join(self.missing[:3]) + (", …" if len(self.missing) > 3 else "")
        return [f"{counted(len(self.missing), 'listed image')} of {self.name} not found: {few}"]


RetrievalLayout = Callable[[Path, Path], RetrievalSet]
"""A function of the folder of images and that of annotations."""

RETRIEVAL_LAYOUTS: Registry[RetrievalLayout] = Registry("layout of retrieval sets")


def find_retrieval_set(data: str, annotations: Path | None = None) -> RetrievalSet:
    """The set of ``LAYOUT:FOLDER``.

    Raises:
        UnknownNameError: the layout is unknown.
        DataError: the folder is missing, or has no image of the set.
    """
    name, colon, place = data.partition(":")
    if not colon:
        raise ArgumentError(f"{data}: give LAYOUT:FOLDER; layouts are {', '.join(RETRIEVAL_LAYOUTS.names())}")
    layout, folder = RETRIEVAL_LAYOUTS.get(name), Path(place)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = layout(folder, annotations or folder)
    if not found.queries:
        raise DataError(f"{folder}: no query of {name} has its image and an image to find. {_missing(found)}")
    return found


def _missing(found: RetrievalSet) -> str:
    return " ".join(found.notes) or "Check the folder."


def images_below(folder: Path) -> list[VideoRecord]:
    """All images below a folder, sorted, as items whose id is the path below it."""
    paths = sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())
    return [VideoRecord(path.relative_to(folder).as_posix(), path, (), None) for path in paths]


def by_label(
    data: str,
    of: str = "label",
    annotations: Path | None = None,
    split: int | str | None = None,
    *,
    part: str | None = None,
) -> RetrievalSet:
    """Each video of a data set searches the others: those of its label, or of its group, are to be found.

    Args:
        data: as for training.
        of: "label" or "group".
        annotations, split: see `praxiscope.data.manifest.load_records`.
        part: "train", "val" or "test": only these videos; None: all.

    Raises:
        ArgumentError: another word.
        DataError: no two videos are alike in this.
    """
    if of not in ("label", "group"):
        raise ArgumentError(f"of must be label or group, got {of!r}")
    manifest = load_records(data, annotations=annotations, split=split)
    items = manifest.records if part is None else manifest.of(part)
    names = [set(one.labels) if of == "label" else {one.group} - {None} for one in items]
    queries = []
    for number, own in enumerate(names):
        alike = {other for other, found in enumerate(names) if other != number and own & found}
        if alike:
            queries.append(Query(number, frozenset(alike), frozenset({number})))
    if not queries:
        raise DataError(f"{data}: no two {f'{part} ' if part else ''}videos have the same {of}")
    return RetrievalSet(f"{manifest.name} by {of}", items, tuple(range(len(items))), tuple(queries))


_PHONES = ("Canon", "Droid", "E63", "Palm")


@RETRIEVAL_LAYOUTS.register("dvd")
def dvd(folder: Path, annotations: Path) -> RetrievalSet:
    """240 photographs search 60 covers (V. Chandrasekhar et al., MMSys 2011)."""
    items = _dvd_items(folder)
    covers = {
        Path(item.id).stem: number for number, item in enumerate(items) if item.id.startswith("Reference/")
    }
    queries = tuple(
        Query(number, frozenset({covers[Path(item.id).stem]}))
        for number, item in enumerate(items)
        if not item.id.startswith("Reference/") and Path(item.id).stem in covers
    )
    return RetrievalSet("DVD covers", tuple(items), tuple(covers.values()), queries)


@RETRIEVAL_LAYOUTS.register("dvd-groups")
def dvd_groups(folder: Path, annotations: Path) -> RetrievalSet:
    """Each of 60 covers searches its four photographs among all images."""
    items = _dvd_items(folder)
    return _grouped("DVD covers, groups", items, [Path(item.id).stem for item in items], "Reference")


def _dvd_items(folder: Path) -> list[VideoRecord]:
    return [item for item in images_below(folder) if item.id.split("/")[0] in ("Reference", *_PHONES)]


def _grouped(
    name: str, items: Sequence[VideoRecord], groups: Sequence[str], leads: str | None
) -> RetrievalSet:
    """The lead of each group searches the others of it; it is the first, or the one whose id starts with ``leads``."""
    members: dict[str, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        members[group].append(number)
    queries = []
    for numbers in members.values():
        first = next((n for n in numbers if leads is None or items[n].id.startswith(f"{leads}/")), None)
        if first is not None and len(numbers) > 1:
            queries.append(Query(first, frozenset(numbers) - {first}, frozenset({first})))
    return RetrievalSet(name, tuple(items), tuple(range(len(items))), tuple(queries))


@RETRIEVAL_LAYOUTS.register("holidays")
def holidays(folder: Path, annotations: Path) -> RetrievalSet:
    """500 queries over 1,491 images, whose names are four digits of the group and two of the image (H. Jégou et al.,
    ECCV 2008). With the official ``holidays_images.dat`` in --annotations, images that are not there are named."""
    items = [item for item in images_below(folder) if len(item.path.stem) == 6 and item.path.stem.isdecimal()]
    found = _grouped("Holidays", items, [item.path.stem[:4] for item in items], None)
    # The query is the image 00 of a group; where it is missing, the group has none.
    queries = tuple(query for query in found.queries if items[query.item].path.stem.endswith("00"))
    lists = annotations / "holidays_images.dat"
    listed = lists.read_text(encoding="utf-8").split() if lists.is_file() else []
    known = {item.path.stem for item in items}
    missing = tuple(name for name in listed if Path(name).stem not in known)
    return RetrievalSet("Holidays", found.items, found.searched, queries, missing)


@RETRIEVAL_LAYOUTS.register("oxford")
def oxford(folder: Path, annotations: Path) -> RetrievalSet:
    """55 queries over 5,062 images (J. Philbin et al., CVPR 2007); whole images as queries."""
    return _landmarks("Oxford", folder, annotations)


@RETRIEVAL_LAYOUTS.register("paris")
def paris(folder: Path, annotations: Path) -> RetrievalSet:
    """55 queries over 6,392 images (J. Philbin et al., CVPR 2008); whole images as queries."""
    return _landmarks("Paris", folder, annotations)


def _landmarks(name: str, folder: Path, annotations: Path) -> RetrievalSet:
    """The protocol of Oxford and Paris. The image of a query is searched for, too, as in the official script."""
    lists = sorted(annotations.rglob("*_query.txt"))
    if not lists:
        raise DataError(
            f"{annotations}: no lists of {name} (*_query.txt, *_good.txt, *_ok.txt, *_junk.txt). Give their folder "
            "with --annotations."
        )
    items = images_below(folder)
    numbers = {item.path.stem: number for number, item in enumerate(items)}
    missing: dict[str, None] = {}

    def named(stems: Sequence[str]) -> set[int]:
        missing.update(dict.fromkeys(stem for stem in stems if stem not in numbers))
        return {numbers[stem] for stem in stems if stem in numbers}

    queries = []
    for place in lists:
        start = place.name.removesuffix("_query.txt")
        query = named([place.read_text(encoding="utf-8").split()[0].removeprefix("oxc1_")])
        good, okay, junk = (
            named(place.with_name(f"{start}_{kind}.txt").read_text(encoding="utf-8").split())
            for kind in ("good", "ok", "junk")
        )
        if query and good | okay:
            queries.append(Query(query.pop(), frozenset(good | okay), frozenset(junk)))
    return RetrievalSet(name, tuple(items), tuple(range(len(items))), tuple(queries), tuple(missing))
