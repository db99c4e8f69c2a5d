"""Fold BatchNorm layers into the convolutions before them, for inference: half the passes over memory."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["fold_batchnorm"]


def fold_batchnorm(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of a network in evaluation mode whose BatchNorm layers are part of the convolutions before them.

    With a convolution's output y, BatchNorm computes (y - mean) / sqrt(var + eps) * weight + bias, which is another
    convolution. The outputs are equal up to rounding. The outputs of the folded convolutions themselves differ.

    Args:
        network: takes ``example``. Its parameters and names stay as they are.
        example: an input, with which the order of the layers is found: a BatchNorm layer is folded if its input is the
            output of a convolution.
    """
    copy = deepcopy(network).eval()
    pairs = _pairs(copy, example)
    names = {module: name for name, module in copy.named_modules()}
    for convolution, norm in pairs:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, *statistics
        )
        parent, _, child = names[norm].rpartition(".")
        setattr(copy.get_submodule(parent), child, nn.Identity())
    return copy


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the BatchNorm layers that take their outputs, where each is used once."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the address of the output, which is kept alive
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after(module: nn.Module, _: object, output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    handles = []
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            handles.append(module.register_forward_pre_hook(before))
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            handles.append(module.register_forward_hook(after))
    try:
        with torch.inference_mode():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return [(conv, norm) for conv, norm in pairs if calls[conv] == calls[norm] == 1 and _foldable(norm)]


def _foldable(norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and norm.affine
