"""What a reader of a data set hands over, and the search for videos in a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from praxiscope.types import VideoRecord

__all__ = [
    "VIDEO_SUFFIXES",
    "Listing",
    "first_few",
    "is_video",
    "left_out_note",
    "search",
    "split_name",
    "video_id",
    "videos_below",
    "walk",
]

#: Suffixes, in small letters, that make a file a video; ``.pxv`` is the packed format.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "amv", "apng", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "ivf", "m2ts", "m4v"),
        *(
            "mjpeg",
            "mjpg",
            "mk3d",
            "mkv",
            "mov",
            "mp4",
            "mpe",
            "mpeg",
            "mpg",
            "mts",
            "mxf",
            "nut",
            "ogm",
            "ogv",
        ),
        *("pxv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv", "wtv", "xvid", "y4m"),
        # Streams without a container.
        *("264", "265", "h261", "h263", "h264", "h265", "hevc", "m1v", "m2t", "m2v", "mp2v", "obu"),
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
        left_out: files, and links to folders, that lie among the videos and are not read.
        official: whether a known set's own lists were read.
        multi_label: whether training takes a video with all of its labels at once; None where it does as soon
            as a video to train on has several.
    """

    records: Sequence[VideoRecord]
    classes: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[Path, ...] = ()
    official: bool = False
    multi_label: bool | None = None


def is_video(path: Path) -> bool:
    """Whether the name is that of a video: a known suffix, and not hidden."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def video_id(path: Path) -> str:
    """A video's id from its path below the set's root; the packed ``clip.avi.pxv`` keeps ``clip.avi``."""
    return path.as_posix().removesuffix(".pxv")


def walk(folder: Path, left_out: list[Path] | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk`, sorted, without hidden folders, and through links to folders.

    A link is not followed to a folder around one that is being read or inside it: its videos would come again, in a
    circle without end.

    Args:
        folder: where to begin.
        left_out: gets the links that are not followed, and the folders that cannot be read.

    Yields:
        A folder, and the names of its folders (those removed are not entered) and of its files.
    """
    left_out = [] if left_out is None else left_out
    entered = [folder.resolve()]

    def enter(path: Path) -> bool:
        if not path.is_symlink():
            return True
        target = path.resolve()
        if any(target.is_relative_to(root) or root.is_relative_to(target) for root in entered):
            left_out.append(path)
            return False
        entered.append(target)
        return True

    def note(error: OSError) -> None:
        left_out.append(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), folders, sorted(files)
        folders[:] = [name for name in folders if enter(Path(parent, name))]


def search(folder: Path) -> tuple[list[Path], list[Path]]:
    """The videos in ``folder`` and its folders, and what else lies there and is left out; hidden files are neither."""
    videos: list[Path] = []
    left_out: list[Path] = []
    for parent, _, files in walk(folder, left_out):
        for name in files:
            if is_video(path := parent / name):
                videos.append(path)
            elif not name.startswith("."):
                left_out.append(path)
    return videos, left_out


def videos_below(folder: Path) -> Iterator[Path]:
    """Yield the videos in ``folder`` and its folders, sorted; hidden files and folders are passed over."""
    yield from search(folder)[0]


def left_out_note(root: Path, left_out: Sequence[Path]) -> tuple[str, ...]:
    """Notes that count and name what is left out below ``root``, or none."""
    files = [path for path in left_out if path.exists() and not path.is_dir()]
    kinds = Counter(path.suffix.lower() or "without suffix" for path in files)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8))
    groups = {
        f"file|s, not named as a video is ({counts})": files,
        "folder|s, not readable, or linked from inside itself": [path for path in left_out if path.is_dir()],
        "broken link|s": [path for path in left_out if not path.exists()],
    }
    return tuple(
        f"Left out: {len(paths)} {what.replace('|s', 's' if len(paths) > 1 else '')}: {_names(root, paths)}"
        for what, paths in groups.items()
        if paths
    )


def _names(root: Path, paths: Sequence[Path]) -> str:
    return first_few(
        [(path.relative_to(root) if path.is_relative_to(root) else path).as_posix() for path in paths]
    )


def split_name(text: str) -> str | None:
    """The split that ``text`` means ("train", "val", "test"), or None when it means none."""
    return _SPLIT_NAMES.get(text.strip().lower())


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first names as one phrase; the rest as an ellipsis."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
