"""Train a model that is fitted in one go, without steps: to stored features or trajectories, or from videos, to a run
folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from praxiscope.checkpoint import point_to, read_pointer, save_checkpoint
from praxiscope.commands.report import note_command, report_run
from praxiscope.data.batch import mix_seeds
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.skipped import check_skips, write_skipped
from praxiscope.data.splitlist import Learned, note_on_learned, write_split
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings, dump_yaml
from praxiscope.run_folder import CHECKPOINTS, HELD_OUT_FILE, REPORT_FILE, SETTINGS_FILE, SKIPPED_FILE
from praxiscope.training.calibrating import note_on_few
from praxiscope.training.feature_fit import Fitted
from praxiscope.training.log import RunLog
from praxiscope.training.readable import check_trainable, check_worthwhile
from praxiscope.units import counted

__all__ = ["FitSource", "fit_run", "records_of"]

_CHECKPOINT = "step-00000001"


class Stored(Protocol):
    """What was computed of videos, in a folder.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def skipped(self) -> dict[str, str]:
        """Videos that could not be read, with the reason, by id."""
        ...

    def __contains__(self, id: object) -> bool: ...


class FitSource(Protocol):
    """What a model is fitted to: features or trajectories."""

    def check(self, settings: TrainSettings, folder: Path, resume: bool) -> None:
        """Raise ArgumentError, DataError or CheckpointError for settings that cannot be used."""
        ...

    def is_stored(self, path: str | Path) -> bool:
        """Whether a path is a folder of them."""
        ...

    def compute(self, settings: TrainSettings, folder: Path, reporter: Reporter) -> Path:
        """Compute them from the videos of a run, into its folder; return where they are."""
        ...

    def open(self, root: Path) -> Any:
        """The `Stored` of a folder."""
        ...

    def trained_on(self, stored: Any) -> Learned:
        """The videos that were trained on before, by a network that computes them."""
        ...

    def fit(
        self, settings: TrainSettings, stored: Any, manifest: Manifest, scratch: Path, reporter: Reporter
    ) -> tuple[nn.Module, Fitted]:
        """Build and fit the model. ``scratch`` is a folder for temporary files."""
        ...


def fit_run(
    settings: TrainSettings,
    out: str | Path,
    source: FitSource,
    *,
    resume: bool = False,
    command: str | None = None,
    reporter: Reporter | None = None,
) -> bool:
    """Fit a model, and write a run folder.

    If the data are videos, what it is fitted to is first computed into the run's folder; if this is interrupted, the
    run continues with ``resume``.

    Args:
        settings: all settings of the run. ``data.source`` may be a folder of what the model is fitted to.
        out: the run's folder.
        source: what the model is fitted to.
        resume: continue in a folder that has no model yet.
        command: the command line of the run, for its report.
        reporter: shows progress.

    Returns:
        True; an interruption is raised.

    Raises:
        ArgumentError, DataError, CheckpointError: an argument, the data or a file cannot be used.
        TrainingError: too many videos cannot be read.
    """
    run_once()
    folder, reporter, started = Path(out), reporter or Reporter(), time.perf_counter()
    source.check(settings, folder, resume)
    if resume and read_pointer(folder):
        if not (folder / REPORT_FILE).is_file():  # the run was stopped at its end
            report_run(folder)
        reporter.line(f"{folder} is already finished. Report: {folder / REPORT_FILE}")
        return True
    manifest = records_of(settings)
    check_worthwhile(settings, manifest)
    root = Path(settings.data.source)
    if stored_before := source.is_stored(root):
        source.open(root)  # raises if it cannot be read
    folder.mkdir(parents=True, exist_ok=True)
    dump_yaml(settings, folder / SETTINGS_FILE)
    note_command(folder, command)
    told: set[str] = set()  # notes on the data, by the command that computes what is fitted to
    if not stored_before:
        root = source.compute(settings, folder, reporter)
        told = set(records_of(settings, random_split=False).notes)
    for note in manifest.notes:
        if note not in told:
            reporter.line(f"Note: {note}")
    stored = source.open(root)
    before = source.trained_on(stored)
    write_split(folder, manifest.records, before)
    for note in note_on_learned(manifest.of("test"), before):
        reporter.line(f"Note: {note}")
    _check_readable(settings, folder, manifest, stored)
    torch.manual_seed(mix_seeds(settings.run.seed, 0))
    model, fitted = source.fit(settings, stored, manifest, folder, reporter)
    if fitted.held_out_scores is not None:
        fitted.held_out_scores.save(folder / HELD_OUT_FILE)
    save_checkpoint(folder / CHECKPOINTS / _CHECKPOINT, model, fitted.card)
    log = RunLog(folder, tensorboard=False)
    log.write(fitted.row)
    log.close()
    point_to(folder, last=_CHECKPOINT, best=None, prefer="last")
    report_run(folder)
    _summarise(fitted, sum(record.id in stored for record in manifest.to_train()), reporter)
    reporter.line(f"Done in {time.perf_counter() - started:.0f} s. Report: {folder / REPORT_FILE}")
    return True


def records_of(settings: TrainSettings, *, random_split: bool = True) -> Manifest:
    """The videos of a run of one data set, with their splits."""
    data = settings.data
    return load_records(
        data.source,
        split=data.split,
        annotations=Path(data.annotations) if data.annotations else None,
        seed=settings.run.seed,
        test_fraction=data.test_fraction,
        random_split=random_split,
    )


def _check_readable(settings: TrainSettings, folder: Path, manifest: Manifest, stored: Stored) -> None:
    """List the videos that could not be read. Raises if they are too many, or a class has no training video."""
    lacking = [record.id for record in manifest.records if record.id not in stored]
    skipped = stored.skipped
    problems = {id: skipped.get(id, f"{id}: is not in {stored.root}") for id in lacking}
    listing = folder / SKIPPED_FILE
    if problems:
        write_skipped(listing, problems)
        check_skips(len(problems), len(manifest.records), settings.data.max_skip, listing)
    check_trainable(manifest, [record for record in manifest.to_train() if record.id in stored], listing)


def _summarise(fitted: Fitted, count: int, reporter: Reporter) -> None:
    """Say how good the fit to ``count`` clips is."""
    clips = counted(count, "training clip")
    for line in fitted.lines:
        reporter.line(line)
    name = "map" if fitted.card.multi_label else "top1"
    reporter.line(f"Fitted to {clips} in {fitted.seconds:.1f} s.")
    if fitted.learned:
        reporter.line(
            f"Note: the network of the features was trained on {fitted.learned} of these clips, which it knows better "
            "than new ones. They count neither in figures of held-out clips nor in the calibration."
        )
    if not fitted.held_out and fitted.learned:
        return
    if not fitted.held_out:
        reporter.line(
            "Note: no training clip could be held out, because each class has only one group; so there is no estimate "
            "of how often this is right."
        )
        return
    reporter.line(
        f"{name} {fitted.row[f'val_{name}']:.3f} on {counted(fitted.held_out, 'training clip')}, each scored by a fit "
        "without its group."
    )
    if not fitted.card.calibration:
        reporter.line(note_on_few(fitted.held_out))
