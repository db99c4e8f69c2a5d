"""Predict videos by their trajectories with an exported encoder.

Axis letters: n trajectories, P values of their sums, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import TrajectoryDescription
from praxiscope.deploy.joins import Parts, find_join
from praxiscope.deploy.predictor import Predictor
from praxiscope.deploy.runtimes import Outputs, Runtime
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import Extraction
from praxiscope.trajectories.videos import extract_frames
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video

__all__ = ["Summed", "TrajectoryRunner"]

_ROWS = 4096  # trajectories that the encoder takes at once; for each it holds a value of every Gaussian


class Summed:
    """The network takes the sum over all trajectories.

    Args:
        network: ``features``, float64 [1, P], to ``logits``.
        settings: ``size``, P.
    """

    def __init__(self, network: Outputs, settings: Mapping[str, Any]) -> None:
        self._network, self._size = network, int(settings["size"])

    @staticmethod
    def outputs(settings: Mapping[str, Any]) -> Sequence[str]:
        """See `praxiscope.deploy.joins.JoinClass`."""
        return ("logits",)

    def __call__(self, parts: Parts) -> NDArray[np.float32]:
        total = np.zeros((1, self._size))
        for part in parts():
            total += part
        return self._network({"features": total})[0]


class TrajectoryRunner(Predictor):
    """An exported encoder of the trajectories of all frames. Protocols of views have no meaning for it: they are
    ignored, so that it can be fused with networks that have some.

    Args:
        description: of the encoder.
        network: takes the sums over trajectories as ``features``, and returns ``logits``.
        frames: takes the descriptors of some trajectories, and returns their sums.
        source: its folder, for messages.
    """

    def __init__(
        self, description: TrajectoryDescription, network: Outputs, frames: Runtime, source: str = ""
    ) -> None:
        self.description: TrajectoryDescription = description
        self._join = find_join(description.join)(network, description.settings)
        self._frames, self._source = frames, source
        try:
            self._extraction = Extraction.from_dict(description.extraction)
        except (TypeError, KeyError, ArgumentError) as error:
            raise CheckpointError(
                f"{source}: cannot extract its trajectories ({error}). Export it again."
            ) from error

    def __repr__(self) -> str:
        found = self.description
        return f"<TrajectoryRunner of {found.model}, {len(found.labels)} classes>"

    def logits(
        self, source: str | Path | Video, protocol: str | None = None, average: str | None = None
    ) -> NDArray[np.float32]:
        video = source if isinstance(source, Video) else open_video(source)
        found = extract_frames(video, self._extraction)
        scores: NDArray[np.float32] = self._join(lambda: self._sums(found))[0]
        if not np.isfinite(scores).all():
            raise CheckpointError(f"{self._source}: the scores are not finite. Export it again.")
        return scores

    def _sums(self, found: Trajectories) -> Iterator[NDArray[Any]]:
        rows = {name: getattr(found, name) for name in self.description.descriptors}
        for start in range(0, len(found), _ROWS):
            yield self._frames(
                {name: np.ascontiguousarray(x[start : start + _ROWS]) for name, x in rows.items()}
            )
