"""The training loop, from the first batch to the last checkpoint.

The model and the step are arguments. All random numbers of a step are derived from (seed, step, process), so a resumed
run gives the same result as an uninterrupted one.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.data.batch import mix_seeds
from praxiscope.errors import TrainingError
from praxiscope.progress import Reporter
from praxiscope.steps import Step, StepOutput
from praxiscope.types import Batch
from praxiscope.units import counted

__all__ = ["Callbacks", "Plan", "StopRequest", "TrainState", "fit"]


@dataclass(frozen=True)
class Plan:
    """The length, schedule and seed of a run.

    Attributes:
        steps: weight updates of the whole run.
        steps_per_epoch: weight updates per epoch; the last epoch ends with the run.
        accumulate: batches per update.
        clip_norm: maximum norm of the gradient; None for no clipping.
        schedule: index of an update -> factor on the learning rate of every group.
        lr: the learning rate at factor 1, for the log; groups may have multiples of it.
        seed: the run's seed.
        checkpoint_steps: also save every this many updates; None: save after epochs only.
        patience: end the run after this many validations without a better one; None: never.
        validate_first: also validate before the first update, because the network is worth something then.
    """

    steps: int
    steps_per_epoch: int
    schedule: Callable[[int], float]
    lr: float
    accumulate: int = 1
    clip_norm: float | None = None
    seed: int = 0
    checkpoint_steps: int | None = None
    patience: int | None = None
    validate_first: bool = False

    def left_at(self, state: TrainState) -> int:
        """Updates from the beginning of the current epoch of ``state`` to the end of the run."""
        return self.steps - (state.step - state.step_in_epoch)

    def is_done(self, state: TrainState) -> bool:
        """Whether the run ends after an epoch."""
        return self.left_at(state) <= 0 or state.is_settled(self.patience)


@dataclass
class TrainState:
    """The state that a resumed run needs, besides the weights and the optimizer's state.

    Attributes:
        step: updates so far.
        epoch, step_in_epoch: the current epoch, and the updates in it so far.
        best: best validation metric so far; ``best_step``: its step, ``best_loss``: the loss there.
        not_better: validations since the best one; counted on validation videos only.
        skipped: reasons why videos were skipped, by id.
        left_out: ids of skipped videos that were found before the first step; they are never sampled.
        precision: the state of float16 loss scaling, if used.
        at_once: snippets per pass through the network, if measured.
        steps_per_epoch: steps of an epoch; None until known.
        lengths: the lengths that the run was given, in steps, each with the step after which it applied.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best: float | None = None
    best_step: int | None = None
    best_loss: float | None = None
    not_better: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=dict)
    at_once: int | None = None
    steps_per_epoch: int | None = None
    lengths: list[tuple[int, int]] = field(default_factory=list)

    def is_settled(self, patience: int | None) -> bool:
        """Whether more validations than ``patience`` allows have passed without a better one."""
        return patience is not None and self.not_better >= patience

    def to_dict(self) -> dict[str, Any]:
        """The state as a dict for JSON."""
        return asdict(self)


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request to stop after the current step.

    A second Ctrl-C interrupts immediately.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not in the main thread, where signals cannot be handled
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@dataclass(frozen=True)
class Callbacks:
    """Functions that the loop calls at its events.

    Attributes:
        log: receives a row of figures after every update.
        save: writes a checkpoint.
        end_epoch: validates, and returns figures to log.
        record_skips: receives the skipped videos of a batch; raises if there are too many.
        record_damage: receives the videos of a batch with missing frames.
        before_update: receives the number of the next update and its raw batches.
        reporter: shows progress.
    """

    log: Callable[[dict[str, float]], None]
    save: Callable[[TrainState], None]
    end_epoch: Callable[[TrainState], dict[str, float]]
    record_skips: Callable[[list[Any]], None]
    record_damage: Callable[[list[Any]], None]
    before_update: Callable[[int, list[Batch]], None]
    reporter: Reporter


