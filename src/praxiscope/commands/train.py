"""Train a recogniser: from a data set's name to a run folder."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from praxiscope._memory import KeptMemory, keep_memory
from praxiscope.checkpoint import (
    ModelCard,
    find_checkpoint,
    load_card,
    load_model_weights,
    load_optimizer,
)
from praxiscope.commands.report import note_command, report_run
from praxiscope.data.batch import EpochBatches, mix_seeds
from praxiscope.data.joined import join
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.skipped import DamageList, merge_skipped
from praxiscope.data.splitlist import SplitList, write_split
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.views import bf16_pays
from praxiscope.inference.loading import build_from_card
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.recipes.sections import OptimSettings
from praxiscope.recipes.settings import TrainSettings, dump_yaml, load_yaml
from praxiscope.run_folder import (
    CHOICES_FILE,
    DAMAGED_FILE,
    REPORT_FILE,
    SETTINGS_FILE,
    SKIPPED_FILE,
    of_process,
)
from praxiscope.steps import TaskLoss, make_loss
from praxiscope.steps.base import Loss
from praxiscope.steps.principal import RecordChoice
from praxiscope.training.build_model import build_model
from praxiscope.training.checks import check_start, check_training
from praxiscope.training.duration import Course, length_of
from praxiscope.training.loader import (
    SkipList,
    channels_last,
    check_trainable,
    check_worthwhile,
    epoch_loader,
    flow_store,
    scan,
    weights_of_classes,
)
from praxiscope.training.log import ChoiceLog, RunLog, merge_choices
from praxiscope.training.loop import Plan, TrainState, fit
from praxiscope.training.make_step import check_network, make_step, snippets_at_once
from praxiscope.training.optim import TrunkFreeze, make_optimizer, parameter_groups
from praxiscope.training.resuming import check_resumable, is_finished, make_schedule, take_length
from praxiscope.training.summary import announce
from praxiscope.training.validation import Monitor, save
from praxiscope.types import Batch
from praxiscope.units import counted

__all__ = ["train"]


def train(
    settings: TrainSettings,
    out: str | Path,
    *,
    resume: bool = False,
    command: str | None = None,
    reporter: Reporter | None = None,
) -> bool:
    """Train a recogniser and leave a run folder.

    Args:
        settings: everything that decides the result.
        out: the run's folder. Its files are listed in `praxiscope.run_folder`.
        resume: continue from the folder's last checkpoint, as if the run had never stopped. Of the settings that affect
            the weights only the length (``optim.epochs``, ``optim.steps``) may change. A finished run stays as it is.
        command: the command line that asks for it, for the report.
        reporter: shows progress.

    Returns:
        True when the run is complete, False when it was interrupted and saved.

    Raises:
        ArgumentError, DataError, CheckpointError: something cannot be used as asked.
        TrainingError: the loss is not finite, or too many videos cannot be read.
    """
    run_once()
    run = Path(out)
    check_training(settings, run, resume)
    state, before = TrainState(), settings
    if resume:
        state, before = check_resumable(run, settings), load_yaml(run / SETTINGS_FILE)
        if is_finished(state, settings.optim):
            return _leave(run, settings, state, reporter or Reporter())
    optim = settings.optim
    fabric = _launch(settings)
    reporter = (reporter or Reporter()) if fabric.is_global_zero else Reporter()
    on_cpu = fabric.device.type == "cpu"
    if settings.run.keep_memory is True and on_cpu and not keep_memory():
        reporter.line("Note: run.keep_memory does nothing here: the C library is not glibc.")
    manifest = _load_data(settings)
    if not resume:
        check_worthwhile(settings, manifest)
    store = flow_store(settings)
    # The same weights in every process, whatever was drawn before.
    torch.manual_seed(mix_seeds(settings.run.seed, 0))
    if resume:
        checkpoint = find_checkpoint(run, "last")
        model, card = _take_up(checkpoint, run, manifest)
    else:
        model, card = build_model(settings, manifest, reporter, store)
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        dump_yaml(settings, run / SETTINGS_FILE)
        note_command(run, command)
        write_split(run, manifest.records)
        if not resume:  # of a run that ended before its first checkpoint: the videos may have been repaired
            for stale in run.glob(of_process(SKIPPED_FILE, "*")):
                stale.unlink()
    # Each process has its own list, since it reads its own videos; they are merged at the end.
    listing = run / of_process(SKIPPED_FILE, fabric.global_rank)
    fabric.barrier()
    note_skips = SkipList(listing, state.skipped, manifest, settings.data.max_skip, reporter)
    note_damage = DamageList(run / of_process(DAMAGED_FILE, fabric.global_rank), reporter)
    note_skips(scan(settings, manifest.records, reporter, store))
    if not resume:
        state.left_out = sorted(state.skipped)
    manifest = replace(manifest, records=tuple(r for r in manifest.records if r.id not in state.left_out))
    records = manifest.to_train()
    check_trainable(manifest, records, listing)
    if not settings.data.allow_no_test and all(record.split == "train" for record in manifest.records):
        reporter.line(
            f"Note: no held-out video can be read ({listing}): nothing will tell how good the result is."
        )
    if settings.optim.batch > max(len(records), OptimSettings().batch):
        raise ArgumentError(
            f"optim.batch = {settings.optim.batch}, but the set has "
            f"{counted(len(records), 'training video')}. Lower --batch."
        )
    batches = EpochBatches.count(len(records), settings.optim.batch, fabric.world_size)
    steps_per_epoch = batches // settings.optim.accumulate
    if not steps_per_epoch:
        raise ArgumentError(
            f"optim.accumulate = {settings.optim.accumulate}: an epoch of {counted(len(records), 'video')} "
            f"has {counted(batches, 'batch', 'batches')} "
            f"of {settings.optim.batch}. Lower optim.accumulate or optim.batch."
        )
    course = Course.of(settings, steps_per_epoch)
    check_start(settings, course.frozen >= course.steps)
    if channels_last(settings, fabric.device):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = fabric.to_device(model)
    # A resumed run cuts its steps as it did: measured anew, it might cut them elsewhere.
    at_once = state.at_once or snippets_at_once(settings, model, card.input, fabric, reporter)
    state.at_once = at_once
    check_network(settings, model, card.input)
    announce(settings, manifest, model, card, fabric, course, at_once, reporter)
    lengths = take_length(state, before, settings, course)
    optimizer = make_optimizer(
        optim.name,
        parameter_groups(
            model,
            lr=optim.lr,
            weight_decay=optim.weight_decay,
            classifier_lr_scale=optim.classifier_lr_scale,
            first_conv_lr_scale=optim.first_conv_lr_scale,
            policy=optim.policy,
        ),
        momentum=optim.momentum,
    )
    bare = model
    model, optimizer = fabric.setup(model, optimizer)
    if resume:
        load_model_weights(checkpoint, bare)
        load_optimizer(checkpoint, bare, getattr(optimizer, "optimizer", optimizer))
        fabric._precision.load_state_dict(state.precision)
        reporter.line(f"Resumed after step {state.step} (epoch {state.epoch + 1}).")
        for line in lengths:
            reporter.line(line)
    log = (
        RunLog(run, resume_step=state.step, tensorboard=settings.run.tensorboard)
        if fabric.is_global_zero
        else None
    )
    tasks = list(manifest.tasks.values())
    loss = make_loss(
        manifest.multi_label, weights_of_classes(settings, manifest, records), optim.label_smoothing, tasks
    )
    step = make_step(
        settings,
        loss,
        tasks,
        card.input,
        fabric.device,
        at_once=at_once,
        record_choice=_choices(run, state, fabric),
    )
    started = time.perf_counter()
    monitor = Monitor(
        settings,
        manifest,
        bare,
        card,
        fabric,
        note_skips,
        reporter,
        store,
        course.steps,
        note_damage=note_damage,
    )
    kept = KeptMemory(settings.run.devices)
    auto = settings.run.keep_memory == "auto" and on_cpu and settings.backprop.memory_limit is None
    freeze = TrunkFreeze(bare, course.frozen)

    def before_step(step: int) -> None:
        freeze(step)
        if auto:
            kept()

    saver = partial(save, run=run, model=bare, optimizer=optimizer, card=card, fabric=fabric, monitor=monitor)
    try:
        complete = fit(
            fabric,
            model,
            optimizer,
            step=step,
            plan=Plan(
                steps=course.steps,
                steps_per_epoch=steps_per_epoch,
                schedule=make_schedule(optim, course),
                lr=optim.lr,
                accumulate=optim.accumulate,
                clip_norm=optim.clip_norm,
                seed=settings.run.seed,
                checkpoint_steps=settings.run.checkpoint_steps,
            ),
            state=state,
            batches=epoch_loader(
                settings, manifest, records, fabric, state.skipped, card.input, store, bare.sees.all_frames
            ),
            log=log.write if log else lambda row: None,
            note_skips=note_skips,
            note_damage=note_damage,
            save=saver,
            end_epoch=monitor,
            reporter=reporter,
            draw_seed=mix_seeds,
            before_step=before_step,
            before_update=partial(_count_tasks, loss, fabric),
        )
    finally:
        kept.close()
        if log:
            log.close()
    fabric.barrier()
    if fabric.is_global_zero:
        merge_skipped(run)
        if complete:
            merge_choices(run)
        report_run(run)
        _say_goodbye(run, state, complete, time.perf_counter() - started, reporter)
    fabric.barrier()
    return complete


def _count_tasks(loss: Loss, fabric: Any, batches: list[Batch]) -> None:
    """Tell a loss of several tasks how many videos of each the update has, on all processes."""
    if isinstance(loss, TaskLoss):
        counts = loss.count(torch.cat([batch.targets for batch in batches])).to(fabric.device)
        if fabric.world_size > 1:
            counts = fabric.all_reduce(counts, reduce_op="sum")
        loss.expect(counts, len(batches) * fabric.world_size)


def _choices(run: Path, state: TrainState, fabric: Any) -> RecordChoice:
    """Record the snippets that a step chooses of this process's videos, in a file that the first choice makes."""
    logs: list[ChoiceLog] = []

    def record(ids: Sequence[str], chosen: torch.Tensor) -> None:
        if not logs:
            logs.append(ChoiceLog(run / of_process(CHOICES_FILE, fabric.global_rank), resume_step=state.step))
        logs[0].write(state.step + 1, ids, chosen.tolist())

    return record


