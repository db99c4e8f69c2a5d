"""Measure the error and the speed of flow methods on frames with known flow."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.bench.flow_methods import (
    Measured,
    clock,
    other_libraries,
    our_methods,
    pairs_per_second,
    single_thread,
)
from praxiscope.data.flow_layouts.common import FlowSplit
from praxiscope.data.flow_samples import FlowSample, list_flow_samples
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError
from praxiscope.flow.error import FlowError, summarise_error
from praxiscope.progress import Bar, Reporter
from praxiscope.units import counted
from praxiscope.video.geometry import resize

__all__ = ["HEADER", "FlowTest", "bench_flow", "format_flow"]

HEADER = [
    "data",
    "method",
    "fields",
    "valid pixels",
    "error",
    "error, motion < 1 px",
    "error, motion ≥ 1 px",
    "error > 3 px",
    "s per field",
    "pairs/s at 320 x 240",
]
_SIZE = (240, 320)  # rows and columns at which speed is measured
_FIELDS = 16  # fields that are estimated together
_NO_MOTION = "no motion"


@dataclass(frozen=True)
class FlowTest:
    """Settings of the measurement.

    Attributes:
        methods: ``NAME`` or ``NAME,PARAMETER=VALUE,…`` of each method; empty: all.
        weights: value of the parameter ``weights`` of methods that have it.
        run: value of the parameter ``run`` of methods that have it.
        libraries: whether to measure OpenCV's and scikit-image's TV-L1, too.
        split: "train" or "test"; None: all samples.
        annotations: see `list_flow_samples`.
        samples: largest number of samples of each set, evenly spaced; None: all.
        repeat, seconds: number of timed turns of each method, and their shortest duration.
        device: device of praxiscope's methods.

    Raises:
        ArgumentError: a number is out of its range.
    """

    methods: Sequence[str] = ()
    weights: str | None = None
    run: str | None = None
    libraries: bool = True
    split: FlowSplit | None = None
    annotations: str | Path | None = None
    samples: int | None = None
    repeat: int = 3
    seconds: float = 1.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise ArgumentError(f"samples must be 1 or more, got {self.samples}")
        if self.repeat < 1 or not self.seconds >= 0:
            raise ArgumentError(
                f"repeat must be 1 or more and seconds 0 or more, got {self.repeat}, {self.seconds}"
            )


def bench_flow(
    data: Sequence[str | Path], test: FlowTest | None = None, *, reporter: Reporter | None = None
) -> list[dict[str, Any]]:
    """Measure flow methods on sets with known flow, on one thread.

    Args:
        data: names of sets (see `list_flow_samples`).
        test: how to measure. Default: ``FlowTest()``.
        reporter: shows progress.

    Returns:
        A row for each set and method: ``data``, ``method``, ``fields``, ``valid_pixels``, ``small_pixels`` (that move
        by less than 1 pixel); the mean end-point errors ``error``, ``small_error``, ``large_error`` in pixels;
        ``over_3px`` (share of valid pixels); ``samples`` (the mean error of each by id); ``seconds_per_field`` at the
        size of the set, and ``pairs_per_s`` at 320 x 240 (None for "no motion"). Times on the CPU are of the processor.
        Methods that cannot be measured have a row with ``method`` and ``missing``, the reason.

    Raises:
        ArgumentError: no data, or a method that was asked for cannot be used.
        DataError: a set cannot be read.
    """
    test, reporter = test or FlowTest(), reporter or Reporter()
    if not data:
        raise ArgumentError("expected at least 1 set of frames with known flow, got 0")
    device = str(pick_device(test.device))
    methods = our_methods(test.methods, test.weights, test.run)
    on_device = {method.name for method in methods}
    methods += other_libraries() if test.libraries else []
    sets = {str(name): _chosen(str(name), test, reporter) for name in data}
    measured = [method for method in methods if method.run is not None]
    fields = sum(sample.num_fields for samples in sets.values() for sample in samples)
    rows: list[dict[str, Any]] = []
    with single_thread(), reporter.bar("estimating flow", fields * (len(measured) + 1)) as bar:
        for name, samples in sets.items():
            for method in (Measured(_NO_MOTION, _no_motion), *measured):
                where = device if method.name in on_device else "cpu"
                rows.append({"data": name, "method": method.name, **_errors(method, samples, where, bar)})
    with single_thread(), reporter.bar("measuring speed", (test.repeat + 1) * len(measured)) as bar:
        speeds = _speeds(measured, on_device, next(iter(sets.values()))[0], replace(test, device=device), bar)
    for row in rows:
        row["pairs_per_s"] = speeds.get(row["method"])
    return rows + [
        {"method": method.name, "missing": method.missing} for method in methods if method.run is None
    ]


def _no_motion(frames: Tensor) -> Tensor:
    return torch.zeros(len(frames) - 1, 2, *frames.shape[-2:])


def _chosen(name: str, test: FlowTest, reporter: Reporter) -> list[FlowSample]:
    """The samples of a set, evenly spaced, with the first and the last."""
    listing = list_flow_samples(name, test.split, test.annotations)
    for note in listing.notes:
        reporter.line(f"Note: {note}")
    count = len(listing.samples)
    places = np.linspace(0, count - 1, min(test.samples or count, count)).round().astype(int)
    reporter.line(f"{name}: {counted(len(places), 'sample')}.")
    return [listing.samples[place] for place in places]


def _errors(method: Measured, samples: Sequence[FlowSample], device: str, bar: Bar) -> dict[str, Any]:
    """The errors and the time of a method on a set."""
    assert method.run is not None
    total, seconds, fields, by_sample = FlowError(), 0.0, 0, {}
    for sample in samples:
        of_sample = FlowError()
        for start, count in _parts(sample.num_fields):
            frames, truth = sample.frames(start, count + 1).to(device), sample.fields(start, count)
            began = clock(device)
            made = method.run(frames)
            seconds += clock(device) - began
            of_sample += summarise_error(made.cpu(), truth)
            fields += count
            bar.advance(count, method.name)
        by_sample[sample.id] = of_sample.all.mean
        total += of_sample
    return {
        "fields": fields,
        "valid_pixels": total.all.pixels,
        "small_pixels": total.small.pixels,
        "error": total.all.mean,
        "small_error": total.small.mean,
        "large_error": total.large.mean,
        "over_3px": total.all.share_over,
        "samples": by_sample,
        "seconds_per_field": None if method.name == _NO_MOTION else seconds / fields,
    }


def _parts(fields: int) -> Iterator[tuple[int, int]]:
    """Start and number of the fields that are estimated together."""
    for start in range(0, fields, _FIELDS):
        yield start, min(_FIELDS, fields - start)


def _speeds(
    methods: Sequence[Measured], on_device: set[str], sample: FlowSample, test: FlowTest, bar: Bar
) -> dict[str, float]:
    """The median of pairs per second over turns that alternate, so that other load affects all methods."""
    frames = resize(sample.frames(0, 2).contiguous(), _SIZE)
    found: dict[str, list[float]] = {method.name: [] for method in methods}
    for turn in range(test.repeat + 1):
        for method in methods:
            assert method.run is not None
            device = test.device if method.name in on_device else "cpu"
            speed = pairs_per_second(method.run, frames.to(device), test.seconds if turn else 0.0, device)
            if turn:  # the first call is not timed
                found[method.name].append(speed)
            bar.advance(1, method.name)
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def format_flow(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells of the rows of `bench_flow` under `HEADER`."""
    cells = []
    for row in rows:
        if "missing" in row:
            cells.append(["", row["method"], f"not measured: {row['missing']}", *[""] * (len(HEADER) - 3)])
            continue
        speed, seconds = row["pairs_per_s"], row["seconds_per_field"]
        cells.append(
            [
                row["data"],
                row["method"],
                str(row["fields"]),
                str(row["valid_pixels"]),
                *(f"{row[name]:.3f}" for name in ("error", "small_error", "large_error")),
                f"{row['over_3px']:.1%}",
                "" if seconds is None else f"{seconds:.3g}",
                "" if speed is None else f"{speed:.3g}",
            ]
        )
    return cells
