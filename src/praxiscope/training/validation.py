"""Validation after an epoch, and the checkpoints of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from praxiscope.checkpoint import point_to, save_checkpoint
from praxiscope.data.manifest import Manifest
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import Precision
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.stored import score_stored
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import CHECKPOINTS
from praxiscope.steps import make_loss
from praxiscope.training.loader import channels_last, targets_of
from praxiscope.training.loop import TrainState
from praxiscope.training.network import Network
from praxiscope.training.readable import ReadProblems
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["Validation", "run_protocol", "run_recogniser", "save"]


def run_recogniser(settings: TrainSettings, network: Network, fabric: Any) -> Recogniser:
    """The network of a run in the state of this moment, in the precision of the run; sets its evaluation mode."""
    # Keep the memory format of training: another would change the rounding of the next steps.
    precision = Precision(
        {"32-true": "32"}.get(fabric._precision.precision, "bf16"), channels_last(settings, fabric.device)
    )
    return Recogniser(
        network.model, network.card, device=fabric.device, precision=precision, flow_source=network.store
    )


def run_protocol(settings: TrainSettings, recogniser: Recogniser, at_least: int = 1) -> str:
    """The protocol of validation: that of the settings, or as many snippets as in training, ``at_least`` so many."""
    if settings.run.protocol != "auto":
        return settings.run.protocol
    if recogniser.sees.all_frames:
        return recogniser.default_protocol()
    if recogniser.takes_windows:
        return "1x1"
    averages = recogniser.sees.together in (1, None)
    return f"{max(at_least, settings.input.snippets)}x1" if averages else "1x1"


class Validation:
    """Scores the held-out videos after an epoch, and after the last step. Each process scores a part of them.

    Args:
        settings: settings of the run.
        manifest: the data set.
        network: the network of the run.
        fabric: a launched ``Fabric``.
        problems: the lists of videos that cannot be read.
        reporter: reports the figures.
        last_step: last step of the run.
    """

    def __init__(
        self,
        settings: TrainSettings,
        manifest: Manifest,
        network: Network,
        fabric: Any,
        problems: ReadProblems,
        reporter: Reporter,
        last_step: int | None = None,
    ) -> None:
        self.settings, self.manifest, self.network = settings, manifest, network
        self.fabric, self.problems, self.reporter, self.last_step = fabric, problems, reporter, last_step
        # A checkpoint that is chosen on the test videos has an optimistic test metric. So the best checkpoint is
        # preferred only if there are validation videos (of each task). Metrics on the test split are only reported.
        self.tasks = manifest.tasks or {"": (0, len(manifest.classes))}
        watched = {name: self._watched(block) for name, block in self.tasks.items()}
        self.records = [record for records in watched.values() for record in records]
        splits = sorted({str(record.split) for record in self.records})
        self.split = "held-out" if len(splits) > 1 else splits[0] if splits else "test"
        self.prefer = "best" if self.split == "val" and all(watched.values()) else "last"
        # A model trained on one label per video may be tested on videos with several labels, or none.
        several = manifest.multi_label or any(len(record.labels) != 1 for record in self.records)
        self.figure = "map" if several else "top1"

    def _watched(self, block: tuple[int, int]) -> list[VideoRecord]:
        """A task's validation videos, or else its test videos."""
        classes = set(self.manifest.classes[slice(*block)])
        for split in ("val", "test"):
            records = self.manifest.of(split)
            if self.manifest.tasks:
                records = tuple(r for r in records if not classes.isdisjoint(r.labels))
            if records:
                return list(records)
        return []

    def __call__(self, state: TrainState) -> dict[str, float]:
        every = self.settings.run.validate_epochs
        if not self.records or not every or (state.epoch % every and state.step != self.last_step):
            return {}
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = [r for r in self.records[rank::world] if r.id not in self.problems.skips.skipped]
        sums = self._score(mine) if mine else torch.zeros(len(self.tasks), 3, dtype=torch.float64)
        if world > 1:
            sums = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum").cpu()
        figures = self._figures(sums)
        if not figures:
            return {}
        name = f"val_{self.figure}"
        self._compare(state, figures[name], figures["val_loss"])
        each = ", ".join(
            f"{key.removeprefix(f'{name}_')} {value:.3f}"
            for key, value in figures.items()
            if key.startswith(f"{name}_")
        )
        when = f"Epoch {state.epoch}" if state.step else "Before the first step"
        self.reporter.line(
            f"{when}: {name.removeprefix('val_')} {figures[name]:.3f}{f' ({each})' if each else ''}, loss "
            f"{figures['val_loss']:.3f} on {counted(int(sums[:, 0].sum()), f'{self.split} video')}"
        )
        return figures

    def _compare(self, state: TrainState, figure: float, loss: float) -> None:
        """Record the figures if they are the best: the higher metric or, of equal ones, the lower loss."""
        known = (
            state.best_loss if state.best_loss is not None else -math.inf
        )  # versions without it kept the first
        if state.best is None or (figure, -loss) > (state.best, -known):
            state.best, state.best_step, state.best_loss = figure, state.step, loss
            state.not_better = 0
        elif self.prefer == "best":  # the end of a run may depend on validation videos, never on test videos
            state.not_better += 1

    def _figures(self, sums: Tensor) -> dict[str, float]:
        """Values to log, from the sums of the tasks [tasks, 3]: the mean of their metrics, so that all tasks have equal
        weight, and the sum of their losses, as in training. Tasks without a readable video are omitted."""
        name = f"val_{self.figure}"
        known = {
            task: (correct / videos, loss / videos)
            for task, (videos, correct, loss) in zip(self.tasks, sums.tolist(), strict=True)
            if videos
        }
        if not known:
            return {}
        shares = [share for share, _ in known.values()]
        figures = {name: sum(shares) / len(shares), "val_loss": sum(loss for _, loss in known.values())}
        if self.manifest.tasks:
            figures |= {f"{name}_{task}": share for task, (share, _) in known.items()}
        return figures

    def _score(self, records: Sequence[VideoRecord]) -> Tensor:
        """Sums over the readable videos of each task: videos, correct ones (or average precision), loss, [tasks, 3]."""
        recogniser = run_recogniser(self.settings, self.network, self.fabric)
        targets = targets_of(self.manifest, records)
        if self.network.rows is not None:
            store = self.network.rows.store
            scores, skipped = score_stored(recogniser, store, records, targets, reporter=self.reporter)
        else:
            scores, skipped = recogniser.score(
                records,
                targets,
                run_protocol(self.settings, recogniser),
                workers=self.settings.data.workers,
                time_limit_s=self.settings.data.time_limit_s,
                reporter=self.reporter,
                note_damage=self.problems.damage,
            )
        self.problems.skips(skipped)
        sums = torch.zeros(len(self.tasks), 3, dtype=torch.float64)
        for row, block in zip(sums, self.tasks.values(), strict=True):
            part = _of_block(scores, block) if self.manifest.tasks else scores
            value = summarise(part).get(self.figure)
            if value is not None:  # None: no video, or none with a label
                count, mean = len(part), self._loss(part)
                row += torch.tensor([count, value * count, mean * count], dtype=row.dtype)
        return sums

    def _loss(self, scores: Scores) -> float:
        """The loss of training: without ``multi_label`` a video counts once for each of its labels."""
        logits, targets = torch.from_numpy(scores.logits), torch.from_numpy(scores.targets)
        if scores.multi_label and not self.manifest.multi_label:
            rows, targets = targets.nonzero(as_tuple=True)
            logits = logits[rows]
        return float(make_loss(self.manifest.multi_label)(logits, targets))