def _load_data(settings: TrainSettings) -> Manifest:
    """The data set, or several as one."""
    manifests = {
        name: load_records(
            source.source,
            split=source.split,
            annotations=Path(source.annotations) if source.annotations else None,
            seed=settings.run.seed,
            test_fraction=settings.data.test_fraction,
        )
        for name, source in settings.data.sources().items()
    }
    return manifests[""] if settings.data.tasks is None else join(manifests)


def _take_up(checkpoint: Path, run: Path, manifest: Manifest) -> tuple[nn.Module, ModelCard]:
    """A run's network as it was built; the start weights' file is not needed again."""
    card = load_card(checkpoint)
    before, now = SplitList(run).sides(), {r.id: r.split or "" for r in manifest.records}
    if before != now or card.labels != manifest.classes or card.tasks != manifest.tasks:
        changed = sorted(set(before.items()) ^ set(now.items()))
        example = f" ({changed[0][0]} for one)" if changed else ""
        raise DataError(
            f"--resume: {manifest.name} is not what it was when {run} began: videos were added, removed, or changed "
            f"sides{example}. Put it back, or start a new run."
        )
    return build_from_card(card, checkpoint), card


def _launch(settings: TrainSettings) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        # What Fabric would say is said in the summary, once and not by every process.
        for name in ("lightning_fabric", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        wish, run = settings.run.precision, settings.run
        name = run.accelerator
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device = pick_device(name)
        if wish == "auto":
            wish = "bf16" if bf16_pays(device) else "32"
        devices, nodes = _processes(run.devices, run.nodes)
        fabric = Fabric(
            accelerator=device.type,
            devices=devices if device.index is None else [device.index],
            num_nodes=nodes,
            strategy=_strategy(devices * nodes, settings),
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wish],
        )
        fabric.launch()
    if settings.run.deterministic:
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return fabric


