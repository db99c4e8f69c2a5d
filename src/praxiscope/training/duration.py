"""How long a run is and when its learning rate falls: what its settings say in epochs or in steps, in steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from praxiscope.errors import ArgumentError
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.recipes.sections import OptimSettings
    from praxiscope.recipes.settings import TrainSettings

__all__ = ["Course", "length_of"]


def length_of(optim: OptimSettings) -> str:
    """How long a run is, in the words of its settings."""
    return counted(optim.steps, "step") if optim.steps else counted(optim.epochs or 0, "epoch")


@dataclass(frozen=True)
class Course:
    """The steps of a run, each an update of the weights: of all processes together, after all accumulated batches.

    Attributes:
        steps: of the run.
        steps_per_epoch: of a pass over the data. A run that counts steps may end within its last one.
        warmup: steps in which the rate rises.
        milestones: steps after which it falls; none but for the schedule "step".
        frozen: first steps in which only the classifier learns.
    """

    steps: int
    steps_per_epoch: int
    warmup: int
    milestones: tuple[int, ...]
    frozen: int

    @classmethod
    def of(cls, settings: TrainSettings, steps_per_epoch: int) -> Course:
        """The course of a run.

        Raises:
            ArgumentError: sampled epochs that leave none of the others, or a warm-up that is longer than the run.
        """
        optim = settings.optim
        steps = optim.steps or (optim.epochs or 0) * steps_per_epoch
        sampled = settings.input.sampled_epochs
        of_them = f" ({steps_per_epoch} an epoch)" if optim.steps else ""
        longer = f"raise optim.{'steps' if optim.steps else 'epochs'}"
        if sampled and sampled * steps_per_epoch >= steps:
            raise ArgumentError(
                f"input.sampled_epochs = {sampled} of {length_of(optim)}{of_them}: none would see every frame. Lower "
                f"it, or {longer}."
            )
        warmup = round(optim.warmup_epochs * steps_per_epoch)
        if warmup > steps:
            raise ArgumentError(
                f"optim.warmup_epochs = {optim.warmup_epochs:g} of {length_of(optim)}{of_them}: the rate would not "
                f"reach optim.lr. Lower it, or {longer}."
            )
        milestones = optim.milestone_steps or tuple(round(m * steps_per_epoch) for m in optim.milestones)
        return cls(
            steps,
            steps_per_epoch,
            warmup,
            milestones if optim.schedule == "step" else (),
            steps if optim.frozen_epochs == "all" else round(float(optim.frozen_epochs) * steps_per_epoch),
        )

    @property
    def epochs(self) -> int:
        """Passes over the data, the last of which may be cut short."""
        return -(-self.steps // self.steps_per_epoch)

    def describe(self, optim: OptimSettings) -> list[str]:
        """How long the run is, in words that a line may begin with; and notes on milestones that do nothing."""
        last = self.steps % self.steps_per_epoch
        lines = [f"{counted(self.epochs, 'epoch')} x {counted(self.steps_per_epoch, 'step')}"]
        if last:
            lines = [
                f"{counted(self.steps, 'step')} ({counted(self.epochs, 'epoch')} x {self.steps_per_epoch}, "
                f"the last of {last})"
            ]
        key = "optim.milestone_steps" if optim.milestone_steps else "optim.milestones"
        if optim.schedule != "step" and (optim.milestone_steps or optim.milestones):
            lines.append(f"Note: {key} do nothing in the schedule {optim.schedule} (optim.schedule=step).")
        elif never := [str(step) for step in self.milestones if step >= self.steps]:
            lines.append(
                f"Note: the rate does not fall after step {' and '.join(never)}, as the run ends after "
                f"{self.steps} ({key})."
            )
        return lines
