"""What somebody means who names a video that is no file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from praxiscope.errors import ArgumentError, VideoError

__all__ = ["check_path", "check_there", "is_address", "meant", "missing", "no_file"]

# Of a path, which has one of an address's two slashes.
_ADDRESS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]+:/.*|(?:pipe|fd|tcp|udp|rtp|v4l2|dshow|avfoundation):.*", re.DOTALL
)
_CAMERA = re.compile(r"[0-9]{1,2}|/dev/video[0-9]+|(?:cam(?:era)?|webcam)[ _:]?[0-9]*", re.IGNORECASE)


def check_path(path: object) -> Path:
    """A video's path as one.

    Raises:
        ArgumentError: it is something else, as the number of a camera or an open file.
        VideoError: no file can have that name.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(
            f"a video is named by its path, not by {path!r}: cameras and open files are not read"
        )
    if not (name := os.fsdecode(path)):
        raise VideoError("''", "is an empty name", "Check what it was to be.")
    if "\0" in name:
        raise VideoError(repr(name), "is no file's name, as it holds a zero byte", "Check the path.")
    return Path(name)


def is_address(name: str) -> bool:
    """Whether a name for which there is no file is an address, as of the web."""
    return _ADDRESS.fullmatch(name) is not None


def meant(source: str | Path) -> tuple[str, str] | None:
    """What a name for which there is no file means, as a clause, and the remedy, as a sentence; None for a mistake."""
    name = str(source)
    if not name:
        return "'' is an empty name", "Check what it was to be."
    if name == "-":
        return "is standard input, and only files are read", "Write the video to a file, and name that."
    if name.startswith("file:"):
        return "is an address, and only files are read", "Name the path alone."
    if is_address(name):
        return "is an address, and only files are read", "Download or record it, and name the file."
    if _CAMERA.fullmatch(name):
        return "does not exist, and cameras are not read", "Record a file, and name that."
    if os.path.islink(name):  # noqa: PTH114  (pathlib raises for a name too long for a file)
        return f"is a broken link (to {Path(name).readlink()})", "Restore the file that it leads to."
    return None


def no_file(source: str | Path, supported: str) -> str:
    """The line that says so of a name, with what may be named instead, as a sentence."""
    problem, remedy = meant(source) or ("no such file or folder", "")
    name = f"{source}: " if str(source) else ""
    return " ".join(filter(None, (f"{name}{problem}.", remedy, supported)))


def missing(path: str | Path) -> VideoError:
    """The error for a video that is not there."""
    return VideoError(path, *(meant(path) or ("does not exist", "Check the path.")))


def check_there(path: str | Path) -> None:
    """Raise VideoError where a video is not there."""
    if not os.path.exists(path):  # noqa: PTH110  (pathlib raises for a name too long for a file)
        raise missing(path)
