"""Predict with a run by another library than PyTorch: its network, exported and kept beside it.

The views of a video are chosen, read and averaged as always; only what the network computes comes from elsewhere.

B views, S snippets of a view, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.deploy.runtimes import Runtime
from praxiscope.inference.over_time import OnlineOutput
from praxiscope.video.geometry import Kind, kind_of

if TYPE_CHECKING:
    from praxiscope.inference.network import TrainedNetwork

__all__ = ["ExportedModel"]


class ExportedModel:
    """What takes the place of a network's model: the exported network for inputs of the shape that it was exported for,
    and the model for others.

    Args:
        network: the network.
        name: of the runtime.
        run: returns ``logits`` of views, or ``features`` of frames.
        in_parts: ``run`` returns features; the model scores them.
        snippets: of a view of ``run``; None: any number.
        size: height and width of frames; None: any.

    Attributes:
        used: "torch" or ``name``: what computed the last forward pass.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        name: str,
        run: Runtime,
        *,
        in_parts: bool,
        snippets: int | None,
        size: int | None,
    ) -> None:
        self.name, self.in_parts, self.used = name, in_parts, name
        self._network, self._run, self._snippets, self._size = network, run, snippets, size

    def prepare(self, views: Tensor, kind: Kind = "rgb") -> Tensor:
        """Views as they are: the exported network normalises them."""
        return views

    def __call__(self, *views: Tensor) -> Any:
        """Views [B, S, C, H, W] of each stream, not normalised, to an output with ``logits`` [B, K]."""
        count = views[0].shape[1]
        if self._fits(views[0]):
            return OnlineOutput(self._found(views))
        singles = tuple(x.flatten(0, 1)[:, None] for x in views)
        if self._network.sees.instants_apart and self._fits(singles[0]):
            rows = self._found(singles)
            return OnlineOutput(rows.reshape(-1, count, rows.shape[-1]).mean(1))
        kinds = map(kind_of, self._network.streams)
        prepared = (self._network.prepare(x, kind) for x, kind in zip(views, kinds, strict=True))
        return self._network.model(*prepared)

    def features(self, frames: Tensor) -> Tensor:
        """Snippets one by one, [n, 1, C, H, W], not normalised, to their features, [n, 1, ...]."""
        if self._fits(frames):
            return self._found((frames,))
        (stream,) = self._network.streams
        features: Tensor = self._network.model.features(self._network.prepare(frames, kind_of(stream)))
        return features

    def score(self, features: Tensor) -> Any:
        """Features of the snippets of views to an output, by the model."""
        return self._network.model.score(features)

    def _fits(self, x: Tensor) -> bool:
        fits = self._snippets in (None, x.shape[1]) and (
            self._size is None or tuple(x.shape[-2:]) == (self._size, self._size)
        )
        self.used = self.name if fits else "torch"
        return fits

    def _found(self, views: tuple[Tensor, ...]) -> Tensor:
        given: dict[str, NDArray[Any]] = {
            name: np.ascontiguousarray(x.numpy())
            for name, x in zip(self._network.streams, views, strict=True)
        }
        return torch.from_numpy(self._run(given))
