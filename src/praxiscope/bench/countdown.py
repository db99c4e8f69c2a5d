"""Tell how many runs of a table are left, and about how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["Countdown"]


class Countdown:
    """Counts the runs that are not finished. The time of those that are left is the mean of those that were done.

    Args:
        results: the file that each run has when it is finished.
        reporter: prints a line for each run.
        clock: seconds.
    """

    def __init__(
        self, results: Iterable[Path], reporter: Reporter, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = {path for path in results if not path.is_file()}
        self._reporter, self._clock = reporter, clock
        self._runs, self._started = len(self._open), clock()

    def begin(self, result: Path, name: str) -> None:
        """Print a line for a run that is to be done; nothing for a finished one.

        Args:
            result: its file.
            name: its name in the line.
        """
        if result not in self._open:
            return
        left, done = len(self._open), self._runs - len(self._open)
        text = f"{name}; {counted(left, 'run')} left"
        if done:
            text += f", about {(self._clock() - self._started) / done * left / 60:.0f} min"
        self._reporter.line(text)
        self._open.discard(result)
