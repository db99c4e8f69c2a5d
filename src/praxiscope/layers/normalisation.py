"""Freezing BatchNorm: small batches of videos estimate its statistics badly."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["freeze_batchnorm"]


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
