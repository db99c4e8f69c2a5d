"""Train a recogniser: from a data set's name to a run folder."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import (
    InputContract,
    ModelCard,
    find_checkpoint,
    load_model_weights,
    load_optimizer,
    point_to,
    read_pointer,
    save_checkpoint,
)
from praxiscope.data.batch import EpochBatches, mix_seeds
from praxiscope.data.dataset import ClipReader, RgbReader, Skip, TrainingClips, collate
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.splits import class_weights, epoch_order
from praxiscope.errors import ArgumentError, TrainingError
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.views import bf16_pays
from praxiscope.models import create_model
from praxiscope.models.weights import load_weights
from praxiscope.progress import Reporter
from praxiscope.recipes.lists import write_skipped, write_split
from praxiscope.recipes.report import report_run
from praxiscope.recipes.settings import TrainSettings, dump_yaml, load_yaml
from praxiscope.recipes.summary import describe_model
from praxiscope.recogniser import Recogniser
from praxiscope.steps import make_loss, ordinary
from praxiscope.training.log import RunLog
from praxiscope.training.loop import Plan, TrainState, fit
from praxiscope.training.optim import make_optimizer, parameter_groups, schedule
from praxiscope.types import Batch, VideoRecord
from praxiscope.video.sampling import segment_indices
from praxiscope.video.transforms import BatchAugment, CenterCrop, ColorJitter, MultiScaleCrop, RandomCrop

__all__ = ["targets_of", "train"]

# What a resumed run may change: none of these has a say in the weights that come out.
_MAY_DIFFER = {
    "data.workers",
    "data.time_limit_s",
    "data.max_skip",
    "run.tensorboard",
    "run.checkpoint_steps",
}

_CROPS = {"multi-scale": MultiScaleCrop, "random": RandomCrop, "center": CenterCrop}


def train(
    settings: TrainSettings, out: str | Path, *, resume: bool = False, reporter: Reporter | None = None
) -> bool:
    """Train a recogniser and leave a run folder.

    Args:
        settings: everything that decides the result.
        out: the run's folder. It gets ``settings.yaml``, ``split.csv``, ``log.csv``, ``skipped.csv``,
            ``checkpoints/``, ``tensorboard/`` and ``report.html``.
        resume: go on from the folder's last checkpoint, as if the run had never stopped.
        reporter: shows progress.

    Returns:
        True when the run is complete, False when it was interrupted and saved.

    Raises:
        ArgumentError, DataError, CheckpointError: something cannot be used as asked.
        TrainingError: the loss is not finite, or too many videos cannot be read.
    """
    run = Path(out)
    _check_folder(run, settings, resume)
    fabric = _launch(settings)
    reporter = (reporter or Reporter()) if fabric.is_global_zero else Reporter()
    manifest = load_records(
        settings.data.source,
        split=settings.data.split,
        annotations=Path(settings.data.annotations) if settings.data.annotations else None,
        seed=settings.run.seed,
        test_fraction=settings.data.test_fraction,
    )
    records = manifest.of("train")
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        dump_yaml(settings, run / "settings.yaml")
        write_split(run / "split.csv", manifest.records)
    # The same weights in every process, whatever was drawn before.
    torch.manual_seed(mix_seeds(settings.run.seed, 0))
    model, card = build_model(settings, manifest, reporter)
    steps_per_epoch = max(
        1,
        EpochBatches.count(len(records), settings.optim.batch, fabric.world_size)
        // settings.optim.accumulate,
    )
    if _channels_last(settings, fabric.device):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _announce(settings, manifest, model, card, fabric, steps_per_epoch, reporter)
    optim = settings.optim
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
    state = TrainState()
    if resume:
        folder = find_checkpoint(run, "last")
        load_model_weights(folder, bare)
        state = TrainState(**load_optimizer(folder, bare, getattr(optimizer, "optimizer", optimizer)))
        reporter.line(f"Resumed after step {state.step} (epoch {state.epoch + 1}).")
    log = (
        RunLog(run, resume_step=state.step, tensorboard=settings.run.tensorboard)
        if fabric.is_global_zero
        else None
    )
    started = time.perf_counter()
    monitor = _Monitor(settings, manifest, bare, card, fabric, reporter)
    saver = partial(
        _save, run=run, model=bare, optimizer=optimizer, card=card, fabric=fabric, monitor=monitor
    )
    try:
        complete = fit(
            fabric,
            model,
            optimizer,
            step=ordinary(make_loss(manifest.multi_label, _class_weights(settings, manifest, records))),
            plan=Plan(
                epochs=optim.epochs,
                steps_per_epoch=steps_per_epoch,
                schedule=schedule(
                    optim.schedule,
                    total_steps=optim.epochs * steps_per_epoch,
                    warmup_steps=round(optim.warmup_epochs * steps_per_epoch),
                    milestones=[round(m * steps_per_epoch) for m in optim.milestones],
                    gamma=optim.gamma,
                ),
                accumulate=optim.accumulate,
                clip_norm=optim.clip_norm,
                seed=settings.run.seed,
                checkpoint_steps=settings.run.checkpoint_steps,
            ),
            state=state,
            batches=_loader(settings, manifest, records, fabric),
            prepare=_preparer(settings, card.input, fabric.device),
            log=log.write if log else lambda row: None,
            note_skips=_SkipList(run, state, len(records), settings.data.max_skip, fabric, reporter),
            save=saver,
            end_epoch=monitor,
            reporter=reporter,
            draw_seed=mix_seeds,
        )
    finally:
        if log:
            log.close()
    if fabric.is_global_zero:
        report_run(run)
        _say_goodbye(run, state, complete, time.perf_counter() - started, reporter)
    fabric.barrier()
    return complete


def targets_of(manifest: Manifest, records: Sequence[VideoRecord]) -> list[Tensor]:
    """Targets of records: int64 [] class numbers, or multi-hot float32 [K] where videos have several labels."""
    if not manifest.multi_label:
        return [torch.tensor(manifest.numbers(record)[0]) for record in records]
    targets = []
    for record in records:
        target = torch.zeros(len(manifest.classes))
        target[list(manifest.numbers(record))] = 1
        targets.append(target)
    return targets


def build_model(
    settings: TrainSettings, manifest: Manifest, reporter: Reporter
) -> tuple[nn.Module, ModelCard]:
    """The network with its start weights, and the card that will stand beside it."""
    wanted, given = settings.input, settings.model
    kwargs = {**given.keywords(), "num_classes": len(manifest.classes)}
    if given.name == "tsm":
        kwargs.setdefault("snippets", wanted.snippets)
    if given.backbone.startswith("timm/"):
        kwargs.setdefault("input_size", wanted.size)
    model = create_model(given.name, **kwargs)
    contract: Any = model.input_contract
    if given.weights:
        report = load_weights(model, given.weights)
        kept = " but the classifier, whose classes differ" if report.skipped_classifier else ""
        reporter.line(f"Loaded {len(report.loaded)} tensors from {given.weights}: all{kept}.")
        contract = model.input_contract  # the file's kind may have told another one
    # Weights come from the checkpoint when the model is loaded again, never from the network.
    kwargs.pop("pretrained", None)
    card = ModelCard(
        name=given.name,
        kwargs=kwargs,
        labels=manifest.classes,
        multi_label=manifest.multi_label,
        input=InputContract(
            size=wanted.size,
            short_side=wanted.short_side,
            channels=len(contract["mean"]),
            mean=tuple(wanted.mean or contract["mean"]),
            std=tuple(wanted.std or contract["std"]),
            snippets=wanted.snippets,
        ),
    )
    return model, card


def _check_folder(run: Path, settings: TrainSettings, resume: bool) -> None:
    if run.is_file():
        raise ArgumentError(f"--out {run}: is a file; name a folder.")
    pointer = read_pointer(run)
    if not resume:
        if pointer:
            raise ArgumentError(
                f"--out {run}: holds a run already (last checkpoint: {pointer.get('last')}). Go on with it by "
                "--resume, or name another folder."
            )
        return
    if not pointer:
        raise ArgumentError(f"--resume: {run} holds no checkpoint yet; start the run without --resume.")
    before = _flat(load_yaml(run / "settings.yaml").model_dump())
    now = _flat(settings.model_dump())
    changed = [key for key in now if now[key] != before.get(key) and key not in _MAY_DIFFER]
    if changed:
        listed = ", ".join(f"{key} {before.get(key)!r} → {now[key]!r}" for key in changed[:3])
        raise ArgumentError(f"--resume: {run} was started with other settings ({listed}). Start a new run.")


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _launch(settings: TrainSettings) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        wish, run = settings.run.precision, settings.run
        accelerator = run.accelerator
        if accelerator == "auto":
            accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        if wish == "auto":
            wish = "bf16" if bf16_pays(torch.device(accelerator)) else "32"
        many = run.devices * run.nodes > 1
        fabric = Fabric(
            accelerator=accelerator,
            devices=run.devices,
            num_nodes=run.nodes,
            strategy="ddp" if many else "auto",
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wish],
        )
        # Only the first process speaks; Fabric's own lines would come from each.
        silenced = io.StringIO()
        stderr, sys.stderr = sys.stderr, silenced if many else sys.stderr
        try:
            fabric.launch()
        finally:
            sys.stderr = stderr
    if settings.run.deterministic:
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return fabric


def _announce(
    settings: TrainSettings,
    manifest: Manifest,
    model: nn.Module,
    card: ModelCard,
    fabric: Any,
    steps_per_epoch: int,
    reporter: Reporter,
) -> None:
    """Say before the first step what will be done, on what, and what it will need."""
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    counts = {name: [0, 0] for name in manifest.classes}
    for record in manifest.records:
        for label in record.labels:
            counts[label][0 if record.split == "train" else 1] += 1
    training = [c[0] for c in counts.values()]
    reporter.line(
        f"{manifest.name}: {len(manifest.of('train'))} training clips of {len(manifest.classes)} classes "
        f"({min(training)} to {max(training)} each), {len(manifest.records) - len(manifest.of('train'))} held out."
    )
    if len(manifest.classes) <= 20:
        listed = ", ".join(f"{name} {train}+{held}" for name, (train, held) in counts.items())
        reporter.line(f"  training + held-out clips per class: {listed}")
    optim = settings.optim
    reporter.line(
        f"{optim.epochs} epochs x {steps_per_epoch} steps of {optim.batch * optim.accumulate * fabric.world_size} "
        f"clips x {settings.input.snippets} snippets of {settings.input.size} px; {optim.name}, "
        f"lr {optim.lr:g}, {optim.schedule} schedule."
    )
    reporter.line(describe_model(model, card, batch=optim.batch, optimizer=optim.name))
    reporter.line(
        f"On {fabric.world_size} x {fabric.device.type}, precision {fabric._precision.precision}, "
        f"{settings.data.workers} reading processes."
    )


def _preparer(
    settings: TrainSettings, contract: InputContract, device: torch.device
) -> Callable[[Batch], Batch]:
    """What brings a batch to the device and to floats, augmented by its videos' own seeds."""
    strength = settings.input.colour_jitter
    augment = BatchAugment(
        flip=settings.input.flip,
        jitter=ColorJitter(strength, strength, strength, strength / 4) if strength else None,
        mean=contract.mean,
        std=contract.std,
        flow_mean=contract.flow_mean,
        flow_std=contract.flow_std,
        channels_last=_channels_last(settings, device),
    )
    return lambda batch: augment(batch.to(device, non_blocking=True))


