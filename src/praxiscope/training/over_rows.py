"""The part of a model that learns from the rows of a feature store, seen as a model of its own.

B videos, S rows of a training example, D features, h rows and w columns of a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.features.store import FeatureStore
from praxiscope.models.contract import Sees

__all__ = ["STREAM", "OverRows", "StoredRows", "freeze_network"]

STREAM = "features"
"""The stream of a batch that holds stored features, [B, S, D] or [B, S, D, h, w]."""


@dataclass(frozen=True)
class StoredRows:
    """The rows of a feature store, as a model takes them.

    Attributes:
        store: the features.
        maps: whether the model takes maps; otherwise stored maps are averaged over space.
    """

    store: FeatureStore
    maps: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row as the model takes it, (D,) or (D, h, w)."""
        shape = self.store.contract.shape
        return shape if self.maps else shape[:1]


def freeze_network(model: Any) -> None:
    """Stop the network of the features from learning: it computed the features that are stored."""
    for network in model.stream_networks.values():
        network.requires_grad_(False)


class OverRows(nn.Module):
    """A model whose input is stored features, and whose ``forward`` is the ``score`` of another model.

    Its parameters and buffers are those of the whole model, so that steps and optimisers see an ordinary model, and a
    checkpoint of the whole model holds what was learned.

    Args:
        model: has the interface `praxiscope.models.contract.LearnsFromFeatures`. Its network stays in evaluation mode.
        shape: of a row.
    """

    streams = (STREAM,)

    def __init__(self, model: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.shape = model, shape
        self.train(model.training)

    @property
    def sees(self) -> Sees:
        """As the whole model."""
        found: Sees = self.model.sees
        return found

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.model.num_classes)

    @property
    def consensus(self) -> Any:
        """As the whole model."""
        return self.model.consensus

    @property
    def classifiers(self) -> Sequence[nn.Module]:
        """The layers that output class scores."""
        found: Sequence[nn.Module] = self.model.classifiers
        return found

    @property
    def first_convolutions(self) -> Sequence[nn.Module]:
        """None: the layers that take frames do not learn."""
        return []

    @property
    def stream_networks(self) -> Mapping[str, nn.Module]:
        """None: the network of the features does not learn."""
        return {}

    def train(self, mode: bool = True) -> OverRows:
        """Set the mode of the part that learns."""
        super().train(mode)
        for network in self.model.stream_networks.values():
            network.eval()
        return self

    def example_inputs(self, videos: int, snippets: int) -> list[Tensor]:
        """Inputs of zeros: one tensor [videos, snippets, ...]."""
        return [torch.zeros(videos, snippets, *self.shape, device=next(self.parameters()).device)]

    def forward(self, features: Tensor) -> Any:
        """Rows [B, S, ...] to the output of the whole model."""
        return self.model.score(features)
