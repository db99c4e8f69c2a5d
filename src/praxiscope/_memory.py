"""What Python has no word for: memory that is free, and what the C library does with memory that is freed."""

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

# Of glibc's malloc.h; and what these settings come to by themselves in a process that frees large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_RELEASED = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20, _MMAP_MAX: 65536}
# A process that keeps its memory takes up to two thirds more: what is freed falls to pieces that do not fit again.
# Where less than a tenth of its peak is left to it, it stops.
_MOST, _RESERVE = 1.7, 0.1
# Of control groups, version 2 and version 1: a limit, what is used, and what of that can be had back.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


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


def release_memory() -> None:
    """End `keep_memory`: what is free now goes back to the system, and so does what is freed from here on."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in _RELEASED.items():
            mallopt(name, value)
    trim_memory()


class KeptMemory:
    """`keep_memory` for as long as there is room for it, asked before every step of a training.

    The first step goes without, and its peak says what keeping may take. Where that is more than there is, memory is
    not kept; nor any longer, where it runs short later.

    Args:
        processes: on this machine that do the same.
    """

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self.kept = self._seen = self._refused = False

    def __call__(self) -> None:
        """Decide anew."""
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
        """Keep nothing any longer."""
        if self.kept:
            release_memory()
        self.kept = False


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process and those beside it may still take; None where the system does not say (it is not Linux).

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii")
        free = _entry(text, "MemAvailable:") * 1024
    except (OSError, ValueError):
        return None
    for folder in _memory_groups(root):
        for limit, use, reclaimable in _GROUP_FILES:
            with contextlib.suppress(OSError, ValueError):  # not there, or "max": no limit
                most = int((folder / limit).read_text(encoding="ascii"))
                used = int((folder / use).read_text(encoding="ascii"))
                cached = _entry((folder / "memory.stat").read_text(encoding="ascii"), reclaimable)
                free = min(free, max(0, most - used + cached))
    return free


def _memory_groups(root: Path) -> list[Path]:
    """Folders of the control groups that this process's memory counts in: its own and those around it."""
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
    """Resident bytes of this process, now and at the peak; zeros where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return _entry(text, "VmRSS:") * 1024, _entry(text, "VmHWM:") * 1024
    except (OSError, ValueError):
        return 0, 0


def _entry(text: str, name: str) -> int:
    """The number behind a name at the beginning of a line. Raises ValueError where there is none."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    raise ValueError(name)


def keep_worker_memory(worker: int) -> None:
    """`keep_memory` as a data loader's processes call it, with their number: up to a gibibyte, as there are many."""
    keep_memory(2**30)
