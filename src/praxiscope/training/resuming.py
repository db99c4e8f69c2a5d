"""Going on with a run: which settings may change in between, whether it is finished, and what a new length means."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint import find_checkpoint, load_state, read_pointer
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.recipes.sections import OptimSettings
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import SETTINGS_FILE
from praxiscope.training.duration import Course, length_of
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
    "take_length",
]

# What a resumed run may change: none of these changes the weights of the result. (Another accelerator rounds
# otherwise, as "auto" does on another machine.)
_MAY_DIFFER = {
    "data.workers",
    "data.time_limit_s",
    "data.max_skip",
    "data.scan",
    "data.allow_one_class",
    "data.allow_no_test",
    "run.accelerator",
    "run.tensorboard",
    "run.checkpoint_steps",
    "run.keep_epochs",
    "run.keep_memory",
}
_LENGTH = {"optim.epochs", "optim.steps"}
_PATHS = {"source", "annotations", "flow", "weights", "start"}


def changed_settings(started: TrainSettings, settings: TrainSettings) -> dict[str, tuple[Any, Any]]:
    """The settings that affect the weights of a run and have changed, before and now, by ``section.key``."""
    before, now = _flat(started.model_dump()), _flat(settings.model_dump())
    # Their order numbers the classes.
    before["data.tasks"], now["data.tasks"] = list(started.data.tasks or ()), list(settings.data.tasks or ())
    return {
        key: (before.get(key), now[key])
        for key in now
        if key not in _MAY_DIFFER and _plain(key, now[key]) != _plain(key, before.get(key))
    }


def check_resumable(run: Path, settings: TrainSettings) -> TrainState:
    """Where a run stands that is to go on with these settings.

    Args:
        run: its folder.
        settings: those that it began with; of those that affect the weights, only its length may change.

    Returns:
        The state of its last checkpoint.

    Raises:
        ArgumentError: there is no checkpoint yet, other settings differ, or the run has made more steps already.
        CheckpointError: a checkpoint of another version, or a damaged one.
    """
    check_settings(run, settings)
    state = load_train_state(run)
    left = _steps_left(state, settings.optim)
    if left is not None and left < 0:
        raise ArgumentError(
            f"--resume: {run} has made {counted(state.step, 'step')} (epoch {state.epoch}) already, more than "
            f"{length_of(settings.optim)}. Give it a greater length, or leave it out."
        )
    return state


def check_settings(run: Path, settings: TrainSettings) -> None:
    """Raise ArgumentError where a run has no checkpoint, or began with other settings than these."""
    if not read_pointer(run):
        raise ArgumentError(f"--resume: {run} holds no checkpoint yet; start the run without --resume.")
    changed = changed_settings(load_yaml(run / SETTINGS_FILE), settings)
    if differing := {key: values for key, values in changed.items() if key not in _LENGTH}:
        listed = ", ".join(
            f"{key} {before!r} → {now!r}" for key, (before, now) in list(differing.items())[:3]
        )
        raise ArgumentError(
            f"--resume: {run} was started with other settings ({listed}), and a resumed run is the same run. Leave "
            f"them out, or start a new run from its weights: --weights {run} --out NEW. What may change is the length "
            f"(--epochs) and what has no say in the weights: {', '.join(sorted(_MAY_DIFFER))}."
        )


def load_train_state(run: Path) -> TrainState:
    """The state of a run's last checkpoint. Raises CheckpointError for one of another version."""
    from praxiscope.training.loop import TrainState

    checkpoint = find_checkpoint(run, "last")
    try:
        return TrainState(**load_state(checkpoint))
    except TypeError as error:
        raise CheckpointError(f"{checkpoint}: is no training state of this version ({error}).") from error


def is_finished(state: TrainState, optim: OptimSettings) -> bool:
    """Whether a run of this length has nothing left to do: its last step is made and validated."""
    return not state.step_in_epoch and _steps_left(state, optim) == 0


def _steps_left(state: TrainState, optim: OptimSettings) -> int | None:
    """None where that is not known without the data: before the end of the first epoch."""
    if optim.steps:
        return optim.steps - state.step
    each = state.steps_per_epoch
    if each is None and state.epoch:
        each = (state.step - state.step_in_epoch) // state.epoch
    return None if each is None else (optim.epochs or 0) * each - state.step


def make_schedule(optim: OptimSettings, course: Course) -> Schedule:
    """The factor on the learning rate by step."""
    from praxiscope.training.optim import schedule

    return schedule(
        optim.schedule,
        total_steps=course.steps,
        warmup_steps=course.warmup,
        milestones=course.milestones,
        gamma=optim.gamma,
    )


def take_length(
    state: TrainState, started: TrainSettings, settings: TrainSettings, course: Course
) -> list[str]:
    """Note a run's length in its state, and bring the state to where a run of that length would be.

    Args:
        state: of a run that begins or goes on; changed in place.
        started: the settings with which it was last trained.
        settings: the settings now.
        course: of these settings.

    Returns:
        Lines on the learning rates, where the length is another than before.
    """
    if not state.lengths:  # also of a run of a version that did not note it
        state.lengths = [(0, Course.of(started, course.steps_per_epoch).steps)]
    state.steps_per_epoch = course.steps_per_epoch
    if state.lengths[-1][1] == course.steps:
        return []
    optim, step = settings.optim, state.step
    plans = [(first, make_schedule(optim, replace(course, steps=steps))) for first, steps in state.lengths]
    past = [next(plan for first, plan in reversed(plans) if first <= n)(n) for n in range(step)]
    new = make_schedule(optim, course)
    frozen = Course.of(started, course.steps_per_epoch).frozen
    same = past == [new(n) for n in range(step)] and min(frozen, step) == min(course.frozen, step)
    state.lengths.append((step, course.steps))
    if not state.step_in_epoch:  # the last epoch may have been cut short by the end of the run
        state.epoch, state.step_in_epoch = divmod(step, course.steps_per_epoch)
    old, now = length_of(started.optim), length_of(optim)
    if old == now:  # the run ended before its first checkpoint with the new length
        old = counted(state.lengths[-2][1], "step")
    lines = [
        f"{now} in place of {old}, from step {step + 1} on. Learning rate so far: {_rates(optim.lr, past)}; from here, "
        f"as in a {optim.schedule} schedule of {now}: "
        f"{_rates(optim.lr, [new(n) for n in range(step, course.steps)])}.",
        f"A run of {now} from the start would have been the same to here."
        if same
        else f"A run of {now} from the start would have had other rates to here; for that one, start a new run.",
    ]
    return lines


def describe_lengths(state: TrainState) -> str:
    """How often and when a run was given another length, in words; empty for one that never was."""
    if len(state.lengths) < 2:
        return ""
    (_, first), *later = state.lengths
    changes = ", ".join(f"after step {step} for {steps}" for step, steps in later)
    return f"Begun as a run of {counted(first, 'step')}; resumed {changes}."


def _rates(lr: float, factors: list[float]) -> str:
    rates = [lr * factor for factor in factors]
    if not rates:
        return "none"
    first, last, most = rates[0], rates[-1], max(rates)
    between = "" if most in (first, last) else f" over {most:.3g}"  # behind a warm-up
    return f"{first:.3g}{between} to {last:.3g}" if first != last or between else f"{first:.3g}"


def _plain(key: str, value: Any) -> Any:
    """A setting for comparison: ``videos/`` is ``videos``."""
    if key.rpartition(".")[2] not in _PATHS or not value:
        return value
    return os.path.normpath(value) if isinstance(value, str) else [str(Path(one).resolve()) for one in value]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
