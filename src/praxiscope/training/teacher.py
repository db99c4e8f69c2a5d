"""Stored flow that a network learns to estimate while it learns classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from praxiscope.checkpoint import ModelCard
from praxiscope.data.flow_targets import FlowTargetReader, target_size
from praxiscope.errors import DataError
from praxiscope.flow.contract import FlowContract
from praxiscope.flow.store import FlowStore
from praxiscope.models.contract import EstimatesFlow

__all__ = ["Teacher", "check_teacher"]


@dataclass(frozen=True)
class Teacher:
    """The flow that a network learns to estimate.

    Attributes:
        store: the stored flow of the training videos.
        fields: flow fields of a snippet.
        stride: pixels of the input for one vector of the finest estimate.
    """

    store: FlowStore
    fields: int
    stride: int

    @classmethod
    def of(cls, store: FlowStore, model: nn.Module) -> Teacher:
        """The flow of a store, as a network estimates it."""
        assert isinstance(model, EstimatesFlow)
        return cls(store, model.fields, model.flow_stride)

    def reader(self, size: int) -> FlowTargetReader:
        """The reader of targets for crops of ``size`` pixels."""
        return FlowTargetReader(length=self.fields, store=self.store, crop=(size, size), stride=self.stride)

    def values(self, size: int) -> int:
        """Numbers in the target of a snippet."""
        rows, columns = target_size(size, self.stride)
        return 2 * self.fields * rows * columns

    def on_card(self, card: ModelCard) -> ModelCard:
        """The card of the network, with how the flow was computed."""
        return replace(card, teacher=self.store.contract.to_dict())


def check_teacher(card: ModelCard, teacher: Teacher) -> None:
    """Raise DataError if the stored flow was computed differently from the flow that a resumed run has learned from."""
    learned = FlowContract.from_dict(card.teacher)
    if teacher.store.contract != learned:
        raise DataError(
            f"{teacher.store.root}: was computed differently from the flow that the run has learned from: "
            f"{learned.difference(teacher.store.contract)}. Compute it again with those settings, or start a new run."
        )
