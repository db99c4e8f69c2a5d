"""Report progress with lines and bars. The library calls a `Reporter`; only `ConsoleReporter` prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Bar", "ConsoleReporter", "Reporter", "clock"]


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds, 2:05, or with hours, 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bar:
    """A bar that is not drawn."""

    def advance(self, amount: int = 1, note: str = "", share: float | None = None) -> None:
        """Advance by ``amount``.

        Args:
            amount: units of the bar's total.
            note: a short text on the current state.
            share: fraction of the work that is done, if it is known more precisely than by units, such as for videos of
                different lengths.
        """


class Reporter:
    """Prints nothing. Base class of reporters that do."""

    def line(self, text: str = "") -> None:
        """Print one line."""

    @contextmanager
    def bar(self, description: str, total: int | None, done: int = 0) -> Iterator[Bar]:
        """Show progress towards ``total`` while the block runs."""
        yield Bar()


class _RichBar(Bar):
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task
        self._started = time.monotonic()

    def advance(self, amount: int = 1, note: str = "", share: float | None = None) -> None:
        if share:  # rich estimates by units
            left = (time.monotonic() - self._started) * (1 / share - 1)
            note = f"{note}, {clock(left)} left".removeprefix(", ")
        self._progress.update(self._task, advance=amount, note=note)


class _LineBar(Bar):
    """For logs: prints a line after each tenth of the work and after each minute, instead of a moving bar.

    Args:
        reporter: prints the lines.
        description, total, done: see `Reporter.bar`.
        tenths: False prints one line per minute only, for work inside other work.
    """

    MOST_S, LEAST_S = 60.0, 1.0  # between two lines

    def __init__(
        self, reporter: Reporter, description: str, total: int | None, done: int, tenths: bool = True
    ) -> None:
        self._reporter, self._description, self._total, self._done = reporter, description, total, done
        self._first, self._tenths = done, tenths
        self._started = self._printed_s = time.monotonic()
        self._printed = self._tenth(None)

    def _tenth(self, share: float | None) -> int:
        if share is not None:
            return int(share * 10)
        return self._done * 10 // self._total if self._total else 0

    def advance(self, amount: int = 1, note: str = "", share: float | None = None) -> None:
        self._done += amount
        now = time.monotonic()
        waited, tenth = now - self._printed_s, self._tenth(share)
        another = self._tenths and tenth > self._printed and waited >= self.LEAST_S
        if not another and waited < self.MOST_S:
            return
        self._printed_s, self._printed = now, tenth
        if share is None and self._total and self._total > self._first:
            share = (self._done - self._first) / (self._total - self._first)
        of_total = "" if self._total is None else f" of {self._total}"
        passed = now - self._started
        left = f", {clock(passed * (1 / share - 1))} left" if share else ""
        text = f"{self._description}: {self._done}{of_total}, {clock(passed)} elapsed{left}"
        self._reporter.line(f"{text}  {note}".rstrip())


class ConsoleReporter(Reporter):
    """Shows progress on standard error with rich; prints whole lines if it is not a terminal."""

    def __init__(self) -> None:
        self.console: Any = None
        self._progress: Any = None  # while bars are drawn
        self._open = 0
        if sys.stderr.isatty():
            from rich.console import Console

            self.console = Console(stderr=True, highlight=False)

    def line(self, text: str = "") -> None:
        if self.console is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self.console.print(text, markup=False)

    @contextmanager
    def bar(self, description: str, total: int | None, done: int = 0) -> Iterator[Bar]:
        if self.console is None:
            self._open += 1
            try:
                yield _LineBar(self, description, total, done, tenths=self._open == 1)
            finally:
                self._open -= 1
            return
        if self._progress is not None:  # nested work: show its bar below until it ends
            task = self._progress.add_task(description, total=total, completed=done, note="")
            try:
                yield _RichBar(self._progress, task)
            finally:
                self._progress.remove_task(task)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as self._progress:
            task = self._progress.add_task(description, total=total, completed=done, note="")
            try:
                yield _RichBar(self._progress, task)
            finally:
                self._progress = None
