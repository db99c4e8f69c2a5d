"""The network of a run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from praxiscope.checkpoint import ModelCard
from praxiscope.flow.store import FlowStore

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """The model of a run, with its card and its stored flow.

    Attributes:
        model: the network, not wrapped for several devices.
        card: its model card, which is saved with the weights.
        store: the stored flow that it is trained on, if it takes flow.
    """

    model: nn.Module
    card: ModelCard
    store: FlowStore | None = None
