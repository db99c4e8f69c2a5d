"""Parse and format sizes, durations and counts."""

from __future__ import annotations

import re

from praxiscope.errors import ArgumentError

__all__ = ["counted", "describe_rate", "format_size", "parse_duration", "parse_size"]

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}


def parse_size(text: str) -> int:
    """Parse a size such as "6GiB", "500 MB" or "2g" (decimal without the i) to bytes.

    Raises:
        ArgumentError: If the text is not a size above 0.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = found.group(2).lower() if found else None
    if found is None or unit not in _UNITS or float(found.group(1)) <= 0:
        raise ArgumentError(f"memory {text!r}: expected a size such as 6GiB or 800MB")
    return int(float(found.group(1)) * _UNITS[unit])


def format_size(size: float) -> str:
    """Format a number of bytes, as "1.5 GiB" or "300 MiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def parse_duration(option: str, text: str) -> float:
    """Parse "2s", "500ms", "1.5m" or a plain number to seconds. Raises ArgumentError for other text."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|min|h)?\s*", text)
    seconds = 0.0
    if found:
        seconds = float(found[1]) * {"ms": 1e-3, "m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1.0)
    if seconds <= 0:
        raise ArgumentError(f"{option} {text}: expected a duration above 0, such as 2s, 500ms or 1.5")
    return seconds


def counted(number: int, one: str, many: str | None = None) -> str:
    """Format a number with its noun in singular or plural.

    Args:
        number: how many.
        one: singular noun or clause: "video", "video has".
        many: plural; None adds an s.

    Example:
        >>> counted(1, "video"), counted(2, "class is", "classes are")
        ('1 video', '2 classes are')
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def describe_rate(fps: float | None, max_seconds: float | None = None) -> str:
    """Format which frames of a video are read, to be put after their number; "" for every frame.

    Example:
        >>> describe_rate(1, 300)
        ' at 1 frame per second, of the first 300 s'
    """
    rate = "" if fps is None else f" at {fps:g} {'frame' if fps == 1 else 'frames'} per second"
    return rate + ("" if max_seconds is None else f", of the first {max_seconds:g} s")
