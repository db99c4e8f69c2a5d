"""Measure the time of the parts of a computation, for benchmarks. Without a clock, `timed` has almost no cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

__all__ = ["Clock", "timed"]


class Clock:
    """Measure seconds by part. Time in a nested part counts for the inner part only.

    Args:
        synchronise: called before each reading of the time, to wait for a device.

    Example:
        >>> clock = Clock()
        >>> with clock.running(), timed("sleep"):
        ...     time.sleep(0.1)
        >>> round(clock.seconds["sleep"], 1)
        0.1
    """

    def __init__(self, synchronise: Callable[[], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._synchronise, self._open, self._last = synchronise, list[str](), 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the parts that this thread marks with `timed`."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a block for a part."""
        self._read()
        self._open.append(name)
        try:
            yield
        finally:
            self._read()
            self._open.pop()

    def _read(self) -> None:
        if self._synchronise is not None:
            self._synchronise()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._last
        self._last = now


_current: ContextVar[Clock | None] = ContextVar("clock", default=None)


def timed(name: str) -> AbstractContextManager[None]:
    """Mark a block as a part of the computation; it is measured while a `Clock` is running."""
    clock = _current.get()
    return nullcontext() if clock is None else clock.part(name)
