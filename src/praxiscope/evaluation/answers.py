"""The answer "none of these": the threshold of a prediction. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from praxiscope.errors import ArgumentError

__all__ = ["NoneBelow", "find_threshold", "is_none", "parse_none_below"]

NoneBelow: TypeAlias = float | Literal["auto"] | None
"""A probability, "auto" for the threshold of the model's calibration, or None for no threshold."""


def find_threshold(none_below: NoneBelow, calibration: Mapping[str, Any]) -> float | None:
    """The threshold of a prediction.

    Args:
        none_below: what the caller asks for; 0 is the same as None.
        calibration: of the model (``ModelCard.calibration``).

    Returns:
        A probability above 0; None if there is no threshold.

    Raises:
        ArgumentError: not a probability.
    """
    if none_below == "auto":
        none_below = calibration.get("none_below")
    if none_below is None:
        return None
    if isinstance(none_below, str) or not 0 <= none_below <= 1:
        raise ArgumentError(f'none_below must be "auto", or a probability from 0 to 1, got {none_below!r}')
    return float(none_below) or None


def is_none(scores: Sequence[float], threshold: float | None) -> bool:
    """Whether the best of these probabilities, in descending order, is below the threshold."""
    return threshold is not None and scores[0] < threshold


def parse_none_below(text: str) -> NoneBelow:
    """The value of ``--none-below``: "auto", "off", or a number. Raises ArgumentError for other text."""
    if text == "auto":
        return "auto"
    if text == "off":
        return None
    try:
        return find_threshold(float(text), {})
    except (ValueError, ArgumentError):
        raise ArgumentError(
            f"--none-below {text}: expected auto, off, or a probability from 0 to 1, such as 0.3."
        ) from None
