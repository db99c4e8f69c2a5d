"""Sports-1M: lists of video addresses with the numbers of their classes; the videos are found by their ids.

A line of ``train_partition.txt`` or ``test_partition.txt`` is an address, a space, and one or several numbers separated
by commas. A number is that of a line of ``labels.txt``, from 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from praxiscope.data.files import Listing, first_few, video_id, videos_below
from praxiscope.data.layouts.common import (
    LAYOUTS,
    bare_stem,
    find_lists,
    list_text,
    read_lines,
    unlisted_note,
)
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["sports1m", "video_key"]

_PLACES = (".", "original", "annotations", "..", "../original", "../annotations", "../annotations/sports1m")
_LISTS = {"train": "train_partition.txt", "test": "test_partition.txt"}
_LABELS = "labels.txt"
_LINE = re.compile(r"(\S+)\s+(\d+(?:\s*,\s*\d+)*)")
_TITLED = re.compile(
    r"(?:.*\[([\w-]{6,})\]|.*-([\w-]{11}))"
)  # "TITLE [ID]" of yt-dlp, "TITLE-ID" of youtube-dl


@LAYOUTS.register("sports1m")
def sports1m(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the videos of Sports-1M, complete or in part, with its training and test lists.

    A training video with several labels is used once for each; a test video has all of its labels.

    Args:
        folder: folder of the videos, named by their ids (``UwB5IIjAkwk.mp4``) or by a title and the id, with any suffix
            of videos, in subfolders or not.
        split: must be None: the data set has a single split.
        annotations: folder of the lists. ``labels.txt`` is looked for there and in the folder above; without it, the
            names of the classes are their numbers.

    Returns:
        The videos on disk, and the classes that they have, in the order of ``labels.txt``.

    Raises:
        DataError: a split is given, the lists are missing or damaged, or two files have the same id.
    """
    if split is not None:
        raise DataError("sports1m has a single split, given by its lists. Leave split out.")
    place = find_lists(folder, annotations, _PLACES, "*_partition.txt")
    if place is None:
        looked = ", ".join(str(folder / name) for name in _PLACES)
        raise DataError(
            f"sports1m: the lists {' and '.join(_LISTS.values())} were not found in {looked}. Give their folder as "
            "annotations."
        )
    labels = next((path for path in (place / _LABELS, place.parent / _LABELS) if path.is_file()), None)
    names = None if labels is None else list_text(labels).rstrip("\n").split("\n")
    for number, label in enumerate(names or (), 1):
        if not label.strip():
            raise DataError(
                f"{labels}, line {number}: has no label. The line of a label is its class number."
            )
    videos = _Videos(folder)
    listed: dict[str, tuple[str, dict[int, None]]] = {}
    twice: list[str] = []
    for side, name in _LISTS.items():
        if not (place / name).is_file():
            continue
        for key, numbers in _read(place / name, names):
            known, own = listed.setdefault(key, (side, {}))
            if known == side:
                own.update(dict.fromkeys(numbers))
            else:
                twice.append(key)
    records, missing = [], []
    for key, (side, own) in listed.items():
        if (video := videos.pop(key)) is None:
            missing.append(key)
            continue
        classes = tuple(names[number].strip() if names else str(number) for number in own)
        records.append(VideoRecord(video_id(video.relative_to(folder)), video, classes, split=side))
    here = {label for record in records for label in record.labels}
    order = [name.strip() for name in names] if names else sorted(here, key=int)
    return Listing(
        records,
        tuple(name for name in order if name in here),
        tuple(missing),
        (*_notes(place, names, here, records, twice), *unlisted_note(folder, videos.rest(), "in no list")),
        multi_label=False,
    )


def video_key(address: str) -> str:
    """The id of a video from its address.

    Example:
        >>> video_key("http://www.youtube.com/watch?v=UwB5IIjAkwk&feature=related")
        'UwB5IIjAkwk'
    """
    parts = urlsplit(address)
    asked = parse_qs(parts.query).get("v")
    return asked[0] if asked else parts.path.rstrip("/").rpartition("/")[2]


class _Videos:
    """The videos below a folder by their ids, in which lower and upper case differ."""

    def __init__(self, folder: Path) -> None:
        self._exact: dict[str, list[Path]] = {}
        self._titled: dict[str, list[Path]] = {}
        self._folder = folder
        for path in videos_below(folder):
            stem = bare_stem(path)
            self._exact.setdefault(stem, []).append(path)
            if found := _TITLED.fullmatch(stem):
                self._titled.setdefault(found[1] or found[2], []).append(path)
        self._used: set[Path] = set()

    def pop(self, key: str) -> Path | None:
        """The file with this id; None if there is none. Raises DataError for several files."""
        found = self._exact.get(key) or self._titled.get(key) or []
        if len(found) > 1:
            raise DataError(
                f"{self._folder}: {found[0]} and {found[1]} are both the video {key}. Keep one of them."
            )
        self._used.update(found)
        return found[0] if found else None

    def rest(self) -> list[Path]:
        """The files that were not asked for."""
        return [path for paths in self._exact.values() for path in paths if path not in self._used]


def _read(path: Path, names: Sequence[str] | None) -> list[tuple[str, list[int]]]:
    """Return the id and the class numbers of each line."""
    found = []
    for number, line in read_lines(path):
        parts = _LINE.fullmatch(line)
        key = video_key(parts[1]) if parts else ""
        if parts is None or not key:
            raise DataError(
                f"{path}, line {number}: expected an address and class numbers, as in "
                f"http://www.youtube.com/watch?v=ID 0,12; got {line[:100]!r}"
            )
        numbers = [int(text) for text in parts[2].split(",")]
        if names is not None and max(numbers) >= len(names):
            raise DataError(
                f"{path}, line {number}: class {max(numbers)} is not in {_LABELS}, which has "
                f"{counted(len(names), 'line')}. Use the labels of these lists."
            )
        found.append((key, numbers))
    return found


def _notes(
    place: Path,
    names: Sequence[str] | None,
    here: set[str],
    records: Sequence[VideoRecord],
    twice: Sequence[str],
) -> list[str]:
    notes = []
    if names is None:
        notes.append(f"{place} holds no {_LABELS}: classes are named by their numbers.")
    elif absent := len(names) - len(here):
        notes.append(
            f"{absent} of the {counted(len(names), 'class', 'classes')} have no videos here and are left out."
        )
    several = sum(len(record.labels) > 1 and record.split == "train" for record in records)
    if several:
        notes.append(
            f"{counted(several, 'training video has', 'training videos have')} several labels: used once for "
            "each label."
        )
    if twice:
        notes.append(
            f"{counted(len(twice), 'video is', 'videos are')} in both lists, and used for training only: "
            f"{first_few(twice)}"
        )
    return notes
