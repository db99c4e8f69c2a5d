"""Optional interfaces of models that consist of several parts. Importing this file does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["AdaptsWeights", "FreezesFirst", "GatesStreams", "StartsFromParts"]


@runtime_checkable
class StartsFromParts(Protocol):
    """The interface of models of which several parts may each start from a trained run (warm start).

    The names are also registered (`praxiscope.models.registered.register_model`, ``parts``).
    """

    @property
    def start_parts(self) -> Mapping[str, nn.Module]:
        """The parts by name. ``--from RUN`` starts those that the model of the run has under the same names or, if it
        has none of them, the first, from its only network."""
        ...


@runtime_checkable
class AdaptsWeights(Protocol):
    """The interface of parts that may also start from a similar network of other shapes."""

    def adapted(self, came: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of another network, by name, with the shapes of this one where they can be adapted."""
        ...


@runtime_checkable
class FreezesFirst(Protocol):
    """The interface of models of which a part is trained later than the rest (two-phase training)."""

    @property
    def frozen_first(self) -> Sequence[nn.Module]:
        """The modules that ``optim.frozen_epochs`` freezes, with their BatchNorm statistics but without their
        classifiers. Of other models it freezes all but the classifiers."""
        ...


@runtime_checkable
class GatesStreams(Protocol):
    """The interface of models of which one stream acts on another; ``forward(..., maps=NAMES)`` also returns gates."""

    def gate_names(self) -> list[str]:
        """The names of the gates, STREAM.GATE of the stream on which they act, from the input to the classifier."""
        ...
