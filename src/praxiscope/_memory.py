"""What Python has no word for: handing free memory back to the system."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["trim_memory"]


def trim_memory() -> None:
    """Let the C library give the memory that it keeps free back to the system; where it is not glibc, do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
