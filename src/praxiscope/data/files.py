"""What a reader of a data set hands over, and the search for videos in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from praxiscope.types import VideoRecord

__all__ = ["VIDEO_SUFFIXES", "Listing", "first_few", "is_video", "split_name", "video_id", "videos_below"]

#: Suffixes, in small letters, that make a file a video; ``.pxv`` is the packed format.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "divx", "flv", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "ogv", "pxv", "ts", "vob", "webm", "wmv"),
    )
)

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Listing:
    """What a reader found, before the set is checked and split.

    Attributes:
        records: the videos on disk; their split is None where the reader knows of none.
        classes: class names in the set's own order; None for alphabetical order.
        missing: listed, but not on disk.
        notes: sentences worth printing.
        multi_label: whether training takes a video with all of its labels at once; None where it does as soon
            as a video to train on has several.
    """

    records: Sequence[VideoRecord]
    classes: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    multi_label: bool | None = None


def is_video(path: Path) -> bool:
    """Whether the name is that of a video: a known suffix, and not hidden."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def video_id(path: Path) -> str:
    """A video's id from its path below the set's root; the packed ``clip.avi.pxv`` keeps ``clip.avi``."""
    return path.as_posix().removesuffix(".pxv")


def videos_below(folder: Path) -> Iterator[Path]:
    """Yield the videos in ``folder`` and its folders, sorted; hidden files and folders are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for name in sorted(files) if is_video(path := Path(parent, name)))


def split_name(text: str) -> str | None:
    """The split that ``text`` means ("train", "val", "test"), or None when it means none."""
    return _SPLIT_NAMES.get(text.strip().lower())


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first names as one phrase; the rest as an ellipsis."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
