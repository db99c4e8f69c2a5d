"""The memory format of weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["to_channels_last"]


def to_channels_last(model: nn.Module) -> nn.Module:
    """Store the weights of 2-D convolutions in the channels-last format, in place; other weights stay as they are.

    ``Module.to(memory_format=torch.channels_last)`` refuses a network that also has a convolution in time.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model
