"""Split a batch into snippets, and score snippets without a gradient; shared by several steps.

Axis letters: B videos, m snippets of a video, n of them chosen, K classes. A row is one snippet of one video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from operator import methodcaller
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from praxiscope.errors import ArgumentError
from praxiscope.layers.normalisation import statistics_held
from praxiscope.steps.base import call_model
from praxiscope.types import Batch

__all__ = [
    "Prepare",
    "Statistics",
    "as_rows",
    "chunks",
    "is_exchanged",
    "mixes_snippets",
    "pick",
    "snippet_count",
    "through_forward",
    "unsynchronised",
    "watch",
    "watching",
]

Prepare: TypeAlias = Callable[[Batch], Batch]
"""Moves a batch, or a part of it, to the device and converts it to normalised floats."""

Statistics: TypeAlias = Literal["running", "batch"]
"""Statistics by which BatchNorm normalises watched snippets."""


def snippet_count(batch: Batch) -> int:
    """The number of snippets per video, m.

    Raises:
        ArgumentError: the batch is packed, so its videos have different numbers of snippets.
    """
    if batch.offsets is not None:
        raise ArgumentError("steps that choose among snippets take dense batches, but got a packed batch")
    return next(iter(batch.streams.values())).shape[1]


def mixes_snippets(model: nn.Module) -> bool:
    """Whether a snippet's scores depend on the others of its video (temporal shift), so that they must stay
    together."""
    return bool(model.sees.together != 1)  # type: ignore[union-attr]


def as_rows(batch: Batch) -> Batch:
    """The same snippets as videos of one snippet each, [B * m, 1, …]; no pixel is copied."""
    count = snippet_count(batch)
    return Batch(
        {name: x.flatten(0, 1).unsqueeze(1) for name, x in batch.streams.items()},
        batch.targets.repeat_interleave(count, dim=0),
        [name for name in batch.ids for _ in range(count)],
        [seed for seed in batch.seeds for _ in range(count)],
    )


def chunks(batch: Batch, snippets: int) -> Iterator[Batch]:
    """Split a batch into parts of whole videos, with at most ``snippets`` snippets but at least one video."""
    videos = max(1, snippets // snippet_count(batch))
    for first in range(0, len(batch), videos):
        part = slice(first, first + videos)
        yield replace(
            batch,
            streams={name: x[part] for name, x in batch.streams.items()},
            targets=batch.targets[part],
            ids=batch.ids[part],
            seeds=batch.seeds[part],
        )


def pick(batch: Batch, chosen: Tensor) -> Batch:
    """Keep the snippets ``chosen``, int64 [B, n], of every video: streams [B, n, …]."""
    streams = {}
    for name, x in batch.streams.items():
        videos = torch.arange(len(x), device=x.device)[:, None]
        streams[name] = x[videos, chosen.to(x.device)]
    return replace(batch, streams=streams)


@contextmanager
def watching(model: nn.Module, statistics: Statistics = "running") -> Iterator[None]:
    """A context in which dropout is off and BatchNorm does not learn. All modules are restored afterwards.

    Args:
        statistics: "running": BatchNorm normalises as in evaluation. "batch": layers in training mode normalise by the
            snippets of each pass, as in training.
    """
    before = [(module, module.training) for module in model.modules()]
    with statistics_held(model):
        for module, training in before:
            module.training = training and statistics == "batch" and isinstance(module, _BatchNorm)
        try:
            yield
        finally:
            for module, training in before:
                module.training = training


@torch.no_grad()
def watch(model: nn.Module, batch: Batch, prepare: Prepare, snippets: int) -> Tensor:
    """Score every snippet without a graph. Only the scores are kept.

    Args:
        batch: a raw batch, [B, m, …]. Each part is prepared just before its pass, so that memory never holds the floats
            of all snippets.
        snippets: the maximum number to score at once. Models that mix snippets take whole videos.

    Returns:
        [B, m, K].
    """
    count = snippet_count(batch)
    parts = chunks(batch if mixes_snippets(model) else as_rows(batch), snippets)
    logits = torch.cat([call_model(model, prepare(part)).snippet_logits for part in parts])
    return logits.reshape(len(batch), count, -1)


def unsynchronised(model: nn.Module, wanted: bool = True) -> Any:
    """A context in which backward passes do not exchange gradients between devices; a later pass does."""
    wrapped = _wrapper(model)
    return wrapped.no_sync() if wanted and wrapped is not None else nullcontext()


def is_exchanged(model: nn.Module) -> bool:
    """Whether gradients are exchanged between devices."""
    return _wrapper(model) is not None


def _wrapper(model: nn.Module) -> DistributedDataParallel | None:
    # Fabric's wrapper holds torch's wrapper.
    return next((m for m in model.modules() if isinstance(m, DistributedDataParallel)), None)


def through_forward(model: nn.Module, method: str, *inputs: Tensor) -> Any:
    """Call a method of a model with what Fabric puts around ``forward``: the precision, the exchange of gradients."""
    from lightning_fabric.wrappers import _FabricModule

    if isinstance(model, _FabricModule):
        return model._redirection_through_forward(method)(*inputs)
    return methodcaller(method, *inputs)(model)
