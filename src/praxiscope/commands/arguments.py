"""Arguments of commands, checked without importing torch, so that a typing error is reported at once.

The functions that use the arguments check them again; nothing relies on the checks made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card
from praxiscope.data.manifest import find_data
from praxiscope.deploy.description import is_exported, read_flow_description
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.options import LoadOptions
from praxiscope.models.names import learns_of, takes_flow_targets

__all__ = [
    "SegmentOptions",
    "TestOptions",
    "Views",
    "check_flow_network",
    "check_fps",
    "check_preset",
    "check_test",
    "parse_method",
    "parse_parameters",
]

PRESETS = ("cpu", "paper")


def check_preset(name: str, known: Sequence[str] = PRESETS) -> None:
    """Raise ArgumentError for an unknown preset of a benchmark."""
    if name not in known:
        raise ArgumentError(f"preset must be one of {', '.join(known)}, got {name!r}")


@dataclass(frozen=True)
class Views:
    """What is seen of a video: the views of a protocol, or windows.

    Attributes:
        protocol: views to average; None: those of the model.
        average: how they are averaged, "logits" or "softmax"; None: that of the protocol.
        window_s: predict every window of this length, seconds; None: the video as a whole.
        stride_s: time from one window to the next, seconds; None: half a window.
    """

    protocol: str | None = None
    average: str | None = None
    window_s: float | None = None
    stride_s: float | None = None


@dataclass(frozen=True)
class SegmentOptions:
    """How segments are found in videos.

    Attributes:
        settings: "auto" takes those that were learned for the run, else learns them from training videos with segments
            where a list has some, else takes the defaults; "learn" learns them again; "default" takes the defaults.
        window_s: length of the windows that are scored, seconds. None: that of the settings.
        stride_s: time from one window to the next. None: that of the settings, or half of ``window_s``.

    Raises:
        ArgumentError: a value that cannot be used.
    """

    settings: str = "auto"
    window_s: float | None = None
    stride_s: float | None = None

    def __post_init__(self) -> None:
        if self.settings not in (known := ("auto", "learn", "default")):
            raise ArgumentError(f"thresholds must be one of {', '.join(known)}, got {self.settings!r}")
        for name, value in (("window", self.window_s), ("stride", self.stride_s)):
            if value is not None and not 0 < value < math.inf:
                raise ArgumentError(f"{name} must be above 0 s, got {value:g}")


@dataclass(frozen=True)
class TestOptions:
    """Options of a test; see `praxiscope.test`.

    Attributes:
        protocol: views to average for each video. None: the protocol of the model.
        average: "logits" or "softmax". None: that of the protocol.
        split, annotations: for layouts with official splits.
        subset: part of the data, "train", "val" or "test".
        out: scores file to write (.npz or .parquet).
        workers: number of processes that read videos.
        max_skip: largest fraction of videos that may be unreadable; None is 0.05, and at least three videos.
        time_limit_s: seconds that reading one video may take.
        segments: for a test on segments, how they are found. ``out`` is then a .json file, and there is no protocol.

    Raises:
        ArgumentError: a value that cannot be used.
    """

    __test__ = False  # not a test of pytest

    protocol: str | None = None
    average: str | None = None
    split: str | None = None
    annotations: str | Path | None = None
    subset: str = "test"
    out: str | Path | None = None
    workers: int = 2
    max_skip: float | None = None
    time_limit_s: float = 300.0
    segments: SegmentOptions | None = None

    def __post_init__(self) -> None:
        if self.subset not in ("train", "val", "test"):
            raise ArgumentError(f"subset must be train, val or test, got {self.subset!r}")
        parse_protocol(self.protocol or "1x1", self.average)
        if self.segments is not None:
            if self.protocol or self.average:
                raise ArgumentError(
                    "segments are found in windows of a single view: leave protocol and average out."
                )
            if self.out is not None and Path(self.out).suffix != ".json":
                raise ArgumentError(
                    f"--out {self.out}: the name of the results of segments must end in .json."
                )
        elif self.out is not None and Path(self.out).suffix not in (".npz", ".parquet"):
            raise ArgumentError(f"--out {self.out}: the name of a scores file must end in .npz or .parquet.")


def check_test(run: str | Path, data: str | Path, options: TestOptions, load: LoadOptions) -> None:
    """Check that a model and a data set exist.

    Raises:
        ArgumentError, DataError, CheckpointError: one of them does not exist, or cannot be used as asked.
    """
    if not is_fused(run):
        load_card(find_checkpoint(run, load.checkpoint))
    find_data(data, options.split, options.annotations)


def parse_method(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters of a flow method from ``name,parameter=value,…``. Raises ArgumentError for other text."""
    name, *assignments = spec.split(",")
    return name.strip(), parse_parameters(assignments, f"--method {spec}")


def parse_parameters(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Parameters of a method from ``name=value`` texts. Raises ArgumentError, with the option, for other text."""
    parameters = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            given = f"{option} {text}" if option == "--set" else f"{option}: {text}"
            raise ArgumentError(f"{given}: expected NAME=VALUE, such as warps=3.")
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
    """Raise ArgumentError for a frame rate that is not a number above 0."""
    if not 0 < fps < math.inf:
        raise ArgumentError(f"fps must be a number above 0, got {fps:g}")


def check_flow_network(method: str, run: str | Path) -> str:
    """Return the folder of a trained flow network, which is the parameter ``run`` of its method.

    Raises:
        ArgumentError: another method, or the folder holds another kind of model.
        CheckpointError: there is no model.
    """
    if method != "network":
        raise ArgumentError(
            f"--run {run}: is for the flow method network, not {method}. Add --method network."
        )
    if is_exported(run):
        read_flow_description(run)
        return str(run)
    name = load_card(find_checkpoint(run)).name
    if learns_of(name) != "flow" and not takes_flow_targets(name):
        raise ArgumentError(
            f"--run {run}: holds {name}, which is no flow network. Train one: praxiscope train DATA --model flownet"
        )
    return str(run)
