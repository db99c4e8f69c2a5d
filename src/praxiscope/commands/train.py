"""Train a recogniser: from a data set's name to a run folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from praxiscope._memory import KeptMemory, keep_memory
from praxiscope.checkpoint import find_checkpoint
from praxiscope.commands.fit import FitSource, fit_run
from praxiscope.commands.fit_features import FromFeatures
from praxiscope.commands.fit_flow import fit_flow_run
from praxiscope.commands.fit_trajectories import FromTrajectories
from praxiscope.commands.report import report_run
from praxiscope.commands.train_end import report_finished, summarise
from praxiscope.commands.train_network import build_network
from praxiscope.commands.train_start import write_start
from praxiscope.data.batch import EpochBatches
from praxiscope.data.manifest import Manifest
from praxiscope.data.skipped import DamageList, merge_skipped
from praxiscope.errors import ArgumentError
from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models.names import is_fitted, learns_of
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.recipes.sections import OptimSettings
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import DAMAGED_FILE, SETTINGS_FILE, SKIPPED_FILE, of_process
from praxiscope.steps import TaskLoss, make_loss
from praxiscope.steps.base import Loss
from praxiscope.training.calibrating import calibrate_run
from praxiscope.training.checks import (
    check_start,
    check_training,
    learns_on_features,
    note_on_start,
    with_known_start,
)
from praxiscope.training.duration import Duration
from praxiscope.training.launch import launch
from praxiscope.training.loader import (
    channels_last,
    epoch_loader,
    weights_of_classes,
)
from praxiscope.training.log import choice_recorder, log_writer, merge_choices, open_log
from praxiscope.training.loggers import check_loggers
from praxiscope.training.loop import Callbacks, TrainState, fit
from praxiscope.training.make_step import check_network, make_step, snippets_at_once
from praxiscope.training.network import Network
from praxiscope.training.optim import TrunkFreeze
from praxiscope.training.probe_start import start_from_probe
from praxiscope.training.readable import (
    ReadProblems,
    SkipList,
    check_trainable,
    check_worthwhile,
    scan,
)
from praxiscope.training.resuming import check_resumable, is_finished, update_length
from praxiscope.training.run_data import load_data
from praxiscope.training.set_up import make_plan, set_up
from praxiscope.training.stored_rows import row_loader, rows_lacking
from praxiscope.training.summary import report_start
from praxiscope.training.validation import Validation, save
from praxiscope.types import Batch
from praxiscope.units import counted

__all__ = ["train"]

_FIT_TO: dict[str, type[FitSource]] = {"features": FromFeatures, "trajectories": FromTrajectories}


def train(
    settings: TrainSettings,
    out: str | Path,
    *,
    resume: bool = False,
    command: str | None = None,
    reporter: Reporter | None = None,
) -> bool:
    """Train a recogniser and write a run folder.

    A model that learns from stored features or trajectories is fitted to them (`praxiscope.commands.fit`); one that
    only estimates flow learns from frames with known flow (`praxiscope.commands.fit_flow`).

    Args:
        settings: all settings of the run.
        out: the run's folder. Its files are listed in `praxiscope.run_folder`.
        resume: continue from the folder's last checkpoint, as if the run had never been interrupted. Settings that
            influence the weights must be the same, except for the length (``optim.epochs``, ``optim.steps``): the run
            is continued to a new length. A finished run is not changed.
        command: the command line of the run, for its report.
        reporter: shows progress.

    Returns:
        True when the run is complete, False when it was interrupted and saved.

    Raises:
        ArgumentError, DataError, CheckpointError: an argument, the data or a file cannot be used.
        TrainingError: the loss is not finite, or too many videos cannot be read.
    """
    check_loggers(settings.run.log)
    if is_fitted(settings.model.name):
        source = _FIT_TO[learns_of(settings.model.name)]()
        return fit_run(settings, out, source, resume=resume, command=command, reporter=reporter)
    if learns_of(settings.model.name) == "flow":
        return fit_flow_run(settings, out, resume=resume, command=command, reporter=reporter)
    run_once()
    folder = Path(out)
    settings = with_known_start(settings, folder if resume else None)
    check_training(settings, folder, resume)
    state, before = TrainState(), settings
    if resume:
        state, before = check_resumable(folder, settings), load_yaml(folder / SETTINGS_FILE)
        if is_finished(state, settings.optim):
            return report_finished(folder, settings, state, reporter or Reporter())
    fabric = launch(settings)
    run = _Run(settings, folder, resume, fabric, (fabric.is_global_zero and reporter) or Reporter())
    manifest = load_data(settings)
    if not resume:
        check_worthwhile(settings, manifest)
        for note in () if learns_on_features(settings) else note_on_start(settings.model):
            run.reporter.line(note)
    network = build_network(settings, manifest, run.reporter, folder if resume else None)
    _write_folder(run, manifest, command)
    problems = _open_lists(run, manifest, state)
    manifest = _readable_part(run, manifest, network, state, problems)
    duration = _duration(run, manifest)
    network = _on_device(run, network)
    learner = network.learner
    # A resumed run keeps its chunk sizes, because new measurements could differ.
    state.at_once = state.at_once or snippets_at_once(
        settings, learner, network.card.input, fabric, run.reporter
    )
    check_network(settings, learner, network.card.input)
    report_start(settings, manifest, network, fabric, duration, state.at_once, run.reporter)
    if settings.optim.probe and not resume:
        start_from_probe(settings, manifest, network, fabric, problems, run.reporter)
    notes = update_length(state, before, settings, duration)
    checkpoint = run.checkpoint if resume else None
    model, optimizer = set_up(settings, network, fabric, state, checkpoint, notes, run.reporter)
    started = time.perf_counter()
    complete = _fit(run, network, manifest, duration, state, problems, model, optimizer)
    fabric.barrier()
    if fabric.is_global_zero:
        merge_skipped(folder)
        if complete:
            merge_choices(folder)
            calibrate_run(folder, settings, manifest, network.store, fabric.device, run.reporter)
        report_run(folder)
        summarise(folder, settings, state, complete, time.perf_counter() - started, run.reporter)
    fabric.barrier()
    return complete


@dataclass(frozen=True)
class _Run:
    """The objects that all parts of a run share."""

    settings: TrainSettings
    folder: Path
    resume: bool
    fabric: Any
    reporter: Reporter

    @property
    def checkpoint(self) -> Path:
        return find_checkpoint(self.folder, "last")


def _write_folder(run: _Run, manifest: Manifest, command: str | None) -> None:
    """Write the files of a run's folder that exist before the first step."""
    if run.fabric.is_global_zero:
        write_start(
            run.settings,
            run.folder,
            manifest.records,
            resume=run.resume,
            command=command,
            reporter=run.reporter,
        )
    run.fabric.barrier()