def _channels_last(settings: TrainSettings, device: torch.device) -> bool:
    wish = settings.run.channels_last
    return device.type in ("cpu", "cuda") if wish == "auto" else bool(wish)


class _SkipList:
    """Counts unreadable videos, lists them in ``skipped.csv`` and ends the run when there are too many."""

    def __init__(
        self, run: Path, state: TrainState, clips: int, limit: float, fabric: Any, reporter: Reporter
    ) -> None:
        self.run, self.state, self.clips, self.limit = run, state, clips, limit
        self.fabric, self.reporter = fabric, reporter
        write_skipped(self._path, state.skipped)

    @property
    def _path(self) -> Path:
        rank = self.fabric.global_rank
        return self.run / ("skipped.csv" if rank == 0 else f"skipped.{rank}.csv")

    def __call__(self, skips: Sequence[Skip]) -> None:
        new = [skip for skip in skips if skip.id not in self.state.skipped]
        if not new:
            return
        self.state.skipped.update(new)
        write_skipped(self._path, self.state.skipped)
        for skip in new:
            self.reporter.line(f"Skipped: {skip.problem}")
        count = len(self.state.skipped)
        if count > self.limit * self.clips:
            raise TrainingError(
                f"{count} of {self.clips} training videos cannot be read, more than --max-skip "
                f"{self.limit:.0%}; they are listed in {self._path}. Repair or remove them, or raise --max-skip."
            )


