"""Fisher vectors of trajectories: PCA and a Gaussian mixture for each descriptor.

Axis letters: N trajectories, d dimensions after PCA, k Gaussians, D of the vector of a video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError
from praxiscope.layers.fisher import fisher_vector, fit_mixture
from praxiscope.progress import Reporter
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import DESCRIPTORS

__all__ = ["FisherEncoder", "Mixture", "Vocabulary", "learn_fisher"]


@dataclass(frozen=True)
class Vocabulary:
    """How mixtures are learned.

    Attributes:
        gaussians: k. 256 in the papers.
        samples: largest number of trajectories from which PCA and mixtures are learned; of more, some are drawn.
            256,000 in the papers.
        seed: of the sample and the mixtures.
    """

    gaussians: int = 256
    samples: int = 256_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("gaussians", "samples"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ArgumentError(f"{name} must be a whole number of at least 1, got {value!r}")


class Mixture(NamedTuple):
    """PCA to half the dimensions of a descriptor, and a mixture of Gaussians with diagonal covariances, float32.

    mean: [2 d]. axes: [2 d, d]. weights: [k]. means, variances: [k, d].
    """

    mean: Tensor
    axes: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    def encode(self, rows: Tensor) -> Tensor:
        """The improved Fisher vector of descriptors [N, 2 d]: [2 k d]."""
        return fisher_vector(
            (rows - self.mean) @ self.axes, self.weights, self.means, self.variances, normalise=True
        )


@dataclass(frozen=True)
class FisherEncoder:
    """A mixture for each descriptor, by its name."""

    mixtures: dict[str, Mixture]

    @property
    def dims(self) -> int:
        """D."""
        return sum(2 * mixture.means.numel() for mixture in self.mixtures.values())

    def __call__(self, found: Trajectories) -> Tensor:
        """The Fisher vectors of all descriptors, one after the other, float32 [D]; 0 without trajectories."""
        if not len(found):
            return torch.zeros(self.dims)
        parts = [
            mixture.encode(torch.from_numpy(getattr(found, name))) for name, mixture in self.mixtures.items()
        ]
        return torch.cat(parts)


def learn_fisher(
    samples: Trajectories,
    vocabulary: Vocabulary = Vocabulary(),
    descriptors: Sequence[str] = DESCRIPTORS,
    *,
    reporter: Reporter | None = None,
) -> FisherEncoder:
    """Learn PCA and a mixture for each descriptor.

    Args:
        samples: trajectories of training videos.
        vocabulary: see there.
        descriptors: their names, see `DESCRIPTORS`.
        reporter: shows progress.

    Raises:
        DataError: fewer trajectories than Gaussians, or than dimensions after PCA.
    """
    dims = max(getattr(samples, name).shape[1] // 2 for name in descriptors)
    count = min(len(samples), vocabulary.samples)
    if count < max(vocabulary.gaussians, dims):
        raise DataError(
            f"{count} trajectories are too few for {vocabulary.gaussians} Gaussians in {dims} dimensions. Use "
            "more or longer videos, or more samples."
        )
    if len(samples) > vocabulary.samples:
        drawn = np.random.default_rng(vocabulary.seed).permutation(len(samples))[: vocabulary.samples]
        samples = samples.take(np.sort(drawn))
    mixtures = {}
    with (reporter or Reporter()).bar("mixtures", len(descriptors)) as bar:
        for name in descriptors:
            mixtures[name] = _mixture(getattr(samples, name), vocabulary)
            bar.advance()
    return FisherEncoder(mixtures)


def _mixture(rows: NDArray[np.float32], vocabulary: Vocabulary) -> Mixture:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    pca: Any = PCA(rows.shape[1] // 2, svd_solver="covariance_eigh").fit(rows)
    x = pca.transform(rows).astype(np.float32)
    start = MiniBatchKMeans(
        vocabulary.gaussians, n_init=1, batch_size=4096, random_state=vocabulary.seed
    ).fit(x)
    found = fit_mixture(
        torch.from_numpy(x),
        torch.from_numpy(start.cluster_centers_.astype(np.float32)),
        least_variance=1e-4 * float(x.var(0).mean()),
    )
    mean, axes = (
        torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        for value in (pca.mean_, pca.components_.T)
    )
    return Mixture(mean, axes, *found)
