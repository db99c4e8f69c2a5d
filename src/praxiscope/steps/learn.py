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
    is_exchanged,
    mixes_snippets,
    snippet_count,
    through_forward,
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

    A first pass without a graph computes what the model says of each snippet: its scores f or, for a model with
    ``features`` and ``score`` (`praxiscope.models.contract.LearnsFromFeatures`), its features f. The loss of all f and
    its gradient dL/df follow. A second pass runs one chunk at a time forward again, and backpropagates its part of
    dL/df. The sum over the chunks is the gradient of `learn_at_once`, to rounding, if a snippet's f does not depend on
    the other snippets of its chunk. Trainable BatchNorm normalises each chunk by its own statistics, and updates its
    running statistics once per chunk; freeze it (``batchnorm="frozen"``) for the exact gradient. Both passes use the
    same dropout.

    Gradients are exchanged between devices once, in the last chunk.

    Args:
        loss_function: (logits [B, K], targets) -> mean loss.
        prepare: brings a part of a batch to the device and to floats.
        snippets: the maximum number in one pass; models that mix snippets (temporal shift) take at least one whole
            video.

    Raises (when it is called):
        ArgumentError: the model neither scores single snippets nor has ``features`` and ``score``.
    """

    def learn(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> tuple[Tensor, Tensor]:
        way = _ways(model)
        count = snippet_count(batch)
        parts = list(chunks(batch if way.whole_videos else as_rows(batch), snippets))
        states, found = [], []
        with statistics_held(model), torch.no_grad():
            for part in parts:
                states.append(_Draws.now(model))
                found.append(way.first(prepare(part)).flatten(0, 1))
        seen = torch.cat(found)
        seen = seen.reshape(len(batch), count, *seen.shape[1:]).requires_grad_()
        with unsynchronised(model):
            loss, logits, slope = way.second(seen, batch.targets.to(seen.device), loss_function, backward)
        shares = torch.split(slope.flatten(0, 1), [len(rows) for rows in found])
        del found
        for number, (part, state, share) in enumerate(zip(parts, states, shares, strict=True)):
            last = number == len(parts) - 1
            if not (way.first_learns or last):
                continue
            state.restore()
            with unsynchronised(model, not last):
                again = (way.first(prepare(part)).flatten(0, 1) * share).sum()
                if last and way.touched is not None:
                    again = again + way.touched()
                if again.requires_grad:
                    backward(again)
        return loss, logits

    return learn


class _Ways(NamedTuple):
    """A model as two functions, of which the second is the cheap one.

    first: a batch of floats to what the model says of each snippet, [B, S, ...].
    second: (that of all snippets, targets, loss, backward) -> (loss, logits, gradient of the loss with respect to its
        input); it backpropagates into its own weights.
    whole_videos: whether ``first`` needs all snippets of a video together.
    first_learns: whether ``first`` has weights that learn.
    touched: a loss of 0 that depends on all weights: several devices wait for a gradient of each in the last pass.
    """

    first: Callable[[Batch], Tensor]
    second: Callable[[Tensor, Tensor, Loss, Callable[[Tensor], Any]], tuple[Tensor, Tensor, Tensor]]
    whole_videos: bool
    first_learns: bool = True
    touched: Callable[[], Tensor] | None = None


def _ways(model: nn.Module) -> _Ways:
    consensus: Any = model.consensus
    if consensus is not None:

        def scores(batch: Batch) -> Tensor:
            found: Tensor = call_model(model, batch).snippet_logits
            return found

        def mean_loss(
            seen: Tensor, targets: Tensor, loss_function: Loss, backward: Callable[[Tensor], Any]
        ) -> tuple[Tensor, Tensor, Tensor]:
            logits = consensus(seen)
            loss = loss_function(logits, targets)
            (slope,) = torch.autograd.grad(loss, seen)
            return loss.detach(), logits.detach(), slope

        return _Ways(scores, mean_loss, mixes_snippets(model))
    try:
        _ = (model.features, model.score)
    except AttributeError:
        name = type(model).__name__
        raise ArgumentError(f"{name} does not score single snippets; use the step 'full'") from None
    (stream,) = model.streams  # type: ignore[misc]

    def features(batch: Batch) -> Tensor:
        found: Tensor = through_forward(model, "features", batch.streams[stream])
        return found

    def score(
        seen: Tensor, targets: Tensor, loss_function: Loss, backward: Callable[[Tensor], Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        output = through_forward(model, "score", seen)
        loss = output_losses(loss_function, output, targets).sum()
        # ``backward`` may scale the loss (several batches per update, half precision); its gradient tells by how much.
        scale = torch.zeros((), device=loss.device, dtype=loss.dtype, requires_grad=True)
        backward(loss + scale)
        assert seen.grad is not None
        assert scale.grad is not None
        return loss.detach(), output.logits.detach(), seen.grad / scale.grad

    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    (network,) = model.stream_networks.values()  # type: ignore[operator]
    learns = any(parameter.requires_grad for parameter in network.parameters())
    exchanged = is_exchanged(model)
    return _Ways(
        features,
        score,
        whole_videos=False,
        first_learns=learns,
        touched=(lambda: torch.stack([x.sum() for x in learning]).sum() * 0) if exchanged else None,
    )


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
