"""From scores to probabilities, in numpy.

Axis letters: n videos, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.evaluation.scores import Scores

__all__ = ["probabilities", "sigmoid", "softmax"]


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of ``logits`` [..., K] over the last axis, as float64 [..., K]."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: ArrayLike) -> NDArray[np.float64]:
    """The probability of each class by itself, float64 of the same shape; large scores do not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def probabilities(scores: Scores, *, calibrated: bool = True) -> NDArray[np.float64]:
    """Class probabilities, float64 [n, K]: softmax, or sigmoids for a network that was trained with them.

    Args:
        scores: of n videos.
        calibrated: divide the scores by the temperature of the model, if it has one, before the softmax.
    """
    if scores.sigmoid:
        return sigmoid(scores.logits)
    return softmax(scores.logits / (scores.temperature if calibrated else 1.0))
