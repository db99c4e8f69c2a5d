"""Query the available memory, and control whether the C library (glibc) keeps or releases freed memory."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

__all__ = [
    "KeptMemory",
    "available_memory",
    "keep_memory",
    "keep_worker_memory",
    "release_memory",
    "trim_memory",
]

# Parameters of mallopt (glibc's malloc.h), and the values that glibc adapts to in a process that frees large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_RELEASED = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20, _MMAP_MAX: 65536}
# A process that keeps freed memory uses up to two thirds more, because of fragmentation. It stops keeping memory if
# less than a tenth of its peak is available.
_MOST, _RESERVE = 1.7, 0.1
# Files of control groups, version 2 and version 1: the limit, the usage, and the reclaimable part of the usage.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def trim_memory() -> None:
    """Return freed memory to the operating system. Without glibc, do nothing."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: Windows
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory(most: int | None = None) -> bool:
    """Make the C library reuse freed memory instead of returning it to the system, for the rest of this process.

    By default, large blocks are allocated from the system, which clears every page, and are returned when they are
    freed: a network's activations in every step, the pixels of every clip.

    Args:
        most: Number of bytes to keep, below 2 GiB. None: all.

    Returns:
        Whether freed memory is now kept. Without glibc, False.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1 if most is None else most))


def release_memory() -> None:
    """Undo `keep_memory`: return free memory to the system, now and whenever it is freed later."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in _RELEASED.items():
            mallopt(name, value)
    trim_memory()


class KeptMemory:
    """Apply `keep_memory` during training while enough memory is available. Call it before every step.

    The first step runs without it, and its peak gives an estimate of the memory needed. If that exceeds the available
    memory, or if memory runs short later, freed memory is not kept any more.

    Args:
        processes: Number of processes on this machine that do the same.
    """

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self.kept = self._seen = self._refused = False

    def __call__(self) -> None:
        """Check the available memory, and start or stop keeping freed memory."""
        resident, peak = _own_memory()
        room = available_memory()
        if self._refused or not peak or room is None:
            return
        wanted = _RESERVE * peak if self.kept else _MOST * peak - resident
        if self.processes * wanted > room:
            self.close()
            self._refused = True
        elif not self.kept and self._seen:
            self.kept = keep_memory()
            self._refused = not self.kept
        self._seen = True

    def close(self) -> None:
        """Stop keeping freed memory."""
        if self.kept:
            release_memory()
        self.kept = False


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the number of bytes that processes can still allocate, or None if it is unknown (not on Linux).

    Args:
        root: Folder of ``proc`` and ``sys``.
    """
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii")
        free = _entry(text, "MemAvailable:") * 1024
    except (OSError, ValueError):
        return None
    for folder in _memory_groups(root):
        for limit, use, reclaimable in _GROUP_FILES:
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
                most = int((folder / limit).read_text(encoding="ascii"))
                used = int((folder / use).read_text(encoding="ascii"))
                cached = _entry((folder / "memory.stat").read_text(encoding="ascii"), reclaimable)
                free = min(free, max(0, most - used + cached))
    return free


def _memory_groups(root: Path) -> list[Path]:
    """Return the folders of this process's memory control group and of its parent groups."""
    mount, found = root / "sys/fs/cgroup", []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "" or "memory" in controllers.split(","):
                top = mount / "memory" if controllers else mount
                group = top / name.lstrip("/")
                found += [group, *(parent for parent in group.parents if parent.is_relative_to(top))]
    return found


def _own_memory() -> tuple[int, int]:
    """Return the resident memory of this process and its peak, in bytes; zeros if unknown."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return _entry(text, "VmRSS:") * 1024, _entry(text, "VmHWM:") * 1024
    except (OSError, ValueError):
        return 0, 0


def _entry(text: str, name: str) -> int:
    """Return the number after ``name`` at the start of a line. Raises ValueError if there is none."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    raise ValueError(name)


def keep_worker_memory(worker: int) -> None:
    """Apply `keep_memory` in a data loader's worker, limited to 1 GiB because there are several workers."""
    keep_memory(2**30)
