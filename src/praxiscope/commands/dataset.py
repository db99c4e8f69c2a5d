"""Generate synthetic data sets."""

from __future__ import annotations

from pathlib import Path

from praxiscope.data.move4mnist import Design, make_move4mnist
from praxiscope.progress import Reporter

__all__ = ["Design", "move4mnist"]


def move4mnist(
    out: str | Path,
    design: Design = Design(),
    *,
    videos: tuple[int, int] = (1800, 600),
    seed: int = 0,
    digits: str | Path | None = None,
    backgrounds: str | Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Generate Move4MNIST with a progress bar. See `praxiscope.data.move4mnist.make_move4mnist`."""
    reporter = reporter or Reporter()
    with reporter.bar("making videos", sum(videos)) as bar:
        seen = 0

        def advance(done: int, total: int) -> None:
            nonlocal seen
            bar.advance(done - seen)
            seen = done

        return make_move4mnist(
            out,
            design,
            videos=videos,
            seed=seed,
            digits=digits,
            backgrounds=backgrounds,
            workers=workers,
            progress=advance,
        )