def _open_lists(run: _Run, manifest: Manifest, state: TrainState) -> ReadProblems:
    """The lists of this process, which reads its own videos. They are merged at the end of the run."""
    skipped, damaged = (
        run.folder / of_process(name, run.fabric.global_rank) for name in (SKIPPED_FILE, DAMAGED_FILE)
    )
    limit = run.settings.data.max_skip
    return ReadProblems(
        SkipList(skipped, state.skipped, manifest, limit, run.reporter), DamageList(damaged, run.reporter)
    )


def _readable_part(
    run: _Run, manifest: Manifest, network: Network, state: TrainState, problems: ReadProblems
) -> Manifest:
    """The data set without the videos that were found unreadable before the first step."""
    if network.rows is not None:
        problems.skips(rows_lacking(manifest.records, network.rows.store))
    else:
        taught = None if network.teacher is None else network.teacher.store
        problems.skips(scan(run.settings, manifest.records, run.reporter, network.store, taught))
    if not run.resume:
        state.left_out = sorted(state.skipped)
    manifest = replace(manifest, records=tuple(r for r in manifest.records if r.id not in state.left_out))
    check_trainable(manifest, manifest.to_train(), problems.skips.path)
    if not run.settings.data.allow_no_test and all(record.split == "train" for record in manifest.records):
        run.reporter.line(
            f"Note: no held-out video can be read ({problems.skips.path}), so the result cannot be evaluated."
        )
    return manifest


