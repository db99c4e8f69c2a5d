"""Cross-validation of a system: train and test it on every fold with every seed, once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.bench.experiment import experiment
from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve
from praxiscope.data.folds import Fold, parse_fold
from praxiscope.data.manifest import load_records
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import SCORES_FILE
from praxiscope.units import counted

__all__ = ["Validation", "cross_validate", "read_folder", "run_folders"]

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Validation:
    """What is cross-validated.

    Attributes:
        data: a folder of class folders, a CSV, LAYOUT:FOLDER, or stored features.
        folds: number of folds.
        seeds: number of runs of each fold, with the seeds 0, 1, …
        model, recipe, plain, assignments: see `praxiscope.commands.train_options.TrainOptions`.
        flow: folder of stored flow; None for none.
        protocol: views of the test; None: the default of the model.
    """

    data: str
    folds: int = 5
    seeds: int = 1
    model: str | None = None
    recipe: str = "default"
    plain: Mapping[str, Any] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    flow: str | None = None
    protocol: str | None = None

    def settings(self, fold: Fold, seed: int, out: Path) -> TrainSettings:
        """The settings of a run; ``out`` is a folder that does not exist."""
        flow = () if self.flow is None else (self.flow,)
        options = TrainOptions(
            DataOptions(self.data, flow=flow),
            self.model,
            self.recipe,
            plain={"workers": 2, **self.plain, "split": str(fold), "seed": seed},
            assignments=self.assignments,
        )
        return resolve(options, out)


def run_folders(out: Path, folds: int, seeds: int) -> dict[Path, tuple[Fold, int]]:
    """The folder of each run, with its fold and seed; a seed is finished before the next one begins."""
    return {
        out / f"seed{seed}-fold{number}of{folds}": (Fold(number, folds), seed)
        for seed in range(seeds)
        for number in range(1, folds + 1)
    }


def cross_validate(wanted: Validation, out: str | Path, *, reporter: Reporter | None = None) -> System:
    """Train and test every run. Finished runs are kept, and an interrupted one is resumed.

    Args:
        wanted: what to do.
        out: folder of the runs, whose name is that of the system.
        reporter: shows progress.

    Returns:
        The correct answers of all runs.

    Raises:
        ArgumentError: too many folds, an option that does not fit, or a folder of runs with other settings.
        DataError: the data cannot be used.
        TrainingError: a run was interrupted; the same command resumes it.
    """
    place, reporter = Path(out), reporter or Reporter()
    parse_fold(f"1/{wanted.folds}")
    load_records(wanted.data, split=f"1/{wanted.folds}")  # raises before anything is trained
    folders = run_folders(place, wanted.folds, wanted.seeds)
    left = [folder for folder in folders if not (folder / RESULT_FILE).is_file()]
    started, done = time.monotonic(), 0
    for folder, (fold, seed) in folders.items():
        settings = wanted.settings(fold, seed, place / "new")
        if folder in left:
            reporter.line(f"fold {fold}, seed {seed}{_left(len(left) - done, done, started)}")
        experiment(settings, folder, wanted.protocol, name="", reporter=reporter)
        done += folder in left
    return read_system(place.name, [Scores.load(folder / SCORES_FILE) for folder in folders])


def _left(runs: int, done: int, started: float) -> str:
    """How many runs are left, and about how long they take."""
    text = f"; {counted(runs, 'run')} left"
    return text + (f", about {(time.monotonic() - started) / done * runs / 60:.0f} min" if done else "")


def read_folder(name: str, place: Path) -> System:
    """The correct answers of the runs below a folder, each with a ``scores.npz``. Raises ScoresError if there are none
    or some are missing."""
    return read_system(name, [Scores.load(path) for path in sorted(place.glob(f"*/{SCORES_FILE}"))])
