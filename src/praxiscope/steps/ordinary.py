"""Ordinary training: one forward pass, one loss, one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from praxiscope.steps.base import Loss, Step, StepOutput, accuracy, call_model, output_loss
from praxiscope.types import Batch

__all__ = ["ordinary"]


def ordinary(loss_function: Loss, tasks: Sequence[tuple[int, int]] = ()) -> Step:
    """The step that backpropagates the loss of every snippet it sees.

    Args:
        loss_function: (logits [B, K], targets) -> mean loss; see `output_loss`.
        tasks: as `make_loss` takes them; for the accuracy.
    """

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        output = call_model(model, batch)
        loss = output_loss(loss_function, output, batch.targets)
        backward(loss)
        return StepOutput(loss.detach(), {"top1": accuracy(output.logits, batch.targets, tasks)})

    return step