def fit(
    fabric: Any,
    model: nn.Module,
    optimizer: Any,
    step: Step,
    *,
    plan: Plan,
    state: TrainState,
    batches: Callable[[int, int], Iterable[Any]],
    callbacks: Callbacks,
) -> bool:
    """Train until the plan is done or the user asks to stop.

    Args:
        fabric: a launched ``lightning_fabric.Fabric``.
        model, optimizer: set up with ``fabric``.
        step: computes the gradient of one batch.
        plan: length, schedule and seed.
        state: where to start; updated in place.
        batches: (epoch, batches to skip) -> loaded batches (``.batch``, ``.skipped``) of this process.
        callbacks: functions to call at each event.

    Returns:
        True when the plan is done or has settled, False when training was interrupted (a checkpoint has been saved).

    Raises:
        TrainingError: the loss or the gradient is not finite; the message names the videos of the batch.
    """
    epochs = -(-plan.steps // plan.steps_per_epoch)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    if plan.validate_first and not state.step and state.best is None:
        _validate(state, callbacks)
    with StopRequest() as stop, callbacks.reporter.bar("training", plan.steps, state.step) as bar:
        while (left := plan.left_at(state)) > 0:
            model.train()
            steps_of_epoch = min(plan.steps_per_epoch, left)
            loaded = iter(batches(state.epoch, state.step_in_epoch * plan.accumulate))
            while state.step_in_epoch < steps_of_epoch:
                started = time.perf_counter()
                group, waited = _take(loaded, plan.accumulate)
                callbacks.before_update(state.step, [item.batch for item in group])
                factor = plan.schedule(state.step)
                for rate, parameters in zip(base_rates, optimizer.param_groups, strict=True):
                    parameters["lr"] = rate * factor
                torch.manual_seed(mix_seeds(plan.seed, 3, state.step, fabric.global_rank))
                outputs = []
                for number, item in enumerate(group):
                    callbacks.record_skips(item.skipped)
                    callbacks.record_damage(item.damaged)
                    with fabric.no_backward_sync(model, enabled=number < len(group) - 1):
                        backward = lambda loss: fabric.backward(loss / plan.accumulate)  # noqa: E731
                        outputs.append(step(model, item.batch, backward))
                figures = _mean(fabric, outputs)
                _check_finite(figures["loss"], outputs, group, state, fabric.global_rank)
                if plan.clip_norm is not None:
                    figures["gradient_norm"] = _clip(fabric, model, optimizer, plan.clip_norm, group, state)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                state.step += 1
                state.step_in_epoch += 1
                figures |= {"lr": plan.lr * factor, "waiting_seconds": waited}
                figures["seconds"] = time.perf_counter() - started
                callbacks.log({"step": state.step, "epoch": state.epoch, **figures})
                bar.advance(1, f"epoch {state.epoch + 1}/{epochs}  loss {figures['loss']:.3f}")
                if _anyone(fabric, stop.requested):
                    callbacks.save(state)
                    return False
                ends_epoch = state.step_in_epoch == steps_of_epoch
                if plan.checkpoint_steps and state.step % plan.checkpoint_steps == 0 and not ends_epoch:
                    callbacks.save(state)
            state.epoch += 1
            state.step_in_epoch = 0
            _validate(state, callbacks)
            # Every process has the same figures, so they agree on the end.
            if _anyone(fabric, stop.requested) or plan.is_done(state):
                return plan.is_done(state)
    return True


def _validate(state: TrainState, callbacks: Callbacks) -> None:
    if figures := callbacks.end_epoch(state):
        callbacks.log({"step": state.step, "epoch": max(0, state.epoch - 1), **figures})
    callbacks.save(state)


def _take(loaded: Iterator[Any], count: int) -> tuple[list[Any], float]:
    started = time.perf_counter()
    group = list(islice(loaded, count))
    if len(group) < count:
        raise TrainingError(
            f"the data loader returned {len(group)} of the {counted(count, 'batch', 'batches')} of an update."
        )
    return group, time.perf_counter() - started


def _clip(
    fabric: Any, model: nn.Module, optimizer: Any, bound: float, group: list[Any], state: TrainState
) -> float:
    """Clip the norm of the gradient, and return the norm before clipping. Raises TrainingError if it is not finite."""
    norm = float(fabric.clip_gradients(model, optimizer, max_norm=bound, error_if_nonfinite=False))
    # Loss scaling of float16 produces such gradients while it searches for a scale, and skips the update.
    if not math.isfinite(norm) and getattr(fabric._precision, "scaler", None) is None:
        raise _not_finite("gradient", group, state)
    return norm


def _mean(fabric: Any, outputs: list[StepOutput]) -> dict[str, float]:
    """Mean loss and metrics over the batches of an update and over all processes."""
    names = ["loss", *outputs[0].metrics]
    rows = torch.stack(
        [torch.stack([o.loss.float(), *(o.metrics[n].float() for n in names[1:])]) for o in outputs]
    )
    values: Tensor = rows.mean(dim=0)
    if fabric.world_size > 1:
        values = fabric.all_reduce(values, reduce_op="mean")
    return dict(zip(names, values.tolist(), strict=True))


def _anyone(fabric: Any, asked: bool) -> bool:
    """Whether any process asked to stop, so that all processes leave the loop at the same step."""
    if fabric.world_size == 1:
        return asked
    count = fabric.all_reduce(torch.tensor(float(asked), device=fabric.device), reduce_op="sum")
    return bool(count > 0)


def _check_finite(
    loss: float, outputs: list[StepOutput], group: list[Any], state: TrainState, rank: int
) -> None:
    if math.isfinite(loss):
        return
    found = [
        item
        for item, output in zip(group, outputs, strict=True)
        if not bool(torch.isfinite(output.loss).all())
    ]
    if not found:  # all processes have the same mean; the process with the faulty batch names its videos
        raise TrainingError(
            f"the loss is not finite at step {state.step + 1}, in a process other than {rank}."
        )
    raise _not_finite("loss", found, state)


def _not_finite(what: str, group: list[Any], state: TrainState) -> TrainingError:
    ids = ", ".join(video for item in group for video in item.batch.ids)
    return TrainingError(
        f"the {what} is not finite at step {state.step + 1} (epoch {state.epoch + 1}). Videos of the batch: "
        f"{ids}. Decrease optim.lr, use warm-up (optim.warmup_epochs) or gradient clipping (optim.clip_norm), or train "
        "in float32 (run.precision=32). The last checkpoint was not changed."
    )
