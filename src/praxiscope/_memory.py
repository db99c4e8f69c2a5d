"""What Python has no word for: what the C library does with memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["keep_memory", "keep_worker_memory", "trim_memory"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4


def trim_memory() -> None:
    """Let the C library give the memory that it keeps free back to the system; where it is not glibc, do nothing."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: Windows
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory(most: int | None = None) -> bool:
    """Let the C library keep what is freed for what is needed next, for the rest of this process.

    By default a large block is got from the system, which fills it with zeros page by page, and is given back once it
    is freed: for a network's activations over and over, in every step; for a clip's pixels with each clip.

    Args:
        most: bytes that are kept, below 2 GiB; None: all.

    Returns:
        Whether it does; where it is not glibc, it does not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1 if most is None else most))


def keep_worker_memory(worker: int) -> None:
    """`keep_memory` as a data loader's processes call it, with their number: up to a gibibyte, as there are many."""
    keep_memory(2**30)
