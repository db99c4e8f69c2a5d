"""Shared functions of the benchmark scripts that compare systems on the same clips: runs on every fold, and tables.

A row is a system with a name and settings. It is trained and tested once on each fold with each seed; what is finished
is kept. ``--share 1/2`` trains every second run and writes no table, so that two processes can share the work.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common import Run, Table, experiment

from praxiscope.bench.compare import (
    PAIRS_HEADER,
    SYSTEMS_HEADER,
    Comparison,
    groups_of,
    pair_cells,
    pair_rows,
    system_cells,
    system_rows,
)
from praxiscope.bench.countdown import Countdown
from praxiscope.data.folds import Fold, parse_fold
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.loader import flow_store

__all__ = ["Rows", "add_fold_options", "at_least", "comparison_tables"]


class Rows(NamedTuple):
    """Rows of a table, each trained on every fold with every seed.

    Attributes:
        settings: those of each row by its name.
        out: folder of the runs.
        protocol: views of the tests.
        folds: number of folds, of each data set where a row has several; None: the split of the settings.
        seeds: number of runs of each fold.
        with_train: rows whose training clips are scored as well, for a fusion that learns from scores.
    """

    settings: Mapping[str, TrainSettings]
    out: Path
    protocol: str
    folds: int | None
    seeds: int = 1
    with_train: Sequence[str] = ()

    def parts(self) -> list[tuple[int, Fold | None]]:
        """Seed and fold of each part; a seed is finished before the next one begins."""
        folds: list[Fold | None] = [None]
        if self.folds is not None:
            folds = [Fold(number, self.folds) for number in range(1, self.folds + 1)]
        return [(seed, fold) for seed in range(self.seeds) for fold in folds]

    def folder(self, name: str, seed: int, fold: Fold | None) -> Path:
        """The folder of a run."""
        ending = "" if fold is None else f"-fold{fold.number}of{fold.count}"
        return self.out / f"{re.sub('[^A-Za-z0-9]+', '-', name)}-{seed}{ending}"

    def train(self, share: Fold | None = None) -> dict[str, list[Run]]:
        """Train and test the runs, or a share of them; return the tests of each row, in the order of `parts`.

        A row with several data sets (``data.tasks``) is tested on each of them, one after the other.

        Raises:
            ArgumentError, DataError: a row names flow that is not there, or of one direction only; before any training.
        """
        for settings in self.settings.values():
            flow_store(settings)
        todo = [(name, *part) for part in self.parts() for name in self.settings]
        if share is not None:
            todo = todo[share.number - 1 :: share.count]
        countdown = Countdown([self._results(*run)[-1] for run in todo], ConsoleReporter())
        found: dict[str, list[Run]] = {name: [] for name in self.settings}
        for name, seed, fold in todo:
            folder = self.folder(name, seed, fold)
            countdown.begin(self._results(name, seed, fold)[-1], folder.name)
            settings = _on_fold(self.settings[name], fold).updated({"run.seed": seed})
            for task, source in settings.data.sources().items():
                asked = {"source": source, "task": task or None}
                found[name].append(experiment(settings, folder, self.protocol, **asked))
                if name in self.with_train:
                    experiment(settings, folder, self.protocol, subset="train", **asked)
        return found

    def _results(self, name: str, seed: int, fold: Fold | None) -> list[Path]:
        """The files of a run's results, one of each data set."""
        tasks = self.settings[name].data.sources()
        return [
            self.folder(name, seed, fold) / f"result_{_words(self.protocol, task)}.json" for task in tasks
        ]

    def scores(self, name: str, subset: str = "", task: str = "") -> list[Scores]:
        """The scores of each part, of the test clips or, with ``subset`` "train", of the training clips.

        Args:
            name: of the row.
            subset: "" or "train".
            task: the data set, of a row that has several.
        """
        file = f"scores_{_words(self.protocol, task, subset)}.npz"
        return [Scores.load(self.folder(name, *part) / file) for part in self.parts()]

    def system(self, name: str, task: str = "") -> System:
        """The correct answers of a row, on one data set where it has several."""
        return read_system(name, self.scores(name, task=task))


def _words(*words: str) -> str:
    """The name of a test in files, as `experiment` composes it."""
    return "_".join(word for word in words if word)


def _on_fold(settings: TrainSettings, fold: Fold | None) -> TrainSettings:
    """Settings with a fold as the split of each data set."""
    if fold is None:
        return settings
    if settings.data.tasks is None:
        return settings.updated({"data.split": str(fold)})
    tasks = {name: {**task.model_dump(), "split": str(fold)} for name, task in settings.data.tasks.items()}
    return settings.updated({"data.tasks": tasks})


def add_fold_options(arguments: argparse.ArgumentParser, *, folds: int = 5, seeds: int = 1) -> None:
    """Add ``--folds``, ``--seeds`` and ``--share``."""
    arguments.add_argument(
        "--folds", type=at_least(2), default=folds, help="number of folds, divided by group"
    )
    arguments.add_argument("--seeds", type=at_least(1), default=seeds, help="number of runs of each fold")
    arguments.add_argument(
        "--share",
        type=_share,
        metavar="I/N",
        help="train the I-th of N shares of the runs, and write no table; start a second process when the first one "
        "trains, so that it finds all data made",
    )


def at_least(smallest: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from ``smallest``."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least {smallest}")
        return int(text)

    return whole_number


def _share(text: str) -> Fold:
    try:
        found = parse_fold(text)
    except ArgumentError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text}: must be I/N, share I of N, with N of at least 2 and I from 1 to N"
        )
    return found


def comparison_tables(
    heading: str, systems: Sequence[System], data: str | None, pairs: Sequence[tuple[str, str]]
) -> list[Table]:
    """Two tables: the accuracy of each system, and the differences of pairs, if any of them can be formed.

    Args:
        heading: heading of the first, or "".
        systems: the systems, tested on the same clips.
        data: data set of the clips, for their groups. None: each clip is a group.
        pairs: names of systems; the second is subtracted from the first. Pairs of absent systems are left out.
    """
    names = {system.name for system in systems}
    known = [pair for pair in pairs if names.issuperset(pair)]
    found = Comparison(systems, groups_of(systems, data), known)
    tables = [Table(heading, SYSTEMS_HEADER, [system_cells(row) for row in system_rows(found)])]
    if known:
        tables.append(Table("", PAIRS_HEADER, [pair_cells(row) for row in pair_rows(found)]))
    return tables
