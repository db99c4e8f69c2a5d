"""What every step shares: the seam, how a batch reaches a model, and the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.types import Batch

__all__ = ["Loss", "Step", "StepOutput", "call_model", "make_loss"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, K], targets) -> mean loss []."""


@dataclass
class StepOutput:
    """What a step hands back to the loop.

    Attributes:
        loss: [] detached, the mean over the batch's videos.
        metrics: further scalars to log, by name; each a mean over the batch's videos.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Step(Protocol):
    """Makes the gradient of one batch. It must call ``backward`` at least once on what it wants learned."""

    def __call__(self, model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput: ...


def call_model(model: nn.Module, batch: Batch) -> Any:
    """Feed a model the streams it names, in its order; a packed batch brings its offsets.

    Raises:
        ArgumentError: the batch lacks a stream that the model wants, or is packed for a dense model.
    """
    inputs = []
    for name in model.streams:  # type: ignore[union-attr]
        if name not in batch.streams:
            raise ArgumentError(
                f"the model wants the stream {name!r}; the batch holds {sorted(batch.streams)}"
            )
        inputs.append(batch.streams[name])
    if batch.offsets is None:
        return model(*inputs)
    if model.takes != "packed":
        raise ArgumentError(f"{type(model).__name__} takes dense batches; this one is packed")
    return model(*inputs, offsets=batch.offsets)


def make_loss(multi_label: bool, class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy, or for multi-label data the mean binary cross-entropy over the classes.

    With class weights the loss is the weighted sum over the batch divided by the batch's size, not by the
    sum of its weights: then the loss of a batch is the mean of its parts' losses, on any number of devices.

    Args:
        multi_label: targets are multi-hot [B, K], not class numbers [B].
        class_weights: [K].
        label_smoothing: share of the target that is spread over all classes; of single labels alone.

    Raises:
        ArgumentError: label smoothing of multi-label data.
    """
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

    return several if multi_label else single


@torch.no_grad()
def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of videos whose best class is (one of) theirs, []."""
    best = logits.argmax(dim=-1)
    if targets.ndim == 1:
        return (best == targets).float().mean()
    return targets.gather(1, best[:, None]).float().mean()
