"""Optical flow: end-point error and pairs per second per core, compared with OpenCV and scikit-image."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from common import Table, parser, run_command, write_tables
from threadpoolctl import threadpool_limits
from torch import Tensor

from praxiscope.flow import tvl1
from praxiscope.flow.error import end_point_error
from praxiscope.flow.estimate import create_estimator
from praxiscope.flow.flo import read_flo
from praxiscope.video.geometry import resize
from praxiscope.video.opening import open_video

SIZE = (240, 320)  # rows and columns at which speed is measured
CPU_BATCH = 16
DEVICE_BATCHES = (1, 16, 64, 256)
OURS = "ours, TV-L1"
BEFORE = {"warps": 5, "iterations": 20, "median": 3}  # its earlier default parameters

Method = Callable[[Tensor], Any]
"""uint8 [T, 3, H, W] to the flow of its T - 1 pairs, [T - 1, 2, H, W]."""


class Candidate(NamedTuple):
    """A method. If it is not installed, ``run`` is None and ``why`` is the reason."""

    name: str
    run: Method | None
    why: str = ""
    tvl1: bool = False  # whether it is another implementation of TV-L1


class Pair(NamedTuple):
    """Two frames uint8 [2, 3, H, W], their flow [2, H, W], and the mask of known flow."""

    name: str
    frames: Tensor
    truth: Tensor
    known: Tensor


def read_pairs(folder: Path) -> list[Pair]:
    """Read all .flo files below a folder, each with the two images beside it, in order of name.

    If a folder contains several pairs, files whose names begin with the same digits belong together (FlyingChairs).
    """
    from PIL import Image

    pairs = []
    for truth in sorted(folder.rglob("*.flo")):
        number = _leading_digits(truth)
        beside = [path for path in truth.parent.iterdir() if _leading_digits(path) == number]
        pictures = sorted(path for path in beside if path.suffix.lower() in (".png", ".ppm", ".jpg"))
        if len(pictures) != 2 or sum(path.suffix == ".flo" for path in beside) != 1:
            raise SystemExit(f"{truth.parent}: expected two pictures for each .flo file, not {len(pictures)}")
        frames = [torch.from_numpy(np.array(Image.open(p).convert("RGB"))).permute(2, 0, 1) for p in pictures]
        name = f"{truth.parent.name} {number}".strip()
        pairs.append(Pair(name, torch.stack(frames), *read_flo(truth)))
    if not pairs:
        raise SystemExit(f"{folder}: holds no .flo file")
    return pairs


def _leading_digits(path: Path) -> str:
    return "".join(itertools.takewhile(str.isdigit, path.name))


# --------------------------------------------------------------------------------------------- the others


def in_grey(frames: Tensor) -> list[np.ndarray]:
    """Convert frames to grey images for OpenCV, uint8 [H, W]."""
    import cv2

    return [
        cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2GRAY) for p in frames.permute(0, 2, 3, 1).numpy()
    ]


def opencv_tvl1() -> Method:
    """OpenCV's TV-L1 with default parameters."""
    import cv2

    def run(frames: Tensor) -> Tensor:
        grey = in_grey(frames)
        estimator = cv2.optflow.DualTVL1OpticalFlow_create()
        fields = [estimator.calc(*pair, None) for pair in itertools.pairwise(grey)]
        return torch.from_numpy(np.stack(fields)).permute(0, 3, 1, 2)

    if not hasattr(cv2, "optflow"):
        raise ImportError("needs opencv-contrib-python")
    return run


def scikit_tvl1() -> Method:
    """scikit-image's TV-L1 with default parameters."""
    from skimage.registration import optical_flow_tvl1

    def run(frames: Tensor) -> Tensor:
        grey = [picture.astype(np.float32) / 255 for picture in in_grey(frames)]
        fields = [optical_flow_tvl1(*pair)[::-1] for pair in itertools.pairwise(grey)]
        return torch.from_numpy(np.stack(fields))

    return run


def without_opencv(method: Method) -> Method:
    """Our TV-L1 as it runs without OpenCV: the median is computed by a sorting network."""

    def run(frames: Tensor) -> Any:
        with mock.patch.object(tvl1, "_opencv", return_value=None):
            return method(frames)

    return run


