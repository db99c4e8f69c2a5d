"""From scores to probabilities, in numpy.

Axis letters: K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["sigmoid", "softmax"]


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of ``logits`` [..., K] over the last axis, as float64 [..., K]."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: ArrayLike) -> NDArray[np.float64]:
    """The probability of each class by itself, float64 of the same shape; large scores do not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
