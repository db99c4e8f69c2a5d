"""Train and test a run of a table once; later calls read it from its folder."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from praxiscope.bench.machine import made_now
from praxiscope.checkpoint import read_pointer, write_json
from praxiscope.commands.arguments import TestOptions
from praxiscope.commands.test import test
from praxiscope.commands.train import train
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import ArgumentError, TrainingError, unknown_name
from praxiscope.inference.options import FlowOptions, LoadOptions
from praxiscope.models.names import takes_flow_targets
from praxiscope.progress import Reporter
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import POINTER_FILE, SETTINGS_FILE
from praxiscope.training.resuming import changed_settings

__all__ = ["RESULT_FILE", "Plan", "Run", "experiment", "find_preset", "made_of", "read_run"]


RESULT_FILE = "result.json"
"""The results of a run that was tested once (`experiment` with an empty name)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The rows of a table to measure, the number of runs, and the device.

    Attributes:
        rows: names of rows. Default: all.
        seeds: number of runs of each row. Default: that of the preset.
        workers: number of processes that read videos.
        device: device of the training.
    """

    rows: Sequence[str] | None = None
    seeds: int | None = None
    workers: int = 2
    device: str = "auto"

    def choose(self, known: Mapping[str, T]) -> dict[str, T]:
        """Return the rows by name. Raises UnknownNameError for an unknown name."""
        for name in self.rows or ():
            if name not in known:
                raise unknown_name("row", name, known)
        return {name: known[name] for name in self.rows or known}

    def settings(self) -> dict[str, Any]:
        """Settings of each run."""
        device = {} if self.device == "auto" else {"run.accelerator": self.device}
        return {"data.workers": self.workers, **device}


def find_preset(preset: str | T, presets: Mapping[str, T]) -> T:
    """Return a preset by name, or the given preset. Raises UnknownNameError for an unknown name."""
    if not isinstance(preset, str):
        return preset
    if preset not in presets:
        raise unknown_name("preset", preset, presets)
    return presets[preset]


class Run(NamedTuple):
    """A trained and tested run.

    Attributes:
        settings: settings of the training.
        figures: results of the test, as returned by `praxiscope.evaluation.metrics.summarise`.
        protocol: protocol of the test.
        learned_from: number of training clips.
        checkpoint: the checkpoint that was tested: "last" or "best".
        made: date and machine of the test.
        source: data set and split of the test.
        seconds: that the training and the test took, or the test alone of a network that was tested before; None if
            they were interrupted, or not measured.
    """

    settings: TrainSettings
    figures: dict[str, Any]
    protocol: str
    learned_from: int
    checkpoint: str
    made: str
    source: tuple[str, str]
    seconds: float | None = None

    @property
    def top1(self) -> float:
        """Top-1 accuracy of the test."""
        return float(self.figures["top1"])


def experiment(
    settings: TrainSettings,
    run: Path,
    protocol: str | None,
    *,
    source: TaskSource | None = None,
    task: str | None = None,
    subset: str = "test",
    name: str | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Train and test a run once. A finished run is read from its folder, an interrupted one is resumed.

    The results and the scores are written as ``result_NAME.json`` and ``scores_NAME.npz`` in the run folder.

    Args:
        settings: settings of the training.
        run: run folder.
        protocol: protocol of the test. None: the default of the model.
        source: data to test on. Default: the data of the training.
        task: for a network with several data sets, the one that ``source`` is.
        subset: "test", "val" or "train".
        name: NAME of the files, or "" for ``result.json``. Default: protocol, task and subset.
        reporter: shows progress.

    Raises:
        ArgumentError: the folder holds a run with other settings.
        TrainingError: the training was interrupted and saved.
    """
    started = run / SETTINGS_FILE
    changed = changed_settings(load_yaml(started), settings) if started.is_file() else {}
    if changed.keys() - {"run.accelerator"}:
        raise ArgumentError(
            f"{run}: was trained with other settings ({', '.join(changed)}). Give another folder as --out."
        )
    if name is None:
        name = "_".join(word for word in (protocol, task, "" if subset == "test" else subset) if word)
    suffix = f"_{name}" if name else ""
    result = run / f"result{suffix}.json"
    source = source or settings.data.sources()[""]
    if not result.is_file():
        reporter = reporter or Reporter()
        reporter.line(f"--- {run.name}")
        begun, resume = time.monotonic(), (run / POINTER_FILE).is_file()
        interrupted = resume and not any(run.glob("result*.json"))  # a training that was tested had ended
        if not train(settings, run, resume=resume, reporter=reporter):
            raise TrainingError(f"{run}: interrupted and saved. Run the same command again to resume.")
        flow = FlowOptions(source.flow, settings.data.flow_range)
        if takes_flow_targets(settings.model.name):  # flow taught the network, which does not take it
            flow = FlowOptions()
        tested = test(
            run,
            source.source,
            TestOptions(
                protocol,
                split=source.split,
                annotations=source.annotations,
                subset=subset,
                out=run / f"scores{suffix}.npz",
                workers=settings.data.workers,
            ),
            load=LoadOptions(task=task, flow=flow),
            reporter=reporter,
        )
        seconds = {} if interrupted else {"seconds": time.monotonic() - begun}
        write_json(result, {**tested.figures, "made": made_now(), **seconds})
    return read_run(run, protocol or "", result, source=source)


def read_run(run: Path, protocol: str, result: Path, *, source: TaskSource | None = None) -> Run:
    """Read a finished run from its folder, and the results of its test from a file."""
    figures = json.loads(result.read_text(encoding="utf-8"))
    settings = load_yaml(run / SETTINGS_FILE)
    source = source or settings.data.sources()[""]
    pointer = read_pointer(run)
    best = pointer.get("prefer") == "best" and pointer.get("best")
    sides = SplitList(run).sides().values()
    made = figures.pop("made", None) or str(datetime.date.fromtimestamp(result.stat().st_mtime))
    seconds = figures.pop("seconds", None)
    return Run(
        settings,
        figures,
        protocol,
        sum(side == "train" for side in sides),
        "best" if best else "last",
        made,
        (source.source, source.split or ""),
        seconds,
    )


def made_of(out: Path, names: Iterable[str]) -> str:
    """Return the dates and machines of the tests of finished runs.

    Args:
        out: folder of the runs.
        names: names of rows; their runs are the folders ``NAME-SEED``.
    """
    found: dict[str, None] = {}
    for name in names:
        for result in sorted(out.glob(f"{name}-*/{RESULT_FILE}")):
            made = json.loads(result.read_text(encoding="utf-8")).get("made")
            found[made or str(datetime.date.fromtimestamp(result.stat().st_mtime))] = None
    return "; ".join(found)
