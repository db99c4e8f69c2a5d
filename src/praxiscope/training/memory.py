"""Measure peak memory, and the number of snippets that fit into a memory limit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from praxiscope._memory import trim_memory
from praxiscope.errors import ArgumentError
from praxiscope.units import format_size

if TYPE_CHECKING:  # memory limits are parsed without torch
    import torch

__all__ = ["PeakMemory", "fit_snippets"]

# Later passes of a run take slightly more memory than the first, because of fragmentation.
_MARGIN = 1.08


class PeakMemory:
    """The peak memory since creation, of a CUDA device or of this process.

    For a process it is the peak of the resident set, which Linux can reset. Worker processes are not included.

    Raises:
        ArgumentError: this system cannot measure it.
    """

    def __init__(self, device: torch.device | str) -> None:
        import torch

        self.device = torch.device(device)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        trim_memory()  # cached free memory would hide later allocations
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            raise ArgumentError(
                f"the peak memory of a process on {self.device.type!r} cannot be measured on this system; it needs "
                "Linux, or a CUDA device"
            ) from None

    def read(self) -> int:
        """Peak memory so far, in bytes."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
            return int(torch.cuda.max_memory_reserved(self.device))
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def fit_snippets(
    run: Callable[[int], None],
    budget: int,
    device: torch.device,
    *,
    most: int,
    unit: int = 1,
    extra: int = 0,
) -> int:
    """The largest number of snippets per pass whose peak memory stays within ``budget``.

    Passes of increasing size are run and measured, as long as the line through the last two predicts that the next
    fits. The result is one of a few sizes (1, 2, 3, 4, 6, 8, 12, 16, … units), so that small differences between two
    measurements do not give two results.

    Args:
        run: runs one forward and backward pass over the given number of snippets.
        budget: bytes, of the device or of the whole process.
        most: maximum number of snippets.
        unit: number of snippets that must stay together.
        extra: additional bytes that will be needed (the optimiser's state).

    Returns:
        A multiple of ``unit``, or ``most``.

    Raises:
        ArgumentError: not even ``unit`` snippets fit; the message gives their memory.
    """
    sizes = [unit * count for power in range(32) for count in ((2**power, 3 * 2**power) if power else (1,))]
    sizes = sorted({*(size for size in sizes if size < most), max(unit, most)})

    def peak_of(count: int) -> float:
        peaks = []
        for _ in range(2):  # the second of two equal passes may need more memory than the first
            peak = PeakMemory(device)
            run(count)
            peaks.append(peak.read())
        return (max(peaks) + extra) * _MARGIN

    run(unit)  # the first pass also allocates what stays: kernels, gradients
    fits, least = 0, peak_of(unit)
    if least > budget:
        raise ArgumentError(
            f"memory {format_size(budget)} is too small: {unit} snippet{'s' * (unit > 1)} at a time need "
            f"{format_size(least)}"
        )
    before, peak = (0, 0.0), least
    for place, size in enumerate(sizes):
        if place:
            peak = peak_of(size)
        if peak > budget:
            break
        fits = size
        slope = (peak - before[1]) / (size - before[0]) if before[0] else 0.0
        if place + 1 < len(sizes) and peak + slope * (sizes[place + 1] - size) > budget:
            break
        before = (size, peak)
    return fits
