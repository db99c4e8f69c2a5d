"""Arguments of explanations, checked before torch is imported."""

from __future__ import annotations

from pathlib import Path

from praxiscope.errors import ArgumentError

__all__ = ["check_log", "check_picture_path", "no_losses"]


_FORMATS = ("png", "jpg", "pdf", "svg")


def check_picture_path(path: str | Path) -> Path:
    """The path, if a picture can be written there. Raises ArgumentError for another suffix or a missing folder."""
    path = Path(path)
    if path.suffix.lower().lstrip(".") not in _FORMATS:
        raise ArgumentError(f"{path}: pictures are written as {', '.join('.' + name for name in _FORMATS)}")
    if not path.parent.is_dir():
        raise ArgumentError(f"{path}: there is no folder {path.parent}")
    return path


def no_losses(run: str | Path) -> ArgumentError:
    """The error for a run without logged losses."""
    return ArgumentError(f"{run}: has no log.csv with losses. Name a run that has made its first step.")


def check_log(run: str | Path) -> None:
    """Raise ArgumentError where there is no log of a run."""
    if not (Path(run) / "log.csv").is_file():
        raise no_losses(run)