def _sample(num_frames: int, generator: torch.Generator | None, *, snippets: int) -> Tensor:
    return segment_indices(num_frames, snippets, 1, generator)


def _loader(settings: TrainSettings, manifest: Manifest, records: Sequence[VideoRecord], fabric: Any) -> Any:
    crop = _CROPS[settings.input.crop](settings.input.size)
    reader = ClipReader(
        records,
        targets_of(manifest, records),
        sampler=partial(_sample, snippets=settings.input.snippets),
        readers={"rgb": RgbReader(settings.input.short_side)},
        geometry=crop,
        time_limit_s=settings.data.time_limit_s,
    )
    clips = TrainingClips(reader)
    labels = [manifest.numbers(record) for record in records]

    def batches(epoch: int, start: int) -> Iterator[Any]:
        order = epoch_order(
            labels, seed=settings.run.seed, epoch=epoch, uniform=settings.data.sampling == "class-uniform"
        )
        sampler = EpochBatches(
            order,
            batch=settings.optim.batch,
            seed=settings.run.seed,
            epoch=epoch,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            start=start,
        )
        workers = settings.data.workers
        return iter(
            torch.utils.data.DataLoader(
                clips,
                batch_sampler=sampler,
                collate_fn=collate,
                num_workers=workers,
                pin_memory=fabric.device.type == "cuda",
                prefetch_factor=2 if workers else None,
            )
        )

    return batches


