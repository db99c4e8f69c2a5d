"""Find the moments of one video that are most like a query.

n windows, D dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Moment", "best_moments"]


class Moment(NamedTuple):
    """A window of a video: start and end in seconds, and the cosine with the query, at most 1."""

    start_s: float
    end_s: float
    similarity: float


def best_moments(query: Tensor, vectors: Tensor, place_s: NDArray[np.float64], top: int = 10) -> list[Moment]:
    """The windows that are most like a query, the most similar first. Windows that overlap a better one are left out.

    Args:
        query: float [D], of length 1.
        vectors: of the windows, float [n, D], of length 1.
        place_s: start and end of each window, [n, 2].
        top: largest number of windows.
    """
    similar = (vectors.float() @ query.float()).clamp(max=1.0).tolist()
    found: list[Moment] = []
    for number in np.argsort(-np.array(similar), kind="stable").tolist():
        start_s, end_s = map(float, place_s[number])
        if len(found) == top:
            break
        if all(end_s <= other.start_s or start_s >= other.end_s for other in found):
            found.append(Moment(start_s, end_s, similar[number]))
    return found
