"""Depthwise convolutions in mixed precision on a CPU."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn

__all__ = ["depthwise_in_float32"]


def depthwise_in_float32(model: nn.Module) -> nn.Module:
    """Let the depthwise 2-D convolutions of a model compute in float32 where a gradient is wanted, in place.

    On a CPU the gradient of a depthwise convolution takes longer in bfloat16 than in float32, so that a training step
    of EfficientNet gains nothing from bfloat16 (measured: ``benchmarks/depthwise.md``). The other layers gain and keep
    it. Inputs and outputs have the same type as before; weights and their names do not change.

    Args:
        model: a network, which is trained in ``bf16-mixed`` precision.

    Returns:
        The same network.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    return model


def _forward(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    forward = type(convolution).forward
    if x.dtype is not torch.bfloat16 or not torch.is_grad_enabled():
        return forward(convolution, x)
    with torch.autocast(x.device.type, enabled=False):
        return forward(convolution, x.float()).to(x.dtype)
