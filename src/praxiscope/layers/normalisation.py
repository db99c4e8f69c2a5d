"""Freeze BatchNorm, because small batches of videos estimate its statistics poorly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from praxiscope.layers.standardise import RunningStandardise

__all__ = ["freeze_batchnorm", "statistics_held"]


def freeze_batchnorm(module: nn.Module, *, keep_first: bool) -> None:
    """Put BatchNorm layers into evaluation mode and stop their scale and shift from learning.

    ``module.train()`` undoes the evaluation mode, so call this function again after it.

    Args:
        module: any network; its layers are visited in the order of registration.
        keep_first: do not freeze the first layer ("partial BN"), which learns the statistics of a new input modality
            (TSN, section 3.3).
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers[1 if keep_first else 0 :]:
        layer.eval()
        layer.requires_grad_(False)


@contextmanager
def statistics_held(model: nn.Module) -> Iterator[None]:
    """A context in which BatchNorm layers in training mode normalise by their batch, but do not update their running
    statistics, and no `RunningStandardise` does."""
    # Set the momentum to 0 instead of switching the statistics off. Without statistics torch saves other tensors for
    # the backward pass, and activation checkpointing would report that its two passes differ.
    learning = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [
        (m.momentum, None if m.num_batches_tracked is None else m.num_batches_tracked.clone())
        for m in learning
    ]
    for module in learning:
        module.momentum = 0.0
    others = [m for m in model.modules() if isinstance(m, RunningStandardise) and not m.held]
    for other in others:
        other.held = True
    try:
        yield
    finally:
        for other in others:
            other.held = False
        for module, (momentum, batches) in zip(learning, before, strict=True):
            module.momentum = momentum
            if batches is not None and module.num_batches_tracked is not None:
                module.num_batches_tracked.copy_(batches)
