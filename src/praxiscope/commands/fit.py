"""Train a model that is fitted to stored features: from a feature store, or from videos, to a run folder."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from praxiscope.checkpoint import point_to, read_pointer, save_checkpoint
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.commands.fit_options import builder_keywords, check_fit, feature_options
from praxiscope.commands.report import note_command, report_run
from praxiscope.data.batch import mix_seeds
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.skipped import check_skips, write_skipped
from praxiscope.data.splitlist import note_on_learned, trained_on, write_split
from praxiscope.features.store import FeatureStore, is_store
from praxiscope.inference.frame_network import check_network
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings, dump_yaml
from praxiscope.run_folder import (
    CHECKPOINTS,
    FEATURES,
    HELD_OUT_FILE,
    REPORT_FILE,
    SETTINGS_FILE,
    SKIPPED_FILE,
)
from praxiscope.training.calibrating import note_on_few
from praxiscope.training.feature_fit import Fitted, build_on_features, fit_to_store
from praxiscope.training.log import RunLog
from praxiscope.training.readable import check_trainable, check_worthwhile
from praxiscope.units import counted

__all__ = ["fit_run"]

_CHECKPOINT = "step-00000001"


def fit_run(
    settings: TrainSettings,
    out: str | Path,
    *,
    resume: bool = False,
    command: str | None = None,
    reporter: Reporter | None = None,
) -> bool:
    """Fit a model to stored features, and write a run folder.

    If the data are videos, their features are first computed into ``features/`` of the run's folder; if this is
    interrupted, the run continues with ``resume``.

    Args:
        settings: all settings of the run. ``data.source`` may be a feature store.
        out: the run's folder.
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
    check_fit(settings, folder, resume)
    if resume and read_pointer(folder):
        if not (folder / REPORT_FILE).is_file():  # the run was stopped at its end
            report_run(folder)
        reporter.line(f"{folder} is already finished. Report: {folder / REPORT_FILE}")
        return True
    manifest = _records(settings)
    check_worthwhile(settings, manifest)
    if is_store(settings.data.source):
        whole = FeatureStore(settings.data.source)
        check_network(whole.network, whole.contract)
    folder.mkdir(parents=True, exist_ok=True)
    dump_yaml(settings, folder / SETTINGS_FILE)
    note_command(folder, command)
    root = Path(settings.data.source)
    told: set[str] = set()  # notes on the data, by the command that computes the features
    if not is_store(root):
        options = FeatureOptions(**feature_options(settings))
        root = features(settings.data.source, folder / FEATURES, options, reporter=reporter)
        told = set(_records(settings, random_split=False).notes)
    for note in manifest.notes:
        if note not in told:
            reporter.line(f"Note: {note}")
    store = FeatureStore(root)
    before = trained_on(store.network)
    write_split(folder, manifest.records, before)
    for note in note_on_learned(manifest.of("test"), before):
        reporter.line(f"Note: {note}")
    _check_readable(settings, folder, manifest, store)
    torch.manual_seed(mix_seeds(settings.run.seed, 0))
    model, card = build_on_features(settings.model.name, builder_keywords(settings), store, manifest)
    fitted = fit_to_store(
        model, card, store, manifest, scratch=folder, seed=settings.run.seed, reporter=reporter
    )
    if fitted.held_out_scores is not None:
        fitted.held_out_scores.save(folder / HELD_OUT_FILE)
    save_checkpoint(folder / CHECKPOINTS / _CHECKPOINT, model, fitted.card)
    log = RunLog(folder, tensorboard=False)
    log.write(fitted.row)
    log.close()
    point_to(folder, last=_CHECKPOINT, best=None, prefer="last")
    report_run(folder)
    _summarise(fitted, sum(record.id in store for record in manifest.to_train()), reporter)
    reporter.line(f"Done in {time.perf_counter() - started:.0f} s. Report: {folder / REPORT_FILE}")
    return True


def _records(settings: TrainSettings, *, random_split: bool = True) -> Manifest:
    data = settings.data
    return load_records(
        data.source,
        split=data.split,
        annotations=Path(data.annotations) if data.annotations else None,
        seed=settings.run.seed,
        test_fraction=data.test_fraction,
        random_split=random_split,
    )


def _check_readable(settings: TrainSettings, folder: Path, manifest: Manifest, store: FeatureStore) -> None:
    """List the videos without features. Raises if they are too many, or a class has no training video."""
    lacking = {record.id for record in manifest.records} - set(store.ids)
    problems = {id: store.skipped.get(id, f"{id}: has no features in {store.root}") for id in lacking}
    listing = folder / SKIPPED_FILE
    if problems:
        write_skipped(listing, problems)
        check_skips(len(problems), len(manifest.records), settings.data.max_skip, listing)
    check_trainable(manifest, [record for record in manifest.to_train() if record.id in store], listing)


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
