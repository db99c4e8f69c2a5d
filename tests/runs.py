"""What tests of whole runs share: their settings, their weights and losses, and what makes two runs the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from praxiscope.checkpoint import find_checkpoint
from praxiscope.commands.arguments import TestOptions
from praxiscope.commands.test import TestResult, test
from praxiscope.commands.train import train
from praxiscope.inference.options import LoadOptions
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.log import read_log
from support import SMALL, Call, sets


def settings(data: Path, *assignments: str) -> TrainSettings:
    return override(get_recipe("default"), [*SMALL, f"data.source={data}", *assignments])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(str(find_checkpoint(run, "last") / "model.safetensors"))


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run / "log.csv") if "loss" in row]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def assert_same_course(one: Path, two: Path, data: Path, scratch: Path) -> None:
    """Both runs moved the weights alike, to rounding, which can turn the winner of a pooling here and there."""
    torch.testing.assert_close(torch.tensor(losses(two)), torch.tensor(losses(one)), rtol=2e-3, atol=1e-6)
    first, second = weights(one), weights(two)
    assert train(
        settings(data, "optim.name=sgd", "optim.lr=1e-12", "optim.epochs=1", "run.validate_epochs=0"), scratch
    )
    start = weights(scratch)
    way = torch.cat([(first[name] - start[name]).flatten() for name in first])
    apart = torch.cat([(second[name] - first[name]).flatten() for name in first])
    assert float(apart.norm()) < 0.02 * float(way.norm())


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "praxiscope", *map(str, words)]


# The whole run beside which these are laid is made here, on one thread; sums of more threads round differently.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def train_by(devices: int, call: Call, data: Path, run: Path, *assignments: str) -> None:
    """Train by the command line, in so many processes. A single one is this process, which need not be started."""
    words = ("train", data, "--out", run, *sets((*SMALL, *assignments)), "--devices", devices)
    if devices == 1:
        done = call(*words)
        assert done.code == 0, done.err
    else:
        started = subprocess.run(command(*words), env=ONE_THREAD, capture_output=True, text=True, timeout=240)
        assert started.returncode == 0, started.stderr


def assert_same(first: Path, second: Path) -> None:
    def logged(run: Path) -> list[tuple[float, ...]]:
        keys = ("step", "loss", "val_loss")
        return [tuple(row.get(key, -1) for key in keys) for row in read_log(run / "log.csv")]

    assert logged(first) == logged(second)
    one, other = weights(first), weights(second)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


Stop = Callable[[int | None], None]


_LOADING = ("checkpoint", "device", "flow", "flow_range", "flow_weights", "task")


def run_test(
    run: Path,
    data: str | Path,
    *,
    command: str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> TestResult:
    """`praxiscope.commands.test.test`, with its options and those of loading as keywords."""
    load = LoadOptions.of(**{name: options.pop(name) for name in _LOADING if name in options})
    return test(run, data, TestOptions(**options), load=load, command=command, reporter=reporter)
