"""What is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from praxiscope.checkpoint import ModelCard
from praxiscope.flow.store import FlowStore

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """The model of a run.

    Attributes:
        model: the network itself, not wrapped for several devices.
        card: its description, which is saved beside the weights.
        store: the stored flow that it is trained on, if it sees flow.
    """

    model: nn.Module
    card: ModelCard
    store: FlowStore | None = None
