"""How much memory something takes at its peak, measured, and how many snippets fit into a given one."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from praxiscope.errors import ArgumentError

__all__ = ["PeakMemory", "fit_snippets", "parse_size", "say_size"]

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}
# What a step's peak may be above the line through two measured ones.
_MARGIN = 1.05


def parse_size(text: str) -> int:
    """Bytes of a size in words: "6GiB", "500 MB", "2g" (decimal without the i).

    Raises:
        ArgumentError: another text, or no size above 0.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = found.group(2).lower() if found else None
    if found is None or unit not in _UNITS or float(found.group(1)) <= 0:
        raise ArgumentError(f"memory {text!r}: expected a size such as 6GiB or 800MB")
    return int(float(found.group(1)) * _UNITS[unit])


def say_size(size: float) -> str:
    """Bytes in words: "1.5 GiB", "300 MiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


class PeakMemory:
    """The largest memory since it was made: of a CUDA device, or of this process.

    Of a process it is the resident set's peak, which Linux can set back; reading processes are not in it.

    Raises:
        ArgumentError: this system cannot tell.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        with suppress(OSError, AttributeError):
            # Free memory that the C library keeps would hide what is taken next.
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            raise ArgumentError(
                f"the peak memory of a process on {self.device.type!r} cannot be measured on this system; it needs "
                "Linux, or a CUDA device"
            ) from None

    def read(self) -> int:
        """Bytes at the peak so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return int(torch.cuda.max_memory_reserved(self.device))
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def fit_snippets(
    run: Callable[[int], None], budget: int, device: torch.device, *, unit: int = 1, extra: int = 0
) -> int:
    """The most snippets that one pass may have, so that its peak stays within ``budget``.

    Two small passes are run and measured; memory grows with the snippets along a line.

    Args:
        run: makes one forward and backward pass over so many snippets.
        budget: bytes: of the device, or of the whole process.
        unit: snippets that must stay together.
        extra: bytes that will be taken besides (an optimiser's buffers).

    Returns:
        A multiple of ``unit``.

    Raises:
        ArgumentError: not even ``unit`` snippets fit; with what they take.
    """
    few, more = 2 * unit, 6 * unit
    run(few)  # the first pass of all takes what stays: kernels, gradients
    peaks = []
    for count in (few, more):
        peak = PeakMemory(device)
        run(count)
        peaks.append(peak.read())
    slope = max(1.0, (peaks[1] - peaks[0]) / (more - few))
    fixed = max(0.0, peaks[0] - few * slope) + extra
    count = int((budget / _MARGIN - fixed) / slope) // unit * unit
    if count < unit:
        least = (fixed + unit * slope) * _MARGIN
        raise ArgumentError(
            f"memory {say_size(budget)} is too little: {unit} snippet{'s' * (unit > 1)} at a time take "
            f"{say_size(least)}, of which {say_size(fixed)} are there without any"
        )
    return count
