"""Ordinary training: one forward pass, one loss, one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from praxiscope.steps.base import Loss, Step, StepOutput, accuracy, call_model, output_losses
from praxiscope.types import Batch

__all__ = ["ordinary"]


def ordinary(loss_function: Loss, tasks: Sequence[tuple[int, int]] = ()) -> Step:
    """The step that backpropagates the loss of every snippet it sees; metrics ``top1`` and, of a model that classifies
    each of several streams by itself, ``loss_rgb`` and ``loss_flow``, whose sum the loss is.

    Args:
        loss_function: (logits [B, K], targets) -> mean loss; see `output_losses`.
        tasks: as `make_loss` takes them; for the accuracy.
    """

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        output = call_model(model, batch)
        losses = output_losses(loss_function, output, batch.targets)
        loss = losses.sum()
        backward(loss)
        metrics = {"top1": accuracy(output.logits, batch.targets, tasks)}
        if len(losses) > 1:
            names = [f"loss_{stream}" for stream in model.streams]  # type: ignore[union-attr]
            metrics |= dict(zip(names, losses.detach(), strict=True))
        return StepOutput(loss.detach(), metrics)

    return step
