"""Learning actions and flow together: the cross-entropy and the loss of the estimated flow.

J. Y.-H. Ng et al., "ActionFlowNet: Learning Motion Representation for Action Recognition", WACV 2018, eqs. 4.2 and 4.4.
The indicator of the printed equations would remove the loss of videos that are classified wrongly; this is the ordinary
cross-entropy with the true label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.steps.base import Loss, Step, StepOutput, accuracy, call_model, output_losses
from praxiscope.steps.flow_loss import end_point_errors, resolution_weights, weighted
from praxiscope.steps.ordinary import ordinary
from praxiscope.steps.rows import Prepare
from praxiscope.types import FLOW_TARGET, Batch

__all__ = ["action_flow"]


def action_flow(
    loss_function: Loss,
    tasks: Sequence[tuple[int, int]] = (),
    *,
    flow_weight: float,
    weights: Sequence[float] | None = None,
    prepare: Prepare = lambda batch: batch,
) -> Step:
    """The step whose loss is that of the classes plus ``flow_weight`` times that of the flow.

    Its metrics are ``top1``, ``loss_action``, ``loss_flow`` (before the weight), and ``epe``: the mean end-point error
    at the finest resolution, in pixels of the input. With a weight of 0 it is the ordinary step, and needs no flow.

    Args:
        loss_function, tasks, prepare: as of `praxiscope.steps.ordinary.ordinary`.
        flow_weight: lambda.
        weights: alpha of each resolution, the finest first; None: `resolution_weights`.
    """
    if not flow_weight:
        return ordinary(loss_function, tasks, prepare=prepare)

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        batch = prepare(batch)
        if FLOW_TARGET not in batch.streams:
            raise ArgumentError(
                f"learning flow needs the stream {FLOW_TARGET!r}, but the batch holds {sorted(batch.streams)}"
            )
        output = call_model(model, batch, flow=True)
        found = [flow.flatten(0, 1) for flow in output.flow]
        target = batch.streams[FLOW_TARGET].flatten(0, 1)
        unit: float = model.flow_unit  # type: ignore[assignment]
        errors = end_point_errors(found, target.reshape(len(target), -1, 2, *target.shape[2:]), unit)
        action = output_losses(loss_function, output, batch.targets).sum()
        flow = weighted(errors, weights or resolution_weights(len(errors)))
        loss = action + flow_weight * flow
        backward(loss)
        metrics = {
            "top1": accuracy(output.logits, batch.targets, tasks),
            "loss_action": action.detach(),
            "loss_flow": flow.detach(),
            "epe": errors[0].detach() * unit,
        }
        return StepOutput(loss.detach(), metrics)

    return step
