"""How a model is exported whose scores need steps between two networks.

Importing this file does not import torch. n frames, B views, S snippets, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ExportsInParts", "PartsToExport"]


@dataclass(frozen=True)
class PartsToExport:
    """Two networks, and the step between them, which `praxiscope.deploy` does without torch.

    Attributes:
        join: name of the step in `praxiscope.deploy.joins`.
        first: normalised frames [n, 1, C, H, W], or flow, to features [n, 1, ...], of each frame by itself; or the
            descriptors of n trajectories, see `praxiscope.models.fisher_svm.TrajectorySums`.
        last: ``forward(*inputs)`` takes features [1, S, ...], and the tensors of the state, and returns scores before
            softmax, [1, K], and the next state.
        state: the state before the first frame, by name; empty if there is none.
        snippets: an S for which ``last`` is written, if it is not free.
        settings: of the step, plain values for JSON; of a model of trajectories also ``descriptors``, the names of the
            inputs of ``first``.
    """

    join: str
    first: Callable[[Tensor], Tensor]
    last: nn.Module
    state: Mapping[str, Tensor] = field(default_factory=dict)
    snippets: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class ExportsInParts(Protocol):
    """The interface of models that say how they are exported. Others are exported as `LearnsFromFeatures`, or as one
    network."""

    def parts_to_export(self) -> PartsToExport:
        """The parts, which share the weights of the model.

        Raises:
            ArgumentError: the model cannot be exported in parts.
        """
        ...
