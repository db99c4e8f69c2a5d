"""The date and the machine of a measurement, as printed below every table."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import torch

__all__ = ["machine", "made_now"]


def machine() -> str:
    """Describe this machine: processor, GPU if there is one, cores, and threads and version of torch."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    if torch.cuda.is_available():
        model += f", {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    return (
        f"{model}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"
    )


def made_now() -> str:
    """Return today's date and a description of this machine."""
    return f"{datetime.date.today()}, {machine()}"
