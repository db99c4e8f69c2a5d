"""Shared functions of the layouts: the registry, finding and reading lists, and matching lists with files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from praxiscope.data.files import Listing, first_few, video_id, videos_below
from praxiscope.data.textfile import numbered_lines, read_text
from praxiscope.errors import DataError
from praxiscope.registry import Registry
from praxiscope.units import counted

__all__ = [
    "LAYOUTS",
    "Layout",
    "bare_stem",
    "find_lists",
    "list_text",
    "present_first",
    "read_lines",
    "split_number",
    "unlisted_note",
    "videos_by_stem",
]

#: ``layout(folder, split, annotations) -> Listing``.
Layout = Callable[[Path, "int | str | None", "Path | None"], Listing]

LAYOUTS: Registry[Layout] = Registry("layout", "praxiscope.layouts")


#: Functions that raise DataError for an unknown split, for the layouts with several splits.
SPLITS: dict[str, Callable[[int | str | None], object]] = {}


def split_number(split: int | str | None, name: str, count: int = 3) -> int:
    """Return the number of an official split, 1 for None. Raises DataError if it does not exist."""
    text = "1" if split is None else str(split)
    if not text.isdecimal() or not 1 <= int(text) <= count:
        raise DataError(f"{name} has the splits 1 to {count}, got {split!r}")
    return int(text)


def find_lists(folder: Path, annotations: Path | None, places: Sequence[str], pattern: str) -> Path | None:
    """Return the folder that contains the official lists, or None if it is not found.

    Args:
        folder: Folder of the videos.
        annotations: The user's folder of lists. If it is given, no other folder is searched.
        places: Folders to search, relative to ``folder``, in order.
        pattern: Glob pattern of a list's name.

    Raises:
        DataError: If ``annotations`` contains no such list.
    """
    if annotations is None:
        return next((place for name in places if any((place := folder / name).glob(pattern))), None)
    if not any(Path(annotations).glob(pattern)):
        raise DataError(
            f"{annotations}: contains no list named {pattern}. Give the folder of the official lists."
        )
    return Path(annotations)


def list_text(path: Path) -> str:
    """Return the text of an official list. Raises DataError if it does not exist or is not text."""
    if not path.is_file():
        raise DataError(f"{path}: no such list. Add it to the folder of official lists.")
    return read_text(path)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the non-empty lines of an official list with their numbers. Raises the errors of `list_text`."""
    return numbered_lines(list_text(path))


def bare_stem(video: Path) -> str:
    """Return a file's published name, without its suffix and without that of a packed copy."""
    return Path(video_id(Path(video.name))).stem


def videos_by_stem(folder: Path) -> dict[str, Path]:
    """Return the videos below ``folder`` by ``bare_stem`` in lower case: as published, converted or packed.

    Raises:
        DataError: If two videos have the same name.
    """
    found: dict[str, Path] = {}
    for path in videos_below(folder):
        other = found.setdefault(bare_stem(path).lower(), path)
        if other is not path:
            raise DataError(f"{folder}: {other} and {path} have the same name. Keep one of them.")
    return found


def present_first(missing: Sequence[str], classes: Collection[str]) -> tuple[str, ...]:
    """Sort missing videos ``CLASS/NAME``: those whose class is on disk come first, as they are unexpected."""
    return tuple(sorted(missing, key=lambda name: name.partition("/")[0] not in classes))


def unlisted_note(folder: Path, videos: Sequence[Path], what: str) -> tuple[str, ...]:
    """Return a note about videos that are in no list; empty if there are none."""
    if not videos:
        return ()
    names = first_few([path.relative_to(folder).as_posix() for path in videos])
    return (f"{counted(len(videos), 'video is', 'videos are')} {what} and left out: {names}",)
