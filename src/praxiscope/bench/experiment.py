"""One run of a table: trained and tested once, and read back from then on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from pathlib import Path

from praxiscope.bench.machine import made_now
from praxiscope.checkpoint import write_json
from praxiscope.commands.arguments import TestOptions
from praxiscope.commands.test import test
from praxiscope.commands.train import train
from praxiscope.errors import ArgumentError, TrainingError
from praxiscope.inference.options import FlowOptions, LoadOptions
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import POINTER_FILE, SCORES_FILE, SETTINGS_FILE
from praxiscope.training.resuming import changed_settings

__all__ = ["accuracy_of", "made_of"]

_RESULT = "result.json"


def accuracy_of(settings: TrainSettings, run: Path, protocol: str, reporter: Reporter) -> float:
    """Top-1 of a run on the test videos of its data; their scores stay in ``run / SCORES_FILE``.

    Args:
        settings: of the training.
        run: its folder. A finished run is read back, a begun one goes on.
        protocol: of the test.
        reporter: shows progress.

    Raises:
        ArgumentError: the folder holds a run with other settings.
        TrainingError: the training was interrupted, and saved.
    """
    result = run / _RESULT
    if result.is_file():
        changed = changed_settings(load_yaml(run / SETTINGS_FILE), settings)
        if changed.keys() - {"run.accelerator"}:
            raise ArgumentError(
                f"{run}: was trained with other settings ({', '.join(changed)}). Name another folder by --out."
            )
        return float(json.loads(result.read_text(encoding="utf-8"))["top1"])
    reporter.line(f"--- {run.name}")
    if not train(settings, run, resume=(run / POINTER_FILE).is_file(), reporter=reporter):
        raise TrainingError(f"{run}: interrupted and saved. Give the same command to go on.")
    data = settings.data
    tested = test(
        run,
        data.source,
        TestOptions(
            protocol,
            split=data.split,
            annotations=data.annotations,
            out=run / SCORES_FILE,
            workers=data.workers,
        ),
        load=LoadOptions(flow=FlowOptions(data.flow, data.flow_range)),
        reporter=reporter,
    )
    write_json(result, {**tested.figures, "made": made_now()})
    return float(tested.figures["top1"])


def made_of(out: Path, names: Iterable[str]) -> str:
    """Dates and machines of the tests of runs that `accuracy_of` has finished.

    Args:
        out: the folder of the runs.
        names: of rows; their runs are the folders ``NAME-SEED``.
    """
    found: dict[str, None] = {}
    for name in names:
        for result in sorted(out.glob(f"{name}-*/{_RESULT}")):
            made = json.loads(result.read_text(encoding="utf-8")).get("made")
            found[made or str(datetime.date.fromtimestamp(result.stat().st_mtime))] = None
    return "; ".join(found)
