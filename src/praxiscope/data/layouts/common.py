"""What the layouts share: their registry, the search for lists, and the match of lists with files."""

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

LAYOUTS: Registry[Layout] = Registry("layout")


#: Of layouts whose splits have names or numbers: refuses all others.
SPLITS: dict[str, Callable[[int | str | None], object]] = {}


def split_number(split: int | str | None, name: str, count: int = 3) -> int:
    """The number of an official split, 1 when none is given. Raises DataError for one that is not."""
    text = "1" if split is None else str(split)
    if not text.isdecimal() or not 1 <= int(text) <= count:
        raise DataError(f"{name} has splits 1 to {count}, got {split!r}")
    return int(text)


def find_lists(folder: Path, annotations: Path | None, places: Sequence[str], pattern: str) -> Path | None:
    """The folder that holds the official lists, or None where it is at no known place.

    Args:
        folder: of the videos.
        annotations: the user's folder of lists; nothing else is searched when it is given.
        places: relative to ``folder``, in the order of search.
        pattern: glob for a list's name.

    Raises:
        DataError: ``annotations`` holds no such list.
    """
    if annotations is None:
        return next((place for name in places if any((place := folder / name).glob(pattern))), None)
    if not any(Path(annotations).glob(pattern)):
        raise DataError(
            f"{annotations}: contains no list named {pattern}. Give the folder of the official lists."
        )
    return Path(annotations)


def list_text(path: Path) -> str:
    """The text of an official list. Raises DataError where it is not there, or no text."""
    if not path.is_file():
        raise DataError(f"{path}: no such list. Add it to the folder of official lists.")
    return read_text(path)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """An official list's lines that are not empty, with their numbers; errors as `list_text`."""
    return numbered_lines(list_text(path))


def bare_stem(video: Path) -> str:
    """A file's name as the set published it, without its suffix and without that of a packed copy."""
    return Path(video_id(Path(video.name))).stem


def videos_by_stem(folder: Path) -> dict[str, Path]:
    """The videos below ``folder`` by ``bare_stem`` in small letters: as published, converted or packed.

    Raises:
        DataError: two videos have the same name, so that a list could mean either.
    """
    found: dict[str, Path] = {}
    for path in videos_below(folder):
        other = found.setdefault(bare_stem(path).lower(), path)
        if other is not path:
            raise DataError(f"{folder}: {other} and {path} have the same name. Keep one of them.")
    return found


def present_first(missing: Sequence[str], classes: Collection[str]) -> tuple[str, ...]:
    """Missing videos ``CLASS/NAME`` with those of classes on disk first: these are the surprising ones."""
    return tuple(sorted(missing, key=lambda name: name.partition("/")[0] not in classes))


def unlisted_note(folder: Path, videos: Sequence[Path], what: str) -> tuple[str, ...]:
    """A note on videos that no list names, or none."""
    if not videos:
        return ()
    names = first_few([path.relative_to(folder).as_posix() for path in videos])
    return (f"{counted(len(videos), 'video is', 'videos are')} {what} and left out: {names}",)
