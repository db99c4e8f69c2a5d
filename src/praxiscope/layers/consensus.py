"""Segmental consensus: from the scores of snippets to the score of their video.

Axis letters: B videos, S snippets, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from praxiscope.registry import Registry

__all__ = ["Consensus", "average", "consensus_functions", "is_average", "maximum"]

Consensus: TypeAlias = Callable[[Tensor], Tensor]

consensus_functions: Registry[Consensus] = Registry("consensus")


@consensus_functions.register("average")
def average(snippet_logits: Tensor) -> Tensor:
    """Return the mean over snippets, [B, S, K] -> [B, K] (TSN, section 3.2: "even averaging")."""
    return snippet_logits.mean(dim=1)


@consensus_functions.register("maximum")
def maximum(snippet_logits: Tensor) -> Tensor:
    """Return the largest score of each class over snippets, [B, S, K] -> [B, K] (TSN, section 3.2)."""
    return snippet_logits.amax(dim=1)


def is_average(consensus: Consensus | None) -> bool:
    """Whether a consensus returns the mean over snippets, as `average` does: any function that does so for an
    example."""
    if consensus is average:
        return True
    if consensus is None:
        return False
    example = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            found = consensus(example)
    except RuntimeError:  # parameters of another dtype, device or number of snippets: not the mean
        return False
    expected = average(example)
    return isinstance(found, Tensor) and found.shape == expected.shape and torch.allclose(found, expected)
