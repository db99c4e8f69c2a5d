"""Resuming a run: which settings may differ, whether it is finished, and the effect of a new length."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint import find_checkpoint, load_state, read_pointer
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.models.names import default_stream, learns_of
from praxiscope.recipes.sections import OptimSettings
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import SETTINGS_FILE
from praxiscope.training.duration import Duration, length_of
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.training.loop import TrainState
    from praxiscope.training.optim import Schedule

__all__ = [
    "changed_settings",
    "check_resumable",
    "check_settings",
    "describe_lengths",
    "is_finished",
    "load_train_state",
    "make_schedule",
    "update_length",
]

# Settings that may differ in a resumed run, because they do not affect the weights. (Another accelerator may round
# differently.)
_MAY_DIFFER = {
    "data.workers",
    "data.time_limit_s",
    "data.max_skip",
    "data.scan",
    "data.allow_one_class",
    "data.allow_no_test",
    "optim.patience",
    "run.accelerator",
    "run.tensorboard",
    "run.log",
    "run.checkpoint_steps",
    "run.keep_epochs",
    "run.keep_memory",
}
_LENGTH = {"optim.epochs", "optim.steps"}
_PATHS = {"source", "annotations", "flow", "weights", "start"}


def changed_settings(started: TrainSettings, settings: TrainSettings) -> dict[str, tuple[Any, Any]]:
    """Changed settings that affect the weights: (before, now) by ``section.key``."""
    before, now = _flat(started.model_dump()), _flat(settings.model_dump())
    # Their order determines the class numbers.
    before["data.tasks"], now["data.tasks"] = list(started.data.tasks or ()), list(settings.data.tasks or ())
    return {
        key: (before.get(key), now[key])
        for key in now
        if key not in _MAY_DIFFER and _plain(key, now[key]) != _plain(key, before.get(key))
    }


def check_resumable(run: Path, settings: TrainSettings) -> TrainState:
    """Load the state of a run, and check that it can be resumed with these settings.

    Args:
        run: its folder.
        settings: only the length and settings that do not affect the weights may differ from the original ones.

    Returns:
        The state of its last checkpoint.

    Raises:
        ArgumentError: there is no checkpoint, other settings differ, or the run already has more steps.
        CheckpointError: the checkpoint is damaged, or was written by an incompatible version.
    """
    check_settings(run, settings)
    state = load_train_state(run)
    left = _steps_left(state, settings.optim)
    if left is not None and left < 0:
        raise ArgumentError(
            f"--resume: {run} already has {counted(state.step, 'step')} (epoch {state.epoch}), more than "
            f"{length_of(settings.optim)}. Set a greater length, or omit it."
        )
    return state


def check_settings(run: Path, settings: TrainSettings) -> None:
    """Raise ArgumentError if a run has no checkpoint, or was started with other settings."""
    if not read_pointer(run):
        raise ArgumentError(f"--resume: {run} has no checkpoint yet. Start the run without --resume.")
    changed = changed_settings(load_yaml(run / SETTINGS_FILE), settings)
    if differing := {key: values for key, values in changed.items() if key not in _LENGTH}:
        listed = ", ".join(
            f"{key} {before!r} → {now!r}" for key, (before, now) in list(differing.items())[:3]
        )
        raise ArgumentError(
            f"--resume: {run} was started with other settings ({listed}). Omit them, or start a new run"
            f"{_from_weights(run, settings)}. A resumed run may change its length (--epochs) and "
            f"{', '.join(sorted(_MAY_DIFFER))}."
        )


def _from_weights(run: Path, settings: TrainSettings) -> str:
    """How a new run starts from the weights of another of its model."""
    from praxiscope.models.weights import holds_backbone

    if learns_of(settings.model.name) == "frames" and holds_backbone(run):
        return f" from its weights: --weights {run} --out NEW"
    return (
        " with another --out"
        if default_stream(settings.model.name) == "both"
        else f": --from {run} --out NEW"
    )


def load_train_state(run: Path) -> TrainState:
    """Load the state of a run's last checkpoint. Raises CheckpointError if an incompatible version wrote it."""
    from praxiscope.training.loop import TrainState

    checkpoint = find_checkpoint(run, "last")
    try:
        return TrainState(**load_state(checkpoint))
    except TypeError as error:
        raise CheckpointError(
            f"{checkpoint}: the training state was written by an incompatible version ({error})."
        ) from error


