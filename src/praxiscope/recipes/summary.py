"""What a model costs: parameters, FLOPs of a clip, memory of a training step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard

__all__ = ["Costs", "describe_model", "measure"]


class Costs(dict[str, float]):
    """``parameters``, ``flops`` (of one clip's forward pass, a multiplication and an addition count as two),
    ``saved_bytes`` (activations kept for one clip's backward pass) and ``weight_bytes``."""


def measure(model: nn.Module, inputs: list[Tensor]) -> Costs:
    """Count a forward pass on example inputs, without changing the model.

    Args:
        model: any model.
        inputs: what its ``forward`` takes, a batch of one clip.
    """
    from torch.utils.flop_counter import FlopCounterMode

    saved: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        held.append(x)  # a freed address would be taken again and be counted once
        return x

    held: list[Tensor] = []
    # Running statistics must not move, so the model is counted as at test, with gradients on.
    training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    hooks: Any = torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x)
    state = torch.random.get_rng_state()
    try:
        with counter, hooks, nullcontext():
            model(*inputs)
    finally:
        model.train(training)
        torch.random.set_rng_state(state)
    return Costs(
        parameters=sum(p.numel() for p in model.parameters()),
        flops=counter.get_total_flops(),
        saved_bytes=sum(saved.values()),
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
    )


def describe_model(model: nn.Module, card: ModelCard, *, batch: int, optimizer: str) -> str:
    """One line on what training this model will take.

    The memory is an estimate: weights, gradients, the optimizer's buffers, and the activations of one batch in
    float32, without the framework's own and the reading processes.
    """
    contract = card.input
    device = next(model.parameters()).device
    clip = torch.zeros(1, contract.snippets, contract.channels, contract.size, contract.size, device=device)
    costs = measure(model, [clip])
    copies = {"sgd": 3, "adamw": 4}[optimizer]
    memory = copies * costs["weight_bytes"] + batch * (costs["saved_bytes"] + clip.nbytes)
    return (
        f"{card.name} on {card.kwargs.get('backbone')}: {costs['parameters'] / 1e6:.2f} M parameters, "
        f"{costs['flops'] / 1e9:.2f} GFLOPs per clip (multiply and add counted apart), about "
        f"{memory / 2**30:.1f} GiB for a step."
    )