def candidates(raft_weights: str, raft_size: str) -> list[Candidate]:
    """All methods, ours first."""
    makers: list[tuple[str, Callable[[], Method], bool]] = [
        (OURS, lambda: create_estimator("tvl1"), False),
        ("ours, TV-L1, 5 warps, 3 x 3 median", lambda: create_estimator("tvl1", **BEFORE), False),
        ("OpenCV, TV-L1", opencv_tvl1, True),
        ("scikit-image, TV-L1", scikit_tvl1, True),
        ("DIS medium", lambda: create_estimator("dis"), False),
        ("DIS fast", lambda: create_estimator("dis", preset="fast"), False),
        ("DIS ultrafast", lambda: create_estimator("dis", preset="ultrafast"), False),
        ("Farneback", lambda: create_estimator("farneback"), False),
    ]
    found = []
    for name, make, is_tvl1 in makers:
        try:
            found.append(Candidate(name, make(), tvl1=is_tvl1))
        except (ImportError, ValueError) as error:
            found.append(Candidate(name, None, f"not installed ({error})"))
    if raft_weights:
        raft = create_estimator("raft", weights=raft_weights, size=raft_size)
        found.append(Candidate(f"RAFT {raft_size}", raft))
    else:
        found.append(Candidate(f"RAFT {raft_size}", None, "needs weights"))
    return found


# ------------------------------------------------------------------------------------------- measurements


def error_rows(methods: list[Candidate], pairs: list[Pair]) -> Iterator[list[str]]:
    """Return mean end-point errors in pixels, and their geometric mean over pairs."""
    still = [float(end_point_error(torch.zeros_like(p.truth), p.truth, p.known).nanmean()) for p in pairs]
    yield ["no motion", *(f"{error:.3f}" for error in still), f"{statistics.geometric_mean(still):.3f}"]
    for method in methods:
        if method.run is None:
            yield [method.name, *([method.why] * (len(pairs) + 1))]
            continue
        found = [float(end_point_error(method.run(p.frames)[0], p.truth, p.known).nanmean()) for p in pairs]
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
    run: Method
    device: str
    batch: int
    tvl1: bool


def turn(racer: Racer, frames: Tensor, seconds: float) -> float:
    """Return the pairs per second, measured for at least ``seconds`` and at least one call.

    On the CPU this is the processor time of all threads of the process, which other processes do not affect.
    """
    clock = time.process_time if racer.device == "cpu" else time.perf_counter
    done, offset = 0, 0
    started = clock()
    while True:
        racer.run(frames[offset : offset + racer.batch + 1])
        if racer.device != "cpu":
            torch.cuda.synchronize()
        done += racer.batch
        offset = (offset + racer.batch) % max(1, len(frames) - racer.batch)
        elapsed = clock() - started
        if elapsed >= seconds:
            return done / elapsed


def speed_rows(racers: list[Racer], frames: Tensor, repeats: int, seconds: float) -> Iterator[list[str]]:
    """Return medians over alternating turns, so that other load on the machine affects all methods."""
    on_device = {racer.device: frames.to(racer.device) for racer in racers}
    speeds: list[list[float]] = [[] for _ in racers]
    for racer in racers:
        turn(racer, on_device[racer.device], 0.0)  # the first call of each is not timed
    for repeat in range(repeats):
        for racer, found in zip(racers, speeds, strict=True):
            found.append(turn(racer, on_device[racer.device], seconds))
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
    arguments.add_argument("flow_folder", type=Path, help="folder of .flo files, each beside its two images")
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
    torch.set_num_threads(1)
    try:
        import cv2

        cv2.setNumThreads(1)
    except ImportError:
        pass
    pairs = read_pairs(options.flow_folder)
    methods = candidates(options.raft_weights, options.raft_size)
    with threadpool_limits(1):
        errors = list(error_rows(methods, pairs))
        racers = [Racer(m.name, m.run, "cpu", 1, m.tvl1) for m in methods if m.run is not None]
        ours = racers[0]
        bare = ours._replace(name=f"{OURS}, no OpenCV", run=without_opencv(ours.run))
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
