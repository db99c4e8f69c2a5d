"""Check and select devices by name. Checking does not import torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    import torch

__all__ = ["check_device", "pick_device"]


def check_device(name: str) -> str:
    """Check the name of a device: auto, cpu, cuda, cuda:NUMBER or mps.

    Returns:
        The name.

    Raises:
        ArgumentError: If the name is unknown.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|mps", name):
        raise ArgumentError(f"unknown device {name!r}. Use auto, cpu, cuda, cuda:1 or mps.")
    return name


def pick_device(name: str = "auto") -> torch.device:
    """Return the device with a name; "auto" is a CUDA or Apple GPU if there is one.

    Raises:
        ArgumentError: If the device is unknown or not available.
    """
    check_device(name)
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ArgumentError(f"device {name!r} cannot be used: {reason}. Try --device cpu.") from None
    return device