def is_finished(state: TrainState, optim: OptimSettings) -> bool:
    """Whether a run of this length and patience is finished, including the validation after its last step."""
    return not state.step_in_epoch and (_steps_left(state, optim) == 0 or state.is_settled(optim.patience))


def _steps_left(state: TrainState, optim: OptimSettings) -> int | None:
    """Steps left; None if unknown without the data, before the end of the first epoch."""
    if optim.steps:
        return optim.steps - state.step
    each = state.steps_per_epoch
    if each is None and state.epoch:
        each = (state.step - state.step_in_epoch) // state.epoch
    return None if each is None else (optim.epochs or 0) * each - state.step


def make_schedule(optim: OptimSettings, duration: Duration) -> Schedule:
    """The factor on the learning rate by step."""
    from praxiscope.training.optim import schedule

    return schedule(
        optim.schedule,
        total_steps=duration.steps,
        warmup_steps=duration.warmup,
        milestones=duration.milestones,
        gamma=optim.gamma,
    )


def update_length(
    state: TrainState, started: TrainSettings, settings: TrainSettings, duration: Duration
) -> list[str]:
    """Record the length of a run in its state, and adapt the state to a new length.

    Args:
        state: state of a run that starts or is resumed; changed in place.
        started: the previous settings.
        settings: the current settings.
        duration: the length for the current settings.

    Returns:
        Lines about the learning rates, if the length has changed.
    """
    if not state.lengths:  # also for runs of versions that did not record lengths
        state.lengths = [(0, Duration.of(started, duration.steps_per_epoch).steps)]
    state.steps_per_epoch = duration.steps_per_epoch
    if state.lengths[-1][1] == duration.steps:
        return []
    optim, step = settings.optim, state.step
    plans = [(first, make_schedule(optim, replace(duration, steps=steps))) for first, steps in state.lengths]
    past = [next(plan for first, plan in reversed(plans) if first <= n)(n) for n in range(step)]
    new = make_schedule(optim, duration)
    frozen = Duration.of(started, duration.steps_per_epoch).frozen
    same = past == [new(n) for n in range(step)] and min(frozen, step) == min(duration.frozen, step)
    state.lengths.append((step, duration.steps))
    if not state.step_in_epoch:  # the last epoch may have been shorter, at the end of the run
        state.epoch, state.step_in_epoch = divmod(step, duration.steps_per_epoch)
    old, now = length_of(started.optim), length_of(optim)
    if old == now:  # the run ended before its first checkpoint with the new length
        old = counted(state.lengths[-2][1], "step")
    lines = [
        f"{now} instead of {old}, from step {step + 1}. Learning rate until now: {_rates(optim.lr, past)}; from now "
        f"on, by the {optim.schedule} schedule of {now}: "
        f"{_rates(optim.lr, [new(n) for n in range(step, duration.steps)])}.",
        f"A new run of {now} would have had the same learning rates until now."
        if same
        else f"A new run of {now} would have had other learning rates until now.",
    ]
    return lines


def describe_lengths(state: TrainState) -> str:
    """A sentence about the changes of a run's length; empty if there were none."""
    if len(state.lengths) < 2:
        return ""
    (_, first), *later = state.lengths
    changes = ", ".join(f"after step {step} for {steps} steps" for step, steps in later)
    return f"Started as a run of {counted(first, 'step')}; resumed {changes}."


def _rates(lr: float, factors: list[float]) -> str:
    rates = [lr * factor for factor in factors]
    if not rates:
        return "none"
    first, last, most = rates[0], rates[-1], max(rates)
    between = "" if most in (first, last) else f" to {most:.3g}"  # after a warm-up
    return f"{first:.3g}{between} to {last:.3g}" if first != last or between else f"{first:.3g}"


def _plain(key: str, value: Any) -> Any:
    """A setting for comparison: ``videos/`` equals ``videos``; without ``pretrained`` weights are random."""
    if key == "model.pretrained":
        return bool(value)
    if key.rpartition(".")[2] not in _PATHS or not value:
        return value
    return os.path.normpath(value) if isinstance(value, str) else [str(Path(one).resolve()) for one in value]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
