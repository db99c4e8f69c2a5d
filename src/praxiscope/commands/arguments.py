"""What the arguments of commands name, looked up without torch: a typing error should not cost the time to import it.

Whoever uses the arguments finds out all the same; nothing relies on what was looked up here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card
from praxiscope.data.manifest import find_data
from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol

__all__ = ["check_fps", "check_preset", "check_test", "parse_parameters"]

PRESETS = ("cpu", "paper")


def check_preset(name: str) -> None:
    """Raise ArgumentError for a name that is no preset of a benchmark."""
    if name not in PRESETS:
        raise ArgumentError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")


def check_test(
    run: str | Path,
    data: str | Path,
    *,
    protocol: str | None = None,
    average: str | None = None,
    split: str | None = None,
    annotations: str | Path | None = None,
    subset: str = "test",
    out: str | Path | None = None,
    checkpoint: str | None = None,
    device: str = "auto",
) -> None:
    """Look for what a test names; see `praxiscope.commands.test.test`.

    Raises:
        ArgumentError, DataError, CheckpointError: something is not there, or cannot be used as asked.
    """
    if subset not in ("train", "val", "test"):
        raise ArgumentError(f"subset must be train, val or test, got {subset!r}")
    parse_protocol(protocol or "1x1", average)
    if out is not None and Path(out).suffix not in (".npz", ".parquet"):
        raise ArgumentError(f"--out {out}: scores are written as .npz or .parquet")
    check_device(device)
    if not is_fused(run):
        load_card(find_checkpoint(run, checkpoint))
    find_data(data, split, annotations)


def parse_parameters(assignments: Sequence[str]) -> dict[str, Any]:
    """Parameters of a method from ``name=value`` texts. Raises ArgumentError for other text."""
    parameters = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ArgumentError(f"--set {text}: expected name=value, as in --set warps=3.")
        parameters[name.strip()] = _value(value.strip())
    return parameters


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def check_fps(fps: float) -> None:
    """Raise ArgumentError for a rate that is no number of frames per second."""
    if not 0 < fps < math.inf:
        raise ArgumentError(f"fps must be a number above 0, got {fps:g}")
