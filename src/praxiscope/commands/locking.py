"""Folders that one run at a time may write to, and what killed runs have left in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from praxiscope.errors import ArgumentError

__all__ = ["locked", "remove_parts"]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Lock a folder: a second run would remove the unfinished files of the first.

    Raises:
        ArgumentError: another run writes to it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (target / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArgumentError(
                f"{target}: another run is writing to this folder. Wait until it ends."
            ) from None
        yield


def remove_parts(folders: Iterable[Path]) -> None:
    """Remove unfinished files that killed runs have left."""
    for part in (part for folder in folders for part in folder.glob(".*.part")):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
