"""Cross-validation of a system: train and test it on every fold with every seed, once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.bench.countdown import Countdown
from praxiscope.bench.experiment import experiment
from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve
from praxiscope.data.folds import Fold
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError, ScoresError
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.units import counted

__all__ = ["Validation", "cross_validate", "read_folder", "run_folders"]

_FOLDER = re.compile(r"seed(\d+)-fold(\d+)of(\d+)")


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
    place, reporter = Path(out).resolve(), reporter or Reporter()
    if place.is_file():
        raise ArgumentError(f"--out {out}: is a file. Name a folder.")
    ending = "" if wanted.protocol is None else f"_{wanted.protocol}"
    parse_protocol(wanted.protocol or "1x1")  # before anything is trained
    _check_data(wanted)
    folders = run_folders(place, wanted.folds, wanted.seeds)
    countdown = Countdown([folder / f"result{ending}.json" for folder in folders], reporter)
    for folder, (fold, seed) in folders.items():
        settings = wanted.settings(fold, seed, place / "new")
        countdown.begin(folder / f"result{ending}.json", f"fold {fold}, seed {seed}")
        experiment(settings, folder, wanted.protocol, reporter=reporter)
    return read_system(place.name, [Scores.load(folder / f"scores{ending}.npz") for folder in folders])


def _check_data(wanted: Validation) -> None:
    """Raise DataError for data with too few groups, or with videos that have not exactly one label."""
    for record in load_records(wanted.data, split=f"1/{wanted.folds}").records:
        if len(record.labels) != 1:
            raise DataError(
                f"{wanted.data}: {record.id} has {counted(len(record.labels), 'label')}. Give videos with one label "
                "each."
            )


def read_folder(name: str, place: Path) -> System:
    """The correct answers of the runs below a folder of `cross_validate`, or of any runs with one scores file each.

    Raises:
        ScoresError: there are no scores, several of a run, or a fold is missing.
    """
    files = sorted(place.glob("*/scores*.npz"))
    if not files:
        raise ScoresError(
            f"{place}: holds no runs with scores files. Give scores files of praxiscope test --out."
        )
    if len({file.name for file in files}) > 1:
        names = ", ".join(sorted({file.name for file in files}))
        raise ScoresError(f"{place}: its runs hold {names}. Name one, such as '{place}/*/{files[0].name}'.")
    found = {file: _FOLDER.fullmatch(file.parent.name) for file in files}
    if not all(found.values()):
        return read_system(name, [Scores.load(file) for file in files])
    of_run = {tuple(map(int, match.groups())): file for file, match in found.items() if match}
    seeds, counts = {seed for seed, _, _ in of_run}, {count for _, _, count in of_run}
    if len(counts) > 1:
        raise ScoresError(
            f"{place}: holds runs of {' and of '.join(map(str, sorted(counts)))} folds. Keep them apart."
        )
    (count,) = counts
    for seed in sorted(seeds):
        for number in range(1, count + 1):
            if (seed, number, count) not in of_run:
                raise ScoresError(
                    f"{place}: seed {seed} lacks fold {number} of {count}. Run the same praxiscope bench folds again."
                )
    return read_system(name, [Scores.load(of_run[key]) for key in sorted(of_run)])
