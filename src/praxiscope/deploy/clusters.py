"""Networks of the means of clusters of frames: the clustering of `praxiscope.layers.clustering` in numpy.

n frames of a part, N frames of a video, g clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.joins import Parts
from praxiscope.deploy.runtimes import Outputs
from praxiscope.errors import unknown_name

__all__ = ["CLUSTERINGS", "Clusters", "cumulative", "hamming_distances", "slope", "uniform"]

_KEPT_BYTES = 2**29  # of activations; of a longer video they are computed again for the means


class Clusters:
    """Frames are divided into clusters by the signs of their activations, whose means the network takes.

    Args:
        network: ``features``, the means [1, g, ...], to ``logits``.
        settings: ``clusters``, g, and ``clustering``, a name in `CLUSTERINGS`.

    Raises:
        UnknownNameError: the clustering is unknown.
    """

    def __init__(self, network: Outputs, settings: Mapping[str, Any]) -> None:
        self._network, self._count = network, int(settings["clusters"])
        if settings["clustering"] not in CLUSTERINGS:
            raise unknown_name("clustering", settings["clustering"], CLUSTERINGS)
        self._cluster = CLUSTERINGS[settings["clustering"]]

    @staticmethod
    def outputs(settings: Mapping[str, Any]) -> Sequence[str]:
        """See `praxiscope.deploy.joins.JoinClass`."""
        return ("logits",)

    def __call__(self, parts: Parts) -> NDArray[np.float32]:
        _, means = self.means(parts)
        return self._network({"features": means[None]})[0]

    def means(self, parts: Parts) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The cluster of each frame, int64 [N], and the mean activations of each cluster, [g, ...]; g is at most N."""
        kept, size, distances = list[NDArray[np.float32]](), 0, []
        last: NDArray[np.float32] | None = None
        for part in parts():
            size += part.nbytes
            kept = [*kept, part] if size <= _KEPT_BYTES else []
            distances.append(hamming_distances(part if last is None else np.concatenate([last, part])))
            last = part[-1:]
        ids = self._cluster(np.concatenate(distances), self._count)
        again: Iterator[NDArray[np.float32]] = iter(kept) if kept else parts()
        sums, first = np.zeros((0,), np.float64), 0
        for part in again:
            sums = sums if sums.size else np.zeros((ids[-1] + 1, *part.shape[1:]), np.float64)
            own = ids[first : first + len(part)]
            for number in np.unique(own):
                sums[number] += part[own == number].sum(0, dtype=np.float64)
            first += len(part)
        sizes = np.bincount(ids).reshape(-1, *[1] * (sums.ndim - 1))
        return ids, (sums / sizes).astype(np.float32)


def hamming_distances(activations: NDArray[np.float32]) -> NDArray[np.int64]:
    """The number of activations whose sign differs between neighbouring frames: [n, ...] to [n - 1]."""
    on = activations.reshape(len(activations), -1) > 0
    return np.count_nonzero(on[1:] != on[:-1], axis=1)


def cumulative(distances: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """Cut the cumulative distance into equal parts; see `praxiscope.layers.clustering.cumulative_ids`."""
    count = min(clusters, len(distances) + 1)
    sums = np.concatenate([[0], np.cumsum(distances)])
    if not sums[-1]:
        return uniform(distances, clusters)
    part = np.maximum(-(-count * sums // sums[-1]), 1)
    starts = np.concatenate([[True], part[1:] != part[:-1]])
    starts |= _largest(distances, ~starts, count - int(starts.sum()))
    return np.cumsum(starts) - 1


def slope(distances: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """Cut after the largest distances; see `praxiscope.layers.clustering.slope_ids`."""
    if not distances.any():
        return uniform(distances, clusters)
    everywhere = np.ones(len(distances) + 1, bool)
    count = min(clusters, len(everywhere))
    return np.cumsum(_largest(distances, everywhere, count - 1))


def uniform(distances: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """Cut N frames into equal parts."""
    frames = len(distances) + 1
    return min(clusters, frames) * np.arange(frames) // frames


def _largest(distances: NDArray[np.int64], candidates: NDArray[np.bool_], wanted: int) -> NDArray[np.bool_]:
    """The ``wanted`` frames among the candidates, bool [N], that differ most from the frame before; of equal ones, the
    later. The first frame is none of them."""
    size = np.concatenate([[-1], np.where(candidates[1:], distances, -1)])
    order = len(size) - 1 - np.argsort(-size[::-1], kind="stable")
    chosen = np.zeros(len(size), bool)
    chosen[order[:wanted]] = True
    return chosen & (size >= 0)


CLUSTERINGS: Mapping[str, Callable[[NDArray[np.int64], int], NDArray[np.int64]]] = {
    "cumulative": cumulative,
    "slope": slope,
    "uniform": uniform,
}
"""From the distances of neighbouring frames, int64 [N - 1], and g to the cluster of each frame, int64 [N]."""
