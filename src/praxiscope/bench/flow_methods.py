"""Flow methods that are measured: praxiscope's, and OpenCV's and scikit-image's TV-L1 beside them.

Axis letters: T frames, H rows, W columns.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from praxiscope.commands.arguments import parse_method
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.flow.estimate import create_estimator, estimate_flow
from praxiscope.flow.methods import FileEstimator, find_method, list_methods
from praxiscope.jobs import one_thread

__all__ = ["FlowRun", "Measured", "other_libraries", "our_methods", "pairs_per_second", "single_thread"]

FlowRun = Callable[[Tensor], Tensor]
"""uint8 [T, 3, H, W] to the flow of its T - 1 pairs, float32 [T - 1, 2, H, W]."""


class Measured(NamedTuple):
    """A method. If it cannot be measured, ``run`` is None and ``missing`` is the reason."""

    name: str
    run: FlowRun | None
    missing: str = ""
    tvl1: bool = False  # whether it is another implementation of TV-L1


def our_methods(
    specs: Sequence[str] = (), weights: str | None = None, run: str | None = None
) -> list[Measured]:
    """praxiscope's methods, and those of installed packages.

    Args:
        specs: ``NAME`` or ``NAME,PARAMETER=VALUE,…`` of each; empty: every registered method.
        weights: value of the parameter ``weights`` of the methods that have it.
        run: value of the parameter ``run`` of the methods that have it.

    Raises:
        ArgumentError: one of ``specs`` cannot be created, or no method takes ``weights`` or ``run``;
            UnknownNameError: an unknown method or parameter.
        CheckpointError: the weights cannot be read.
    """
    made: list[Measured] = []
    shared = {name: value for name, value in (("weights", weights), ("run", run)) if value is not None}
    unused = dict(shared)
    for spec in specs or list_methods():
        method, parameters = parse_method(spec)
        known = {field.name for field in dataclasses.fields(find_method(method))}  # type: ignore[arg-type]
        for name in known & shared.keys():
            parameters.setdefault(name, shared[name])
            unused.pop(name, None)
        try:
            estimator = create_estimator(method, **parameters)
        except (ArgumentError, CheckpointError) as error:
            if specs:
                raise
            made.append(Measured(method, None, str(error)))
            continue
        if isinstance(estimator, FileEstimator):
            missing = f"the flow method {method} reads video files, but pairs of frames are measured"
            if specs:
                raise ArgumentError(f"{missing}. Leave it out.")
            made.append(Measured(method, None, missing))
            continue
        shown = {name: value for name, value in parameters.items() if name != "weights"}
        label = " ".join([method, *(f"{name}={value}" for name, value in shown.items())])
        made.append(Measured(label, partial(estimate_flow, method=estimator)))
    for name, value in unused.items():
        raise ArgumentError(f"{name} {value}: no measured method has the parameter {name!r}. Leave it out.")
    return made


def other_libraries() -> list[Measured]:
    """OpenCV's and scikit-image's TV-L1 with their default parameters, on the CPU."""
    made = []
    for name, make in (("OpenCV TV-L1", _opencv_tvl1), ("scikit-image TV-L1", _scikit_tvl1)):
        try:
            made.append(Measured(name, make(), tvl1=True))
        except ImportError as error:
            made.append(Measured(name, None, f"not installed ({error})", tvl1=True))
    return made


def _in_grey(frames: Tensor) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Grey images uint8 [H, W], as OpenCV computes them."""
    import cv2

    images = frames.cpu().permute(0, 2, 3, 1).numpy()
    return [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in images]


def _opencv_tvl1() -> FlowRun:
    import cv2

    if not hasattr(cv2, "optflow"):
        raise ImportError("needs opencv-contrib-python")
    optflow: Any = cv2.optflow

    def run(frames: Tensor) -> Tensor:
        estimator = optflow.DualTVL1OpticalFlow_create()
        fields = [estimator.calc(*pair, None) for pair in itertools.pairwise(_in_grey(frames))]
        return torch.from_numpy(np.stack(fields)).permute(0, 3, 1, 2)

    return run


def _scikit_tvl1() -> FlowRun:
    from skimage.registration import optical_flow_tvl1  # type: ignore[import-not-found]

    def run(frames: Tensor) -> Tensor:
        grey = [image.astype(np.float32) / 255 for image in _in_grey(frames)]
        fields = [optical_flow_tvl1(*pair)[::-1] for pair in itertools.pairwise(grey)]
        return torch.from_numpy(np.stack(fields))

    return run


@contextmanager
def single_thread() -> Iterator[None]:
    """Limit torch, BLAS and OpenCV to one thread."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with one_thread(), threadpool_limits(1):
        if importlib.util.find_spec("cv2") is None:
            yield
            return
        import cv2

        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(before)


def clock(device: str) -> float:
    """Seconds: on the CPU, of processor time of all threads, which other processes do not affect."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time() if device == "cpu" else time.perf_counter()


def pairs_per_second(
    run: FlowRun, frames: Tensor, seconds: float, device: str = "cpu", batch: int = 1
) -> float:
    """Pairs per second of one turn: calls of ``batch`` pairs for at least ``seconds``, and at least one call.

    Args:
        run: the method.
        frames: uint8 [T, 3, H, W] on the device; T > ``batch``.
        seconds: duration of the turn (see `clock`).
        device: device of the frames.
        batch: pairs in a call.
    """
    done, offset, started = 0, 0, clock(device)
    while True:
        run(frames[offset : offset + batch + 1])
        done += batch
        offset = (offset + batch) % max(1, len(frames) - batch)
        elapsed = clock(device) - started
        if elapsed >= seconds and elapsed > 0:
            return done / elapsed
