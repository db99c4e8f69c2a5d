"""Ordinary training: one forward pass, one loss, one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from praxiscope.steps.base import Loss, Step, StepOutput, accuracy, call_model, output_losses
from praxiscope.steps.rows import Prepare
from praxiscope.types import Batch

__all__ = ["ordinary"]


def ordinary(
    loss_function: Loss,
    tasks: Sequence[tuple[int, int]] = (),
    *,
    prepare: Prepare = lambda batch: batch,
) -> Step:
    """The step that backpropagates the loss of every snippet. Its metrics are ``top1`` and, for a model that classifies
    each stream separately, ``loss_rgb`` and ``loss_flow`` (or ``loss_HEAD`` by the output's ``head_names``), which add
    up to the loss.

    Args:
        loss_function: (logits [B, K], targets) -> mean loss; see `output_losses`.
        tasks: as in `make_loss`; for the accuracy.
        prepare: brings a batch to the device and to floats.
    """

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        batch = prepare(batch)
        output = call_model(model, batch)
        losses = output_losses(loss_function, output, batch.targets)
        loss = losses.sum()
        backward(loss)
        metrics = {"top1": accuracy(output.logits, batch.targets, tasks)}
        if len(losses) > 1:
            heads: Any = getattr(output, "head_names", model.streams)
            metrics |= {f"loss_{head}": one for head, one in zip(heads, losses.detach(), strict=True)}
        return StepOutput(loss.detach(), metrics)

    return step
