"""How large a difference of two systems a number of test videos can show, before the systems are run."""

from __future__ import annotations

import numpy as np

from praxiscope.errors import ArgumentError

__all__ = ["power", "smallest_difference"]

LEVEL, WANTED = 0.05, 0.8
_TAIL = 1e-9


def power(videos: int, differing: float, difference: float, level: float = LEVEL) -> float:
    """The probability that the exact McNemar test, two-sided, shows a difference.

    Args:
        videos: number of independent test videos.
        differing: the share of videos that only one of the two systems classifies correctly, from 0 to 1.
        difference: of the accuracies, at most ``differing``.
        level: p values up to this show a difference.

    Raises:
        ArgumentError: a number is out of range.
    """
    from scipy.stats import binom

    if videos < 1:
        raise ArgumentError(f"videos must be at least 1, got {videos}")
    if not 0 < differing <= 1:
        raise ArgumentError(f"the share of differing videos must be above 0 and at most 1, got {differing:g}")
    if not 0 <= difference <= differing * (1 + 1e-9):
        raise ArgumentError(
            f"the difference must be from 0 to the share of differing videos, {differing:g}, got {difference:g}"
        )
    better = min(1.0, (1 + difference / differing) / 2)
    counts = np.arange(int(binom.ppf(_TAIL, videos, differing)), int(binom.isf(_TAIL, videos, differing)) + 1)
    # The largest number of videos on the side with fewer of them that is still significant; -1 for none.
    critical = binom.ppf(level / 2, counts, 0.5)
    critical = np.where(binom.cdf(critical, counts, 0.5) > level / 2, critical - 1, critical)
    shown = binom.cdf(critical, counts, better) + binom.cdf(critical, counts, 1 - better)
    return float((binom.pmf(counts, videos, differing) * np.where(critical < 0, 0.0, shown)).sum())


def smallest_difference(
    videos: int, differing: float, wanted: float = WANTED, level: float = LEVEL
) -> float | None:
    """The smallest difference of accuracies that is shown with a given probability, to 0.0005.

    Args:
        videos, differing, level: see `power`.
        wanted: the probability.

    Returns:
        The difference; None if even the largest possible one, ``differing``, is not shown so often.
    """
    low, high = 0.0, differing
    if power(videos, differing, high, level) < wanted:
        return None
    while high - low > 0.0005:
        middle = (low + high) / 2
        if power(videos, differing, middle, level) < wanted:
            low = middle
        else:
            high = middle
    return high
