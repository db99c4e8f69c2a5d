"""The exceptions that praxiscope raises on purpose.

    PraxiscopeError(ValueError)
    ├── ArgumentError       an argument or a setting: what was expected, what came
    │   └── UnknownNameError    a name that no registry, class list or settings object knows
    ├── VideoError          a video file: which file, what happened at which frame, the remedy
    ├── DataError           a data set: lists, labels, splits
    ├── CheckpointError     weights or a run folder that cannot be loaded as asked
    ├── ScoresError         a scores file, or score files that do not fit together
    └── TrainingError       a run that cannot go on (NaN, too many broken videos)

All derive from ``ValueError``: a caller who knows nothing of praxiscope can still catch them.
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
    """Base of every error that praxiscope raises on purpose."""


class ArgumentError(PraxiscopeError):
    """An argument or a setting has a value that cannot be used."""


class UnknownNameError(ArgumentError):
    """A name that is not known where it was used."""


class VideoError(PraxiscopeError):
    """A video file cannot be read as asked.

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
        # Errors travel from worker processes by pickle, which would call __init__ with the message alone.
        return type(self), (str(self.path), self.problem, self.remedy, self.frame)


class DataError(PraxiscopeError):
    """A data set's files, lists, labels or splits are not usable."""


class CheckpointError(PraxiscopeError):
    """Weights or a run folder cannot be loaded as asked."""


class ScoresError(PraxiscopeError):
    """A scores file is damaged, or score files do not fit together."""


class TrainingError(PraxiscopeError):
    """A training run cannot go on."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Make the error for a name that is not known, with the nearest one that is."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(choices) if len(choices) <= 40 else f"{', '.join(choices[:40])}, … ({len(choices)})"
    return UnknownNameError(f"unknown {kind} {name!r}. {hint}Known: {listed or 'none'}.")
