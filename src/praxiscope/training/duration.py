"""The length of a run and the milestones of its learning rate, converted from epochs to steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from praxiscope.errors import ArgumentError
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.recipes.sections import OptimSettings
    from praxiscope.recipes.settings import TrainSettings

__all__ = ["Duration", "length_of"]


def length_of(optim: OptimSettings) -> str:
    """The length of a run as its settings give it, such as "30 epochs"."""
    return counted(optim.steps, "step") if optim.steps else counted(optim.epochs or 0, "epoch")


def _frozen(optim: OptimSettings, steps: int, steps_per_epoch: int) -> int:
    if optim.frozen_epochs == "half":
        return steps // 2
    return steps if optim.frozen_epochs == "all" else round(float(optim.frozen_epochs) * steps_per_epoch)


@dataclass(frozen=True)
class Duration:
    """The steps of a run. A step is one update of the weights, by all processes and all accumulated batches.

    Attributes:
        steps: steps of the run.
        steps_per_epoch: steps of a pass over the data. If the settings set steps, the last epoch may be shorter.
        warmup: steps in which the learning rate increases.
        milestones: steps after which it decreases; only for the schedule "step".
        frozen: number of first steps in which only the classifier is trained (or what a model of two phases says).
    """

    steps: int
    steps_per_epoch: int
    warmup: int
    milestones: tuple[int, ...]
    frozen: int

    @classmethod
    def of(cls, settings: TrainSettings, steps_per_epoch: int) -> Duration:
        """Convert the settings of a run.

        Raises:
            ArgumentError: the sampled epochs fill the whole run, or the warm-up is longer than the run.
        """
        optim = settings.optim
        steps = optim.steps or (optim.epochs or 0) * steps_per_epoch
        sampled = settings.input.sampled_epochs
        of_them = f" ({steps_per_epoch} an epoch)" if optim.steps else ""
        longer = f"increase optim.{'steps' if optim.steps else 'epochs'}"
        if sampled and sampled * steps_per_epoch >= steps:
            raise ArgumentError(
                f"input.sampled_epochs = {sampled} must be less than the length of the run, "
                f"{length_of(optim)}{of_them}. Decrease it, or {longer}."
            )
        warmup = round(optim.warmup_epochs * steps_per_epoch)
        if warmup > steps:
            raise ArgumentError(
                f"optim.warmup_epochs = {optim.warmup_epochs:g} must not exceed the length of the run, "
                f"{length_of(optim)}{of_them}. Decrease it, or {longer}."
            )
        milestones = optim.milestone_steps or tuple(round(m * steps_per_epoch) for m in optim.milestones)
        return cls(
            steps,
            steps_per_epoch,
            warmup,
            milestones if optim.schedule == "step" else (),
            optim.frozen_steps or _frozen(optim, steps, steps_per_epoch),
        )

    @property
    def epochs(self) -> int:
        """Passes over the data; the last one may be shorter."""
        return -(-self.steps // self.steps_per_epoch)

    def describe(self, optim: OptimSettings) -> list[str]:
        """The length of the run, and notes on milestones without effect."""
        last = self.steps % self.steps_per_epoch
        lines = [f"{counted(self.epochs, 'epoch')} x {counted(self.steps_per_epoch, 'step')}"]
        if last:
            lines = [
                f"{counted(self.steps, 'step')} ({counted(self.epochs, 'epoch')} x {self.steps_per_epoch}, "
                f"the last of {last})"
            ]
        key = "optim.milestone_steps" if optim.milestone_steps else "optim.milestones"
        if optim.schedule != "step" and (optim.milestone_steps or optim.milestones):
            lines.append(
                f"Note: {key} has no effect with optim.schedule = {optim.schedule}; it needs optim.schedule = step."
            )
        elif never := [str(step) for step in self.milestones if step >= self.steps]:
            lines.append(
                f"Note: milestones at step {' and '.join(never)} have no effect, because the run ends at step "
                f"{self.steps} ({key})."
            )
        return lines
