"""The network of a run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from praxiscope.checkpoint import ModelCard
from praxiscope.flow.store import FlowStore
from praxiscope.training.over_rows import OverRows, StoredRows
from praxiscope.training.teacher import Teacher

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """The model of a run, with its card and its stored flow.

    Attributes:
        model: the network, not wrapped for several devices.
        card: its model card, which is saved with the weights.
        store: the stored flow that it is trained on, if it takes flow.
        teacher: the stored flow that it learns to estimate.
        rows: the stored features that it is trained on in place of videos.
    """

    model: nn.Module
    card: ModelCard
    store: FlowStore | None = None
    rows: StoredRows | None = None
    teacher: Teacher | None = None

    @property
    def learner(self) -> nn.Module:
        """The module that a step calls: the model, or its part that learns from stored features."""
        return self.model if self.rows is None else OverRows(self.model, self.rows.shape)
