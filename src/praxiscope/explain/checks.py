"""Checks of the arguments of pictures, before torch is imported."""

from __future__ import annotations

from pathlib import Path

from praxiscope.errors import ArgumentError
from praxiscope.run_folder import LOG_FILE

__all__ = ["check_log", "check_page_path", "check_picture_path", "check_square", "no_losses"]


_FORMATS = ("png", "jpg", "pdf", "svg")


def check_page_path(path: str | Path) -> Path:
    """Return the path if a page can be written there. Raise ArgumentError for another suffix or a missing folder."""
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"{path}: a page is an HTML file. Use a name that ends in .html.")
    return _in_folder(path)


def check_picture_path(path: str | Path) -> Path:
    """Return the path if a picture can be written there. Raise ArgumentError for another suffix or a missing folder."""
    path = Path(path)
    if path.suffix.lower().lstrip(".") not in _FORMATS:
        raise ArgumentError(
            f"{path}: the format is not supported. Use {', '.join('.' + name for name in _FORMATS)}."
        )
    return _in_folder(path)


def _in_folder(path: Path) -> Path:
    if not path.parent.is_dir():
        raise ArgumentError(f"{path}: the folder {path.parent} does not exist. Create it first.")
    return path


def no_losses(run: str | Path) -> ArgumentError:
    """Return the error for a run without logged losses."""
    return ArgumentError(f"{run}: has no losses in log.csv. Give a run that has finished its first step.")


def check_log(run: str | Path) -> None:
    """Raise ArgumentError if a run has no log."""
    if not (Path(run) / LOG_FILE).is_file():
        raise no_losses(run)


def check_square(square: float, stride: float, fill: str | None) -> None:
    """Raise ArgumentError for an occlusion that cannot be drawn; see `praxiscope.explain.occlusion.Occlusion`."""
    for name, value in (("square", square), ("stride", stride)):
        if not (0 < value < 1 or (value >= 1 and float(value).is_integer())):
            raise ArgumentError(
                f"{name} must be a whole number of pixels, or below 1 a fraction of the short side, got {value:g}"
            )
    if fill not in ("black", "mean", None):
        raise ArgumentError(f"fill must be 'black' or 'mean', got {fill!r}")