def _strategy(processes: int, settings: TrainSettings) -> str:
    """Fabric's name of the strategy; a trunk that is held has parameters without a gradient."""
    if processes == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if settings.optim.frozen_epochs else "ddp"


def _processes(devices: int, nodes: int) -> tuple[int, int]:
    """Processes per machine, and machines: as asked for, or as torchrun has already started them."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return devices, nodes
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return local, int(os.environ.get("WORLD_SIZE", "1")) // local


def _leave(run: Path, settings: TrainSettings, state: TrainState, reporter: Reporter) -> bool:
    """Say that nothing is left to do. What a run that was killed at its very end lacks is made up for."""
    if not (run / REPORT_FILE).is_file():
        merge_skipped(run)
        merge_choices(run)
        report_run(run)
    length = length_of(settings.optim)
    if not settings.optim.steps:
        length += f", {counted(state.step, 'step')}"
    reporter.line(
        f"{run} is finished already: {length}. To go on with it, give more: --resume --epochs N. "
        f"Pictures: {run / 'report.html'}"
    )
    return True


def _say_goodbye(run: Path, state: TrainState, complete: bool, seconds: float, reporter: Reporter) -> None:
    if state.skipped:
        reporter.line(f"{counted(len(state.skipped), 'video')} could not be read: {run / SKIPPED_FILE}")
    if complete:
        reporter.line(
            f"Done: {counted(state.step, 'step')} in {seconds:.0f} s. Pictures: {run / 'report.html'}"
        )
    else:
        reporter.line(f"Stopped and saved after step {state.step}. Go on with --resume --out {run}")
