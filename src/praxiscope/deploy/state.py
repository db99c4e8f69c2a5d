"""Networks that take one frame after the other, with a state. n frames, K classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.joins import Parts
from praxiscope.deploy.runtimes import Outputs

__all__ = ["Carried"]


class Carried:
    """The state is carried from frame to frame, so that memory does not grow with the length of a video.

    Args:
        network: ``features`` [1, 1, ...] and the tensors of the state to ``logits`` and those of the next state.
        settings: ``state``, the tensors before the first frame by name: their ``shape`` and ``value``, one for all.
    """

    def __init__(self, network: Outputs, settings: Mapping[str, Any]) -> None:
        self._network = network
        self._begin = {
            name: np.full(tensor["shape"], tensor["value"], np.float32)
            for name, tensor in settings["state"].items()
        }

    @staticmethod
    def outputs(settings: Mapping[str, Any]) -> Sequence[str]:
        """See `praxiscope.deploy.joins.JoinClass`."""
        return ("logits", *(f"next_{name}" for name in settings["state"]))

    def __call__(self, parts: Parts) -> NDArray[np.float32]:
        (scores,) = deque(self.each(parts), maxlen=1)
        return scores

    def each(self, parts: Parts) -> Iterator[NDArray[np.float32]]:
        """The scores after each frame, [1, K]."""
        state = self._begin
        for part in parts():
            for row in part:
                scores, *then = self._network({"features": row[None, None], **state})
                state = dict(zip(state, then, strict=True))
                yield scores