def _class_weights(
    settings: TrainSettings, manifest: Manifest, records: Sequence[VideoRecord]
) -> Tensor | None:
    if not settings.data.class_weights:
        return None
    counts = torch.zeros(len(manifest.classes))
    for record in records:
        for number in manifest.numbers(record):
            counts[number] += 1
    return class_weights(counts.int().tolist())


class _Monitor:
    """Scores the held-out videos after an epoch, every process its share."""

    def __init__(
        self,
        settings: TrainSettings,
        manifest: Manifest,
        model: nn.Module,
        card: ModelCard,
        fabric: Any,
        reporter: Reporter,
    ) -> None:
        self.settings, self.fabric, self.reporter = settings, fabric, reporter
        self.model, self.card, self.manifest = model, card, manifest
        # Choosing a checkpoint on the test videos would make its figure on them too good. So the best one is
        # preferred only where there are validation videos; else the test split is watched, no more.
        self.split = "val" if manifest.of("val") else "test"
        self.prefer = "best" if self.split == "val" else "last"
        self.records = manifest.of(self.split)
        self.is_best = False

    def __call__(self, state: TrainState) -> dict[str, float]:
        every = self.settings.run.validate_epochs
        self.is_best = False
        if (
            not self.records
            or not every
            or (state.epoch % every and state.epoch != self.settings.optim.epochs)
        ):
            return {}
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = self.records[rank::world]
        sums = torch.zeros(3, dtype=torch.float64)  # videos, correct (or average precision), loss
        if mine:
            precision = {"32-true": "32"}.get(self.fabric._precision.precision, "bf16")
            recogniser = Recogniser(self.model, self.card, device=self.fabric.device, precision=precision)
            protocol = self.settings.run.protocol
            if protocol == "auto":
                protocol = f"{self.settings.input.snippets}x1" if recogniser.clip_snippets == 1 else "1x1"
            scores, skipped = recogniser.score(
                mine,
                targets_of(self.manifest, mine),
                protocol,
                workers=self.settings.data.workers,
                time_limit_s=self.settings.data.time_limit_s,
            )
            for skip in skipped:
                self.reporter.line(f"Skipped in validation: {skip.problem}")
            targets = torch.from_numpy(scores.targets)
            logits = torch.from_numpy(scores.logits)
            figures = summarise(scores)
            loss = make_loss(self.manifest.multi_label)(logits, targets)
            figure = figures["map" if self.manifest.multi_label else "top1"]
            sums = torch.tensor([len(targets), figure * len(targets), float(loss) * len(targets)]).double()
        if world > 1:
            sums = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum").cpu()
        videos, correct, loss_sum = sums.tolist()
        if not videos:
            return {}
        name = "val_map" if self.manifest.multi_label else "val_top1"
        figures = {name: correct / videos, "val_loss": loss_sum / videos}
        self.is_best = state.best is None or figures[name] > state.best
        if self.is_best:
            state.best, state.best_step = figures[name], state.step
        self.reporter.line(
            f"Epoch {state.epoch}: {name.removeprefix('val_')} {figures[name]:.3f}, loss "
            f"{figures['val_loss']:.3f} on {int(videos)} {self.split} videos"
        )
        return figures


def _save(
    state: TrainState,
    *,
    run: Path,
    model: nn.Module,
    optimizer: Any,
    card: ModelCard,
    fabric: Any,
    monitor: _Monitor,
) -> None:
    if fabric.is_global_zero:
        name = f"step-{state.step:08d}"
        figures = {} if state.best is None else {f"best_{monitor.split}": state.best}
        save_checkpoint(
            run / "checkpoints" / name,
            model,
            replace(card, metrics=figures, training={"step": state.step, "epoch": state.epoch}),
            optimizer=getattr(optimizer, "optimizer", optimizer),
            state=state.to_dict(),
        )
        best = f"step-{state.best_step:08d}" if state.best_step is not None else None
        point_to(run, last=name, best=best, prefer=monitor.prefer)
    fabric.barrier()


def _say_goodbye(run: Path, state: TrainState, complete: bool, seconds: float, reporter: Reporter) -> None:
    if state.skipped:
        reporter.line(f"{len(state.skipped)} videos could not be read: {run / 'skipped.csv'}")
    if complete:
        reporter.line(f"Done: {state.step} steps in {seconds:.0f} s. Pictures: {run / 'report.html'}")
    else:
        reporter.line(f"Stopped and saved after step {state.step}. Go on with --resume --out {run}")
