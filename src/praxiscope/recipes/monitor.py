"""Watching a run: the held-out videos after an epoch, and the checkpoints that this decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from praxiscope.checkpoint import ModelCard, point_to, save_checkpoint
from praxiscope.data.manifest import Manifest
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.views import Precision
from praxiscope.flow.store import FlowStore
from praxiscope.progress import Reporter
from praxiscope.recipes.reading import SkipList, channels_last, targets_of
from praxiscope.recipes.settings import TrainSettings
from praxiscope.recogniser import Recogniser
from praxiscope.steps import make_loss
from praxiscope.training.loop import TrainState
from praxiscope.types import VideoRecord

__all__ = ["Monitor", "save"]


class Monitor:
    """Scores the held-out videos after an epoch, every process its share."""

    def __init__(
        self,
        settings: TrainSettings,
        manifest: Manifest,
        model: nn.Module,
        card: ModelCard,
        fabric: Any,
        note_skips: SkipList,
        reporter: Reporter,
        store: FlowStore | None = None,
    ) -> None:
        self.store = store
        self.settings, self.fabric, self.reporter = settings, fabric, reporter
        self.note_skips = note_skips
        self.model, self.card, self.manifest = model, card, manifest
        # Choosing a checkpoint on the test videos would make its figure on them too good. So the best one is
        # preferred only where there are validation videos; else the test split is watched, no more.
        self.split = "val" if manifest.of("val") else "test"
        self.prefer = "best" if self.split == "val" else "last"
        self.records = manifest.of(self.split)

    def __call__(self, state: TrainState) -> dict[str, float]:
        every = self.settings.run.validate_epochs
        if (
            not self.records
            or not every
            or (state.epoch % every and state.epoch != self.settings.optim.epochs)
        ):
            return {}
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = [r for r in self.records[rank::world] if r.id not in self.note_skips.skipped]
        sums = torch.tensor(self._score(mine) if mine else (0.0, 0.0, 0.0), dtype=torch.float64)
        if world > 1:
            sums = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum").cpu()
        videos, correct, loss_sum = sums.tolist()
        if not videos:
            return {}
        name = "val_map" if self.manifest.multi_label else "val_top1"
        figures = {name: correct / videos, "val_loss": loss_sum / videos}
        if state.best is None or figures[name] > state.best:
            state.best, state.best_step = figures[name], state.step
        self.reporter.line(
            f"Epoch {state.epoch}: {name.removeprefix('val_')} {figures[name]:.3f}, loss "
            f"{figures['val_loss']:.3f} on {int(videos)} {self.split} videos"
        )
        return figures

    def _score(self, records: Sequence[VideoRecord]) -> tuple[float, float, float]:
        """Videos, correct ones (or average precision), loss: sums over the readable ones."""
        # The weights' layout stays as training has it: another one would round the next steps differently.
        precision = Precision(
            {"32-true": "32"}.get(self.fabric._precision.precision, "bf16"),
            channels_last(self.settings, self.fabric.device),
        )
        recogniser = Recogniser(
            self.model, self.card, device=self.fabric.device, precision=precision, flow_store=self.store
        )
        protocol = self.settings.run.protocol
        if protocol == "auto":
            protocol = f"{self.settings.input.snippets}x1" if recogniser.clip_snippets == 1 else "1x1"
        scores, skipped = recogniser.score(
            records,
            targets_of(self.manifest, records),
            protocol,
            workers=self.settings.data.workers,
            time_limit_s=self.settings.data.time_limit_s,
        )
        self.note_skips(skipped)
        count = len(scores)
        if not count:
            return 0.0, 0.0, 0.0
        figure = summarise(scores)["map" if self.manifest.multi_label else "top1"]
        logits, targets = torch.from_numpy(scores.logits), torch.from_numpy(scores.targets)
        loss = float(make_loss(self.manifest.multi_label)(logits, targets))
        return count, figure * count, loss * count


def save(
    state: TrainState,
    *,
    run: Path,
    model: nn.Module,
    optimizer: Any,
    card: ModelCard,
    fabric: Any,
    monitor: Monitor,
) -> None:
    """Write a checkpoint, and point to it as the run's last one."""
    if fabric.is_global_zero:
        name = f"step-{state.step:08d}"
        if state.step_in_epoch:
            # A run that is stopped at the last step of an epoch saves the same step again after validation:
            # under a name of its own, so that neither write touches what the pointer names.
            name += "-unvalidated"
        figures = {} if state.best is None else {f"best_{monitor.split}": state.best}
        save_checkpoint(
            run / "checkpoints" / name,
            model,
            replace(card, metrics=figures, training={"step": state.step, "epoch": state.epoch}),
            optimizer=getattr(optimizer, "optimizer", optimizer),
            state={**state.to_dict(), "precision": fabric._precision.state_dict()},
        )
        best = f"step-{state.best_step:08d}" if state.best_step is not None else None
        point_to(run, last=name, best=best, prefer=monitor.prefer)
    fabric.barrier()
