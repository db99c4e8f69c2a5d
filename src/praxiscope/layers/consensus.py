"""Segmental consensus: from the scores of snippets to the score of their video.

Axis letters: B videos, S snippets, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from praxiscope.registry import Registry

__all__ = ["Consensus", "average", "consensus_functions", "maximum"]

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
