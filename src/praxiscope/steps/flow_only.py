"""Learning flow alone: the weighted end-point errors of the estimated flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from praxiscope.steps.base import Step, StepOutput
from praxiscope.steps.flow_loss import end_point_errors, resolution_weights, weighted
from praxiscope.steps.rows import Prepare
from praxiscope.types import FLOW_TARGET, Batch

__all__ = ["flow_only"]


def flow_only(weights: Sequence[float] | None = None, *, prepare: Prepare = lambda batch: batch) -> Step:
    """The step of networks that only estimate flow. Its metric is ``epe``, the mean end-point error at the finest
    resolution, in pixels of the input.

    Args:
        weights: alpha of each resolution, the finest first; None: `praxiscope.steps.flow_loss.resolution_weights`.
        prepare: brings a batch to the device and to floats.
    """

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        batch = prepare(batch)
        found = model(batch.streams["rgb"].flatten(0, 1))
        target = batch.streams[FLOW_TARGET].flatten(0, 1)  # [N, 2 F, h, w]
        unit: float = model.flow_unit  # type: ignore[assignment]
        errors = end_point_errors(found, target.reshape(len(target), -1, 2, *target.shape[2:]), unit)
        loss = weighted(errors, weights or resolution_weights(len(errors)))
        backward(loss)
        return StepOutput(loss.detach(), {"epe": errors[0].detach() * unit})

    return step
