"""How long work reports itself: lines and bars. The library speaks to a Reporter; only the terminal draws."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Bar", "ConsoleReporter", "Reporter"]


class Bar:
    """A bar that is not drawn."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Move on by ``amount``, with a few words on where things stand."""


class Reporter:
    """Says nothing. Base of those that do."""

    def line(self, text: str = "") -> None:
        """Say one line."""

    @contextmanager
    def bar(self, description: str, total: int | None, done: int = 0) -> Iterator[Bar]:
        """Show progress towards ``total`` while the block runs."""
        yield Bar()


class _RichBar(Bar):
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=amount, note=note)


class _LineBar(Bar):
    """For logs: a line now and then instead of a picture that moves."""

    EVERY_S = 30.0

    def __init__(self, reporter: Reporter, description: str, total: int | None, done: int) -> None:
        self._reporter, self._description, self._total, self._done = reporter, description, total, done
        self._spoken = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        if time.monotonic() - self._spoken >= self.EVERY_S:
            self._spoken = time.monotonic()
            of_total = "" if self._total is None else f" of {self._total}"
            self._reporter.line(f"{self._description}: {self._done}{of_total}  {note}".rstrip())


class ConsoleReporter(Reporter):
    """Draws with rich on standard error, so that standard output stays free for results."""

    def __init__(self) -> None:
        from rich.console import Console

        # Redirected output keeps whole lines: a file or a pipe is no 80-column screen.
        self.console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())

    def line(self, text: str = "") -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, description: str, total: int | None, done: int = 0) -> Iterator[Bar]:
        if not self.console.is_terminal:
            yield _LineBar(self, description, total, done)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(description, total=total, completed=done, note="")
            yield _RichBar(progress, task)