def _duration(run: _Run, manifest: Manifest) -> Duration:
    """Return the length of the run. Raises ArgumentError if an epoch has no step, or the run has none."""
    settings, videos = run.settings, len(manifest.to_train())
    optim = settings.optim
    if optim.batch > max(videos, OptimSettings().batch):
        raise ArgumentError(
            f"optim.batch = {optim.batch} is larger than the data set, which has "
            f"{counted(videos, 'training video')}. Decrease --batch."
        )
    batches = EpochBatches.count(videos, optim.batch, run.fabric.world_size)
    steps_per_epoch = batches // optim.accumulate
    if not steps_per_epoch:
        raise ArgumentError(
            f"optim.accumulate = {optim.accumulate} is larger than the number of batches in an epoch: "
            f"{counted(videos, 'video')} give {counted(batches, 'batch', 'batches')} of {optim.batch}. Decrease "
            "optim.accumulate or optim.batch."
        )
    duration = Duration.of(settings, steps_per_epoch)
    check_start(settings, duration.frozen >= duration.steps)
    return duration


def _on_device(run: _Run, network: Network) -> Network:
    """The network on the run's device, in its memory format."""
    if channels_last(run.settings, run.fabric.device):
        to_channels_last(network.model)
    return replace(network, model=run.fabric.to_device(network.model))


def _fit(
    run: _Run,
    network: Network,
    manifest: Manifest,
    duration: Duration,
    state: TrainState,
    problems: ReadProblems,
    model: nn.Module,
    optimizer: Any,
) -> bool:
    """Run the training loop. Returns whether the run is complete."""
    settings, fabric, contract = run.settings, run.fabric, network.card.input
    records, tasks = manifest.to_train(), list(manifest.tasks.values())
    log = None
    if fabric.is_global_zero:
        log = open_log(settings, run.folder, state.step if run.resume else None, run.reporter)
    class_weights = weights_of_classes(settings, manifest, records)
    loss = make_loss(manifest.multi_label, class_weights, settings.optim.label_smoothing, tasks)
    record_choice = choice_recorder(run.folder, fabric.global_rank, state)
    step = make_step(
        settings, loss, tasks, contract, fabric.device, at_once=state.at_once, record_choice=record_choice
    )
    validation = Validation(settings, manifest, network, fabric, problems, run.reporter, duration.steps)
    freeze, kept_memory = TrunkFreeze(network.learner, duration.frozen), _keep_memory(run)

    def before_update(number: int, batches: list[Batch]) -> None:
        freeze(number)
        if kept_memory:
            kept_memory()
        _count_tasks(loss, fabric, batches)

    try:
        return fit(
            fabric,
            model,
            optimizer,
            step,
            plan=make_plan(settings, duration),
            state=state,
            batches=_batches(run, network, manifest, state),
            callbacks=Callbacks(
                log=log_writer(log, freeze.phase if freeze.phases else None),
                save=partial(save, run=run.folder, optimizer=optimizer, validation=validation),
                end_epoch=validation,
                record_skips=problems.skips,
                record_damage=problems.damage,
                before_update=before_update,
                reporter=run.reporter,
            ),
        )
    finally:
        if kept_memory:
            kept_memory.close()
        if log:
            log.close()


def _batches(run: _Run, network: Network, manifest: Manifest, state: TrainState) -> Any:
    """The batches of an epoch: of frames, or of stored features."""
    settings, records = run.settings, manifest.to_train()
    if network.rows is not None:
        return row_loader(settings, manifest, records, run.fabric, network.rows)
    whole = bool(network.model.sees.all_frames)  # type: ignore[union-attr]
    contract, flow = network.card.input, network.teacher or network.store
    return epoch_loader(settings, manifest, records, run.fabric, state.skipped, contract, flow, whole)


def _keep_memory(run: _Run) -> KeptMemory | None:
    """Return the function that decides before each step whether to keep freed memory, or None if that is fixed."""
    asked = run.settings.run.keep_memory
    if run.fabric.device.type != "cpu":
        return None
    if asked is True and not keep_memory():
        run.reporter.line("Note: run.keep_memory has no effect: the C library is not glibc.")
    bounded = run.settings.backprop.memory_limit is not None
    return KeptMemory(run.settings.run.devices) if asked == "auto" and not bounded else None


def _count_tasks(loss: Loss, fabric: Any, batches: list[Batch]) -> None:
    """Give a loss of several tasks the number of videos of each in the update, over all processes."""
    if isinstance(loss, TaskLoss):
        counts = loss.count(torch.cat([batch.targets for batch in batches])).to(fabric.device)
        if fabric.world_size > 1:
            counts = fabric.all_reduce(counts, reduce_op="sum")
        loss.expect(counts, len(batches) * fabric.world_size)
