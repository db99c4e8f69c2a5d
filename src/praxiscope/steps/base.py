"""Parts that all steps share: the interface, how a model is called with a batch, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.types import Batch

__all__ = ["Loss", "Step", "StepOutput", "TaskLoss", "call_model", "make_loss", "output_losses"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, K], targets) -> mean loss []."""

_IGNORED = -100


@dataclass
class StepOutput:
    """The result of a step.

    Attributes:
        loss: [] detached, the mean over the batch's videos.
        metrics: further scalars to log, by name; each a mean over the batch's videos.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Step(Protocol):
    """Computes the gradient of one batch. It must call ``backward`` at least once."""

    def __call__(self, model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput: ...


def call_model(model: nn.Module, batch: Batch, **options: Any) -> Any:
    """Call a model with the streams that it takes, in its order, with the offsets of a packed batch, and with
    ``options``.

    Raises:
        ArgumentError: the batch lacks a stream of the model, or is packed and the model takes dense batches.
    """
    inputs = []
    for name in model.streams:  # type: ignore[union-attr]
        if name not in batch.streams:
            raise ArgumentError(
                f"the model needs the stream {name!r}, but the batch holds {sorted(batch.streams)}"
            )
        inputs.append(batch.streams[name])
    if batch.offsets is None:
        return model(*inputs, **options)
    if not model.sees.all_frames:  # type: ignore[union-attr]
        raise ArgumentError(f"{type(model).__name__} takes dense batches, but got a packed batch")
    return model(*inputs, offsets=batch.offsets, **options)


def output_losses(loss: Loss, output: Any, targets: Tensor) -> Tensor:
    """The losses of a model's output, whose sum is the training loss: of its ``logits`` [1]; for a model that
    classifies each stream separately, of its ``stream_logits`` [streams, B, K]: [streams]; for a model that classifies
    a video after each frame, the mean over its ``frame_logits`` [B, T, K] of their losses times ``frame_weights`` [T]:
    [1]."""
    frames = getattr(output, "frame_logits", None)
    if frames is not None:
        each = torch.stack([loss(logits, targets) for logits in frames.unbind(1)])
        return (each * output.frame_weights).mean(0, keepdim=True)
    heads = getattr(output, "stream_logits", None)
    return torch.stack([loss(logits, targets) for logits in ([output.logits] if heads is None else heads)])


def make_loss(
    multi_label: bool,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    tasks: Sequence[tuple[int, int]] = (),
) -> Loss:
    """Cross-entropy, or for multi-label data the mean binary cross-entropy over the classes.

    With class weights the loss is the weighted sum over the batch divided by the batch size, not by the sum of the
    weights. So the loss of a batch is the mean of the losses of its parts, on any number of devices.

    With several tasks it is a `TaskLoss`.

    Args:
        multi_label: targets are multi-hot [B, K], not class numbers [B].
        class_weights: [K].
        label_smoothing: share of the target that is spread over all classes (of its task); only for single labels.
        tasks: first class of each task and the class after its last; empty for a single task.

    Raises:
        ArgumentError: label smoothing or tasks with multi-label data.
    """
    if multi_label and tasks:
        raise ArgumentError("training on several tasks needs videos with one label each")
    if multi_label and label_smoothing:
        raise ArgumentError(
            f"optim.label_smoothing = {label_smoothing:g} is for videos with one label each; set it to 0"
        )

    def single(logits: Tensor, targets: Tensor) -> Tensor:
        if class_weights is None:
            return nn.functional.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)
        weights = class_weights.to(logits.device)
        total = nn.functional.cross_entropy(
            logits.float(), targets, weights, reduction="sum", label_smoothing=label_smoothing
        )
        return total / len(targets)

    def several(logits: Tensor, targets: Tensor) -> Tensor:
        weights = None if class_weights is None else class_weights.to(logits.device)
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), targets.float(), weights)

    if tasks:
        return TaskLoss(tasks, class_weights, label_smoothing)
    return several if multi_label else single


class TaskLoss:
    """The sum of the losses of the tasks (Simonyan and Zisserman, 2014, section 4).

    The loss of a task is the mean over its own videos, computed from the logits of its own classes. A task without a
    video adds exactly 0, and its logits get a gradient of 0.

    The mean of such losses over parts of a batch is not the loss of the batch, because a part without videos of a task
    would count as a loss of 0. So if an update uses several batches, of one or several processes, `expect` sets how
    many videos of each task they hold together. The mean of their losses is then the loss of all as one batch.

    Args:
        tasks, class_weights, label_smoothing: see `make_loss`.
    """

    def __init__(
        self,
        tasks: Sequence[tuple[int, int]],
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.tasks, self.class_weights, self.label_smoothing = tuple(tasks), class_weights, label_smoothing
        self._own: Tensor | None = None  # [tasks], videos of each in an average batch of the update

    def count(self, targets: Tensor) -> Tensor:
        """Videos of each task, float32 [tasks], among targets [n]."""
        return torch.stack(
            [((targets >= start) & (targets < end)).sum() for start, end in self.tasks]
        ).float()

    def expect(self, counts: Tensor, batches: int) -> None:
        """Set how many videos of each task, [tasks], the ``batches`` of an update hold, over all processes."""
        self._own = counts.clamp(min=1) / batches

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        counts = self.count(targets).clamp(min=1) if self._own is None else self._own.to(logits.device)
        losses = []
        for start, end in self.tasks:
            own = (targets >= start) & (targets < end)
            # Videos of other tasks are masked, not removed, so that their number need not be known on the host.
            losses.append(
                nn.functional.cross_entropy(
                    logits[:, start:end].float(),
                    torch.where(own, targets - start, _IGNORED),
                    None if weights is None else weights[start:end],
                    ignore_index=_IGNORED,
                    reduction="sum",
                    label_smoothing=self.label_smoothing,
                )
            )
        return (torch.stack(losses) / counts).sum()


@torch.no_grad()
def accuracy(logits: Tensor, targets: Tensor, tasks: Sequence[tuple[int, int]] = ()) -> Tensor:
    """Share of videos whose best class is (one of) their labels, []. With ``tasks``, only classes of the video's task
    count."""
    logits = logits.clone() if tasks else logits
    for start, end in tasks:
        foreign = (targets < start) | (targets >= end)
        logits[:, start:end].masked_fill_(foreign[:, None], -torch.inf)
    best = logits.argmax(dim=-1)
    if targets.ndim == 1:
        return (best == targets).float().mean()
    return targets.gather(1, best[:, None]).float().mean()
