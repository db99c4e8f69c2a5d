"""Two ways to backpropagate all snippets of a batch: at once, or in chunks, with the same gradient and less memory.

Axis letters: B videos, S snippets of a video, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.normalisation import statistics_held
from praxiscope.steps.base import Loss, Step, StepOutput, accuracy, call_model, output_losses
from praxiscope.steps.rows import (
    Prepare,
    as_rows,
    chunks,
    mixes_snippets,
    snippet_count,
    unsynchronised,
)
from praxiscope.types import Batch

__all__ = ["Learn", "cached", "learn_at_once", "learn_in_chunks"]

Learn: TypeAlias = Callable[[nn.Module, Batch, Callable[[Tensor], Any]], tuple[Tensor, Tensor]]
"""(model, raw batch, backward) -> (mean loss [], logits [B, K]), both detached."""


def learn_at_once(loss_function: Loss, prepare: Prepare) -> Learn:
    """One forward and one backward pass over all snippets together.

    Args:
        loss_function: (logits [B, K], targets) -> mean loss.
        prepare: brings a batch to the device and to floats.
    """

    def learn(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> tuple[Tensor, Tensor]:
        batch = prepare(batch)
        output = call_model(model, batch)
        loss = output_losses(loss_function, output, batch.targets).sum()
        backward(loss)
        return loss.detach(), output.logits.detach()

    return learn


def learn_in_chunks(loss_function: Loss, prepare: Prepare, snippets: int) -> Learn:
    """The gradient of all snippets in the memory of ``snippets`` of them, at the cost of a second forward pass.

    A first pass without a graph computes the scores f of all snippets, the loss and its gradient dL/df. A second pass
    runs one chunk at a time forward again, and backpropagates its part of dL/df. The sum over the chunks is the
    gradient of `learn_at_once`, to rounding, if a snippet's scores do not depend on the other snippets of its chunk.
    Trainable BatchNorm normalises each chunk by its own statistics, and updates its running statistics once per chunk;
    freeze it (``batchnorm="frozen"``) for the exact gradient. Both passes use the same dropout.

    Gradients are exchanged between devices once, in the last chunk.

    Args:
        loss_function: (logits [B, K], targets) -> mean loss.
        prepare: brings a part of a batch to the device and to floats.
        snippets: the maximum number in one pass; models that mix snippets (temporal shift) take at least one whole
            video.

    Raises (when it is called):
        ArgumentError: the model's ``consensus`` is None, so it does not score single snippets.
    """

    def learn(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> tuple[Tensor, Tensor]:
        consensus: Any = model.consensus
        if consensus is None:
            raise ArgumentError(f"{type(model).__name__} does not score single snippets; use the step 'full'")
        count = snippet_count(batch)
        parts = list(chunks(batch if mixes_snippets(model) else as_rows(batch), snippets))
        states, scores = [], []
        with statistics_held(model), torch.no_grad():
            for part in parts:
                states.append(_Draws.now(model))
                scores.append(call_model(model, prepare(part)).snippet_logits)
        seen = torch.cat([s.flatten(0, 1) for s in scores]).reshape(len(batch), count, -1).requires_grad_()
        logits = consensus(seen)
        loss = loss_function(logits, batch.targets.to(seen.device))
        (slope,) = torch.autograd.grad(loss, seen)
        shares = torch.split(slope.flatten(0, 1), [s.shape[0] * s.shape[1] for s in scores])
        del scores
        for number, (part, state, share) in enumerate(zip(parts, states, shares, strict=True)):
            state.restore()
            with unsynchronised(model, number < len(parts) - 1):
                again = call_model(model, prepare(part)).snippet_logits.flatten(0, 1)
                backward((again * share).sum())
        return loss.detach(), logits.detach()

    return learn


class _Draws(NamedTuple):
    """The state of the generators that dropout draws from."""

    cpu: Tensor
    device: torch.device
    cuda: Tensor | None

    @classmethod
    def now(cls, model: nn.Module) -> _Draws:
        device = next(model.parameters()).device
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, cuda)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


def cached(learn: Learn, tasks: Sequence[tuple[int, int]] = ()) -> Step:
    """The step that learns from every snippet by ``learn``; metric ``top1``. It takes raw batches.

    Args:
        learn: `learn_in_chunks`, with the number of snippets per pass.
        tasks: see `make_loss`.
    """

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        loss, logits = learn(model, batch, backward)
        return StepOutput(loss, {"top1": accuracy(logits, batch.targets.to(logits.device), tasks)})

    return step
