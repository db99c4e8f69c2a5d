"""OpenCV, which is an optional dependency."""

from __future__ import annotations

from typing import Any

from praxiscope.errors import ArgumentError

__all__ = ["opencv"]


def opencv() -> Any:
    """The module cv2. Raises ArgumentError if it is not installed."""
    try:
        import cv2
    except ImportError:
        raise ArgumentError("trajectories need OpenCV: pip install 'praxiscope[flow]'") from None
    return cv2