def _of_block(scores: Scores, block: tuple[int, int]) -> Scores:
    """The scores of a task's videos, for its own classes."""
    start, end = block
    own = (scores.targets >= start) & (scores.targets < end)
    ids = [name for name, kept in zip(scores.ids, own, strict=True) if kept]
    classes = scores.classes[start:end]
    return Scores(ids, scores.logits[own, start:end], scores.targets[own] - start, classes, scores.protocol)


class Validated(Protocol):
    """What `save` needs of a validation.

    Attributes:
        settings, network, fabric: of the run.
        split: the videos on which the best checkpoint has its metric.
        prefer: the checkpoint that the run is loaded from: "best" or "last".
    """

    settings: TrainSettings
    network: Network
    fabric: Any
    split: str
    prefer: str


def save(
    state: TrainState,
    *,
    run: Path,
    optimizer: Any,
    validation: Validated,
) -> None:
    """Write a checkpoint, and mark it as the last one of the run."""
    fabric, network = validation.fabric, validation.network
    if fabric.is_global_zero:
        name = f"step-{state.step:08d}"
        if state.step_in_epoch:
            # A run that is interrupted at the last step of an epoch saves this step again after validation, under
            # another name, so that a checkpoint in use is never overwritten.
            name += "-unvalidated"
        figures = {} if state.best is None else {f"best_{validation.split.replace('-', '_')}": state.best}
        save_checkpoint(
            run / CHECKPOINTS / name,
            network.model,
            replace(
                network.card,
                metrics=figures,
                training={"step": state.step, "epoch": state.epoch},
                calibration={},  # that of a resumed checkpoint is not that of the weights of now
            ),
            optimizer=getattr(optimizer, "optimizer", optimizer),
            state={**state.to_dict(), "precision": fabric._precision.state_dict()},
        )
        best = f"step-{state.best_step:08d}" if state.best_step is not None else None
        every = validation.settings.run.keep_epochs
        keep = every is not None and not state.step_in_epoch and state.epoch % every == 0
        point_to(run, last=name, best=best, prefer=validation.prefer, keep=keep)
    fabric.barrier()
