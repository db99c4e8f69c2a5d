"""Freezing BatchNorm: small batches of videos estimate its statistics badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["freeze_batchnorm", "statistics_held"]


def freeze_batchnorm(module: nn.Module, *, keep_first: bool) -> None:
    """Put BatchNorm layers into evaluation mode and stop their scale and shift from learning.

    ``module.train()`` undoes the evaluation mode: the owner calls this again after it.

    Args:
        module: any network; its layers are taken in the order in which they are registered.
        keep_first: leave the first layer as it is: "partial BN", which lets the statistics of the input's
            modality be learned anew (TSN, section 3.3).
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers[1 if keep_first else 0 :]:
        layer.eval()
        layer.requires_grad_(False)


@contextmanager
def statistics_held(model: nn.Module) -> Iterator[None]:
    """BatchNorm layers in training mode normalise by their batch, but keep their running statistics."""
    # A momentum of 0, and not statistics switched off: that is another branch, which saves other things for the
    # backward pass, and activation checkpointing would find that its second pass is not its first.
    learning = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [
        (m.momentum, None if m.num_batches_tracked is None else m.num_batches_tracked.clone())
        for m in learning
    ]
    for module in learning:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, (momentum, batches) in zip(learning, before, strict=True):
            module.momentum = momentum
            if batches is not None and module.num_batches_tracked is not None:
                module.num_batches_tracked.copy_(batches)
