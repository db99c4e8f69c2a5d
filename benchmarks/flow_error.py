"""Optical flow: end-point error and pairs per second per core, compared with OpenCV and scikit-image."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from common import Table, parser, run_command, write_tables
from torch import Tensor

from praxiscope.bench.flow_methods import (
    FlowRun,
    Measured,
    other_libraries,
    our_methods,
    pairs_per_second,
    single_thread,
)
from praxiscope.data.flow_samples import load_flow_samples
from praxiscope.errors import ArgumentError
from praxiscope.flow import tvl1
from praxiscope.flow.error import end_point_error
from praxiscope.video.geometry import resize
from praxiscope.video.opening import open_video

SIZE = (240, 320)  # rows and columns at which speed is measured
CPU_BATCH = 16
DEVICE_BATCHES = (1, 16, 64, 256)
BEFORE = {"warps": 5, "iterations": 20, "median": 3}  # its earlier default parameters


class Pair(NamedTuple):
    """Two frames uint8 [2, 3, H, W], and their flow [2, H, W]."""

    name: str
    frames: Tensor
    truth: Tensor


def read_pairs(data: list[str]) -> list[Pair]:
    """Read the first field of every sample with its two frames."""
    return [
        Pair(sample.id, sample.frames(0, 2), sample.fields(0, 1)[0])
        for name in data
        for sample in load_flow_samples(name)
    ]


def without_opencv(method: FlowRun) -> FlowRun:
    """Our TV-L1 as it runs without OpenCV: the median is computed by a sorting network."""

    def run(frames: Tensor) -> Any:
        with mock.patch.object(tvl1, "_opencv", return_value=None):
            return method(frames)

    return run


def candidates(raft_weights: str, raft_size: str) -> list[Measured]:
    """All methods, ours first."""
    before = ",".join(f"{name}={value}" for name, value in BEFORE.items())
    presets = [f"dis,preset={preset}" for preset in ("medium", "fast", "ultrafast")]
    raft = f"raft,size={raft_size}" + (f",weights={raft_weights}" if raft_weights else "")
    found = []
    for spec in ("tvl1", f"tvl1,{before}", *presets, "farneback", raft):
        try:
            found += our_methods([spec])
        except ArgumentError as error:
            found.append(Measured(spec, None, str(error)))
    return [*found, *other_libraries()]


# ------------------------------------------------------------------------------------------- measurements


def error_rows(methods: list[Measured], pairs: list[Pair]) -> Iterator[list[str]]:
    """Return mean end-point errors in pixels, and their geometric mean over pairs."""
    still = [float(end_point_error(torch.zeros_like(p.truth), p.truth).nanmean()) for p in pairs]
    yield ["no motion", *(f"{error:.3f}" for error in still), f"{statistics.geometric_mean(still):.3f}"]
    for method in methods:
        if method.run is None:
            yield [method.name, *([method.missing] * (len(pairs) + 1))]
            continue
        found = [float(end_point_error(method.run(p.frames)[0], p.truth).nanmean()) for p in pairs]
        yield [method.name, *(f"{error:.3f}" for error in found), f"{statistics.geometric_mean(found):.3f}"]


def speed_frames(video: Path | None, pairs: list[Pair], count: int) -> Tensor:
    """Return ``count`` frames of SIZE from a video or the first pair, repeated forwards and backwards if needed."""
    if video is not None:
        source = open_video(video)
        frames = source.frames(range(min(count, len(source))))
    else:
        frames = pairs[0].frames
    frames = resize(frames.contiguous(), SIZE)
    places = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    return frames[[places[number % len(places)] for number in range(count)]]


class Racer(NamedTuple):
    """A timed case: a method, its device, and the number of pairs per call."""

    name: str
    run: FlowRun
    device: str
    batch: int
    tvl1: bool


def speed_rows(racers: list[Racer], frames: Tensor, repeats: int, seconds: float) -> Iterator[list[str]]:
    """Return medians over alternating turns, so that other load on the machine affects all methods."""
    on_device = {racer.device: frames.to(racer.device) for racer in racers}
    speeds: list[list[float]] = [[] for _ in racers]
    for racer in racers:  # the first call of each is not timed
        pairs_per_second(racer.run, on_device[racer.device], 0.0, racer.device, racer.batch)
    for repeat in range(repeats):
        for racer, found in zip(racers, speeds, strict=True):
            found.append(
                pairs_per_second(racer.run, on_device[racer.device], seconds, racer.device, racer.batch)
            )
        print(f"turn {repeat + 1} of {repeats}", flush=True)
    medians = [statistics.median(found) for found in speeds]
    others = [median for racer, median in zip(racers, medians, strict=True) if racer.tvl1]
    for racer, found, median in zip(racers, speeds, medians, strict=True):
        times = f"{median / max(others):.2f}" if others else ""
        spread = f"{min(found):.3g} to {max(found):.3g}"
        yield [racer.name, racer.device, str(racer.batch), f"{median:.3g}", spread, times]


def main() -> None:
    """Measure errors and speeds, and write both tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", nargs="+", help="frames with known flow, LAYOUT:FOLDER")
    arguments.add_argument(
        "--video", type=Path, help="video for the measurement of speed. Default: a pair, scaled down"
    )
    arguments.add_argument(
        "--device", default="cpu", help="cuda: also measure our methods there, in larger batches"
    )
    arguments.add_argument("--repeats", type=int, default=9, help="timed turns of each method")
    arguments.add_argument("--seconds", type=float, default=2.0, help="minimum duration of a turn")
    arguments.add_argument("--raft-weights", default="", help="a file, or download")
    arguments.add_argument("--raft-size", default="large", choices=("large", "small"))
    options = arguments.parse_args()
    pairs = read_pairs(options.data)
    methods = candidates(options.raft_weights, options.raft_size)
    with single_thread():
        errors = list(error_rows(methods, pairs))
        racers = [Racer(m.name, m.run, "cpu", 1, m.tvl1) for m in methods if m.run is not None]
        ours = racers[0]
        bare = ours._replace(name="tvl1, no OpenCV", run=without_opencv(ours.run))
        racers[1:1] = [ours._replace(batch=CPU_BATCH), bare]
        if options.device != "cpu":
            racers += [ours._replace(device=options.device, batch=batch) for batch in DEVICE_BATCHES]
        frames = speed_frames(options.video, pairs, 2 * max(racer.batch for racer in racers) + 1)
        speeds = list(speed_rows(racers, frames, options.repeats, options.seconds))
    sizes = ", ".join(f"{p.name} {p.frames.shape[-1]} x {p.frames.shape[-2]}" for p in pairs)
    write_tables(
        options,
        __file__,
        "Optical flow: error and speed",
        [
            Table(
                "Mean end-point error, pixels", ["method", *(p.name for p in pairs), "geometric mean"], errors
            ),
            Table(
                f"Pairs per second on one core, {SIZE[1]} x {SIZE[0]}",
                [
                    "method",
                    "device",
                    "pairs in a call",
                    "median",
                    "from … to",
                    "times the faster other TV-L1",
                ],
                speeds,
            ),
        ],
        f"Every method with its default parameters, on one thread, from RGB frames in memory to flow. Sizes: {sizes}. "
        f"Speeds: {options.repeats} turns of each method, one after the other, of at least {options.seconds:g} s each; "
        "on the CPU, seconds of processor time.",
    )


if __name__ == "__main__":
    run_command(main)
