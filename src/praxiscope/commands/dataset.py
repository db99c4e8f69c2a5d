"""Data sets that are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from praxiscope.data.move4mnist import make_move4mnist
from praxiscope.progress import Reporter

__all__ = ["move4mnist"]


def move4mnist(
    out: str | Path, *, train: int, test: int, reporter: Reporter | None = None, **parameters: Any
) -> Path:
    """Make Move4MNIST with a progress bar; see ``praxiscope.data.move4mnist.make_move4mnist``."""
    reporter = reporter or Reporter()
    with reporter.bar("making videos", train + test) as bar:
        seen = 0

        def advance(done: int, total: int) -> None:
            nonlocal seen
            bar.advance(done - seen)
            seen = done

        return make_move4mnist(out, train=train, test=test, progress=advance, **parameters)
