"""The exceptions that praxiscope raises.

    PraxiscopeError(ValueError)
    ├── ArgumentError       an argument or a setting has a value that cannot be used
    │   └── UnknownNameError    an unknown name
    ├── VideoError          a video file cannot be read
    ├── DataError           files, lists, labels or splits of a data set
    ├── CheckpointError     weights or a run folder that cannot be loaded
    ├── ScoresError         a scores file, or scores files that do not match
    └── TrainingError       a run that cannot continue (NaN, too many broken videos)

All derive from ``ValueError``, so code that does not import praxiscope can catch them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "DataError",
    "PraxiscopeError",
    "ScoresError",
    "TrainingError",
    "UnknownNameError",
    "VideoError",
    "unknown_name",
]


class PraxiscopeError(ValueError):
    """Base class of praxiscope's exceptions."""


class ArgumentError(PraxiscopeError):
    """An argument or a setting has a value that cannot be used."""


class UnknownNameError(ArgumentError):
    """An unknown name of a model, layout, setting and so on."""


class VideoError(PraxiscopeError):
    """A video file cannot be read.

    Args:
        path: the file.
        problem: what happened, as a clause ("contains no video stream").
        remedy: what the user can do, as a sentence.
        frame: number of the frame at which it happened, if one is known.
    """

    def __init__(self, path: str | Path, problem: str, remedy: str, frame: int | None = None) -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        self.frame = frame
        where = "" if frame is None else f" at frame {frame}"
        super().__init__(f"{path}: {problem}{where}. {remedy}")

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str, str, int | None]]:
        # Errors are pickled in worker processes; the default would call __init__ with the message only.
        return type(self), (str(self.path), self.problem, self.remedy, self.frame)


class DataError(PraxiscopeError):
    """The files, lists, labels or splits of a data set cannot be used."""


class CheckpointError(PraxiscopeError):
    """Weights or a run folder cannot be loaded."""


class ScoresError(PraxiscopeError):
    """A scores file is damaged, or scores files do not match."""


class TrainingError(PraxiscopeError):
    """A training run cannot continue."""


_LISTED = 40
_NEAREST = 5


def unknown_name(kind: str, name: str, known: Iterable[str], *, in_order: bool = False) -> UnknownNameError:
    """Return the error for an unknown name, which suggests the nearest known name.

    The message lists the known names, or only the nearest of many.

    Args:
        kind: kind of the name, for the message.
        name: the unknown name.
        known: the known names.
        in_order: list the names in their order, and not sorted.
    """
    choices = list(known) if in_order else sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    if len(choices) > _LISTED:
        nearest = difflib.get_close_matches(name, choices, n=_NEAREST, cutoff=0.0)
        listed = f"Nearest of {len(choices)}: {', '.join(nearest)}"
    else:
        listed = f"Known: {', '.join(choices) or 'none'}"
    return UnknownNameError(f"unknown {kind} {name!r}. {hint}{listed}.")
