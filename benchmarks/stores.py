"""Shared functions of the benchmark scripts that use stored features: other lists of the same features, and results.

Features are computed once (``praxiscope features``). Each experiment has a folder with its own list of the videos,
``praxiscope.csv``, and links to the features, so that every command takes it as data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import praxiscope as px
from praxiscope.bench.machine import made_now
from praxiscope.checkpoint import write_json
from praxiscope.data.manifest import MANIFEST_NAME, write_csv
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.scores import Scores
from praxiscope.features.store import STORE_FILE
from praxiscope.progress import ConsoleReporter
from praxiscope.run_folder import TRAJECTORIES_FILE
from praxiscope.types import VideoRecord

__all__ = ["Result", "settings_of", "train_and_test", "with_list"]


class Result(NamedTuple):
    """A training and its test.

    Attributes:
        scores: of the test clips.
        top1: fraction of the test clips that are classified correctly.
        train_s, test_s: seconds of the training, with everything that it needed, and of the test.
        made: date and machine.
    """

    scores: Scores
    top1: float
    train_s: float
    test_s: float
    made: str


_CONTENT = (STORE_FILE, "shards", "network", TRAJECTORIES_FILE, "clips")


def with_list(root: Path, out: Path, records: Sequence[VideoRecord], classes: Sequence[str]) -> Path:
    """Create a folder with the features or trajectories of a store and another list of its videos; return it."""
    out.mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        if entry.name in _CONTENT and not (out / entry.name).exists():
            (out / entry.name).symlink_to(entry.resolve())
    write_csv(out / MANIFEST_NAME, records, classes)
    return out


def settings_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings for `praxiscope.train` from ``--set NAME=VALUE``."""
    return {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in assignments)}


def train_and_test(
    run: Path,
    train: Callable[[], object],
    data: str | Path,
    protocol: str = "25x1",
    *,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Result:
    """Train and test, or read the results of a run that is finished.

    Args:
        run: folder of the run.
        train: trains it.
        data: tested data, as for `praxiscope.test`.
        protocol: of the test.
        settings: what the training is given beside its defaults; kept with the results.
        options: further options of `praxiscope.test`.

    Raises:
        ArgumentError: the finished run was given other settings.
    """
    given = {name: str(value) for name, value in (settings or {}).items()}
    finished, scored = run / f"result_{protocol}.json", run / f"scores_{protocol}.npz"
    if not finished.is_file():
        print(f"--- {run.name}", flush=True)
        started = time.perf_counter()
        train()
        trained = time.perf_counter()
        px.test(run, data, protocol=protocol, out=scored, progress=ConsoleReporter(), **options)
        times = {"train_s": trained - started, "test_s": time.perf_counter() - trained}
        write_json(finished, {**times, "made": made_now(), "settings": given})
    found = json.loads(finished.read_text(encoding="utf-8"))
    if found["settings"] != given:
        raise ArgumentError(
            f"{run}: was trained with other settings ({found['settings']}). Give another folder as --out."
        )
    scores = Scores.load(scored)
    top1 = float((scores.logits.argmax(axis=1) == scores.targets).mean())
    return Result(scores, top1, found["train_s"], found["test_s"], found["made"])
