"""The logs of a run: CSV files of every step and of the chosen snippets, and TensorBoard's files."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.run_folder import CHOICES_FILE, LOG_FILE, TENSORBOARD, of_process

if TYPE_CHECKING:
    from torch import Tensor

    from praxiscope.progress import Reporter
    from praxiscope.recipes.settings import TrainSettings
    from praxiscope.training.loggers import Loggers
    from praxiscope.training.loop import TrainState

__all__ = [
    "ChoiceLog",
    "RunLog",
    "choice_recorder",
    "log_writer",
    "merge_choices",
    "open_log",
    "read_choices",
    "read_log",
]

_FIRST = ("step", "epoch", "lr", "loss", "top1", "val_loss", "val_top1")


class RunLog:
    """Write figures by step to ``log.csv`` and, optionally, to TensorBoard.

    Args:
        run: the run's folder.
        resume_step: rows of later steps are deleted, because the resumed run writes them again. None: a new run.
        tensorboard: whether to write TensorBoard files.
        others: other loggers, which are closed with this one.
    """

    def __init__(
        self,
        run: Path,
        *,
        resume_step: int | None = None,
        tensorboard: bool = True,
        others: Loggers | None = None,
    ) -> None:
        self._others = others
        self.path = run / LOG_FILE
        self.rows = []
        if resume_step is not None:
            self.rows = [row for row in read_log(self.path) if row["step"] <= resume_step]
        self._columns = [*_FIRST, *sorted({key for row in self.rows for key in row} - set(_FIRST))]
        self._rewrite()
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(
                str(run / TENSORBOARD), purge_step=resume_step + 1 if resume_step else None
            )

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row. ``step`` must be among its keys; unknown keys become new columns."""
        self.rows.append(dict(row))
        new = sorted(row.keys() - set(self._columns))
        if new:
            self._columns += new
            self._rewrite()
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(dict(row))
        if self._writer is not None:
            for key, value in row.items():
                if key not in ("step", "epoch"):
                    self._writer.add_scalar(key, value, int(row["step"]))
        if self._others is not None:
            self._others.log(row)

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.path)

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
        if self._others is not None:
            self._others.finish()


def open_log(settings: TrainSettings, run: Path, resume_step: int | None, reporter: Reporter) -> RunLog:
    """The log of a run with the loggers that its settings name.

    Args:
        settings, run: of the run.
        resume_step: see `RunLog`.
        reporter: gets the notes of loggers that fail.
    """
    others = None
    if settings.run.log:
        from praxiscope.training.loggers import Loggers

        others = Loggers(settings.run.log, run, settings.model_dump(mode="json"), reporter.line)
    return RunLog(run, resume_step=resume_step, tensorboard=settings.run.tensorboard, others=others)


def log_writer(
    log: RunLog | None, phase: Callable[[int], int] | None
) -> Callable[[Mapping[str, float]], None]:
    """Return a function that writes a row to a log, if there is one, with the phase of its step for a run of two.

    Args:
        log: the log of this process.
        phase: from the index of a step, from 0, to its phase; None for a run of one phase.
    """

    def write(row: Mapping[str, float]) -> None:
        if log is not None:
            log.write(
                row if phase is None or "loss" not in row else {**row, "phase": phase(int(row["step"]) - 1)}
            )

    return write


class ChoiceLog:
    """Log the snippets that each step learned from: a CSV file with the columns step, video, snippets.

    Args:
        path: the file.
        resume_step: rows of later steps are deleted, because the resumed run writes them again.
    """

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        rows = [row for row in read_choices(path) if row[0] <= resume_step] if resume_step else []
        temporary = path.with_suffix(".csv.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("step", "video", "snippets"))
            writer.writerows((step, video, _numbers(chosen)) for step, video, chosen in rows)
        os.replace(temporary, path)
        self.path = path

    def write(self, step: int, videos: Sequence[str], chosen: Sequence[Sequence[int]]) -> None:
        """Add a row for each video with the indices of its snippets, from 0."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                (step, video, _numbers(numbers)) for video, numbers in zip(videos, chosen, strict=True)
            )


def choice_recorder(run: Path, rank: int, state: TrainState) -> Callable[[Sequence[str], Tensor], None]:
    """Return a function that records the snippets chosen in this process; the first choice creates the file."""
    logs: list[ChoiceLog] = []

    def record(ids: Sequence[str], chosen: Tensor) -> None:
        if not logs:
            logs.append(ChoiceLog(run / of_process(CHOICES_FILE, rank), resume_step=state.step))
        logs[0].write(state.step + 1, ids, chosen.tolist())

    return record


def _numbers(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def read_choices(path: Path) -> list[tuple[int, str, list[int]]]:
    """Read the rows of a `ChoiceLog`: step, video, snippet indices. An incomplete last row is ignored."""
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                rows.append((int(row["step"]), row["video"], [int(word) for word in row["snippets"].split()]))
            except (AttributeError, KeyError, TypeError, ValueError):
                continue
    return rows


def merge_choices(run: Path) -> None:
    """Merge the choices of all processes (``chosen.N.csv``) into the file of the first process, ordered by step."""
    others = sorted(run.glob(of_process(CHOICES_FILE, "*")))
    if not others:
        return
    rows = [row for path in (run / CHOICES_FILE, *others) for row in read_choices(path)]
    log = ChoiceLog(run / CHOICES_FILE)
    for step, video, chosen in sorted(rows, key=lambda row: row[0]):
        log.write(step, [video], [chosen])
    for path in others:
        path.unlink()


def read_log(path: Path) -> list[dict[str, float]]:
    """Read the rows of a ``log.csv``: numbers by column, without empty cells. An incomplete last row is ignored."""
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                numbers = {key: float(value) for key, value in row.items() if key and value}
            except (TypeError, ValueError):
                continue
            if "step" in numbers:
                # Keep integers as integers, so that the log of a resumed run equals that of an uninterrupted run.
                rows.append({k: int(v) if k in ("step", "epoch", "phase") else v for k, v in numbers.items()})
    return rows
