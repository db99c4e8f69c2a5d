"""The result of a reader of data sets, and the search for videos in a folder."""

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

#: Suffixes of video files, in lower case; ``.pxv`` is the packed format.
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
    """The result of a reader of data sets, before the set is checked and split.

    Attributes:
        records: the videos that exist; their split is None if the set has none.
        classes: class names in the order of the set; None for alphabetical order.
        missing: names of videos that are listed but do not exist.
        notes: messages for the user.
        left_out: files, and links to folders, among the videos that are not read.
        official: whether the lists of a known set were read.
        split_notes: messages about the split, which are of no use where another split is made.
        multi_label: whether training uses all labels of a video at once; None for True if a training video has several
            labels.
    """

    records: Sequence[VideoRecord]
    classes: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[Path, ...] = ()
    official: bool = False
    split_notes: tuple[str, ...] = ()
    multi_label: bool | None = None


def is_video(path: Path) -> bool:
    """Whether a name has a suffix of video files and is not hidden."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def video_id(path: Path) -> str:
    """The id of a video: its path below the root of the set; ``clip.avi`` for the packed ``clip.avi.pxv``."""
    return path.as_posix().removesuffix(".pxv")


def walk(folder: Path, left_out: list[Path] | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk`, sorted, without hidden folders, and through links to folders.

    A link to a folder that contains the current one, or is inside it, is not followed, because its videos would repeat
    without end.

    Args:
        folder: where to start.
        left_out: links that are not followed and folders that cannot be read are appended to it.

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
    """The videos in ``folder`` and its subfolders, and the other files. Hidden files are ignored."""
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
    """Yield the videos in ``folder`` and its subfolders, sorted. Hidden files and folders are ignored."""
    yield from search(folder)[0]


def left_out_note(root: Path, left_out: Sequence[Path]) -> tuple[str, ...]:
    """Return notes with the number and names of files and folders left out below ``root``."""
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
    """The split ("train", "val", "test") for a name such as "training", or None."""
    return _SPLIT_NAMES.get(text.strip().lower())


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first names, separated by commas, with an ellipsis for the others."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
