"""The memory format of weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["to_channels_last"]

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_channels_last(model: nn.Module) -> nn.Module:
    """Store the weights of 2-D and 3-D convolutions in their channels-last formats, in place; others stay as they are.

    ``Module.to(memory_format=torch.channels_last)`` refuses a network that also has a convolution in time.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() in _FORMATS:
            tensor.data = tensor.data.to(memory_format=_FORMATS[tensor.dim()])
    return model
