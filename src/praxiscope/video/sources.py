"""Find out what is wrong with the path of a missing video: an address, a camera, a broken link."""

from __future__ import annotations

import os
import re
from pathlib import Path

from praxiscope.errors import ArgumentError, VideoError

__all__ = ["check_path", "check_there", "is_address", "meant", "missing", "no_file"]

# Path objects merge the two slashes of an address into one.
_ADDRESS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]+:/.*|(?:pipe|fd|tcp|udp|rtp|v4l2|dshow|avfoundation):.*", re.DOTALL
)
_CAMERA = re.compile(r"[0-9]{1,2}|/dev/video[0-9]+|(?:cam(?:era)?|webcam)[ _:]?[0-9]*", re.IGNORECASE)


def check_path(path: object) -> Path:
    """The path of a video.

    Raises:
        ArgumentError: not a path, for example the number of a camera or an open file.
        VideoError: not a valid file name.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(
            f"expected the path of a video, got {path!r}: cameras and open files are not supported"
        )
    if not (name := os.fsdecode(path)):
        raise VideoError("''", "is an empty name", "Give the path of a video.")
    if "\0" in name:
        raise VideoError(repr(name), "is not a file name: it contains a zero byte", "Check the path.")
    return Path(name)


def is_address(name: str) -> bool:
    """Whether the name of a missing file is an address, for example a URL."""
    return _ADDRESS.fullmatch(name) is not None


def meant(source: str | Path) -> tuple[str, str] | None:
    """The problem with the name of a missing file, as a clause, and its remedy, as a sentence; None if not known."""
    name = str(source)
    if not name:
        return "'' is an empty name", "Give a path."
    if name == "-":
        return (
            "is standard input, which is not supported",
            "Write the video to a file; only predict reads it.",
        )
    if name.startswith("file:"):
        return "is an address, which is not supported", "Give the path without 'file:'."
    if is_address(name):
        return (
            "is an address, which is not supported",
            "Download or record it, and give the path of the file; only predict reads live video.",
        )
    if _CAMERA.fullmatch(name):
        return "does not exist, and cameras are not supported", "Record a file; predict --camera N is live."
    if os.path.islink(name):  # noqa: PTH114  (pathlib raises for a name too long for a file)
        return f"is a broken link (to {Path(name).readlink()})", "Restore the file that it points to."
    return None


def no_file(source: str | Path, supported: str) -> str:
    """An error message for a missing file.

    Args:
        source: the name.
        supported: a sentence on what can be given instead.
    """
    problem, remedy = meant(source) or ("no such file or folder", "")
    name = f"{source}: " if str(source) else ""
    return " ".join(filter(None, (f"{name}{problem}.", remedy, supported)))


def missing(path: str | Path) -> VideoError:
    """The error for a missing video."""
    return VideoError(path, *(meant(path) or ("does not exist", "Check the path.")))


def check_there(path: str | Path) -> None:
    """Raise VideoError if a video does not exist."""
    if not os.path.exists(path):  # noqa: PTH110  (pathlib raises for a name too long for a file)
        raise missing(path)
