"""Aggregate local features, however many, to one vector: PCA, then a Fisher vector or VLAD.

Axis letters: N local features, D their dimensions, d those after PCA, k words, P values of the vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError, DataError
from praxiscope.layers.fisher import fisher_vector, fit_mixture, from_moments, improved, moments
from praxiscope.layers.vlad import vlad

__all__ = ["ENCODINGS", "Codebook"]

ENCODINGS = ("fisher", "vlad")


class Codebook(nn.Module):
    """PCA and the words of local features. `learn` learns both.

    Args:
        width: D.
        dims: d, at most D.
        words: k: Gaussians of a mixture, or means of k-means.
        encoding: "fisher", the improved Fisher vector, P = 2 k d; or "vlad", VLAD with intra-normalisation, P = k d,
            of features that have length 1 after PCA.

    Attributes:
        mean, axes: [D] and [D, d], of the PCA.
        means: [k, d], the words.
        weights, variances: [k] and [k, d], of the mixture; not of VLAD.

    Raises:
        ArgumentError: a size that is not a whole number above 0, more dimensions than features have, or an unknown
            encoding.
    """

    mean: Tensor
    axes: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(self, width: int, dims: int, words: int, encoding: str = "fisher") -> None:
        super().__init__()
        if encoding not in ENCODINGS:
            raise ArgumentError(f"encoding must be {' or '.join(ENCODINGS)}, got {encoding!r}")
        for name, value, most in (("dims", dims, width), ("words", words, None)):
            if type(value) is not int or value < 1 or (most is not None and value > most):
                limit = f" to {most}, the dimensions of the features" if most is not None else " or more"
                raise ArgumentError(f"{name} must be a whole number of 1{limit}, got {value!r}")
        self.encoding, self.dims, self.words = encoding, dims, words
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.eye(width, dims))
        self.register_buffer("means", torch.zeros(words, dims))
        if encoding == "fisher":
            self.register_buffer("weights", torch.full((words,), 1 / words))
            self.register_buffer("variances", torch.ones(words, dims))

    @property
    def size(self) -> int:
        """P."""
        return self.means.numel() * (2 if self.encoding == "fisher" else 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Local features of an image or a video, float32 [N, D], to its vector, [P] of length 1; 0 without any."""
        if not len(rows):
            return rows.new_zeros(self.size)
        reduced = self._reduced(rows)
        if self.encoding == "vlad":
            return vlad(reduced, self.means).flatten()
        return fisher_vector(reduced, self.weights, self.means, self.variances, normalise=True)

    def moments(self, rows: Tensor) -> Tensor:
        """The sums over local features, [N, D], of which `from_moments` makes their Fisher vector: float64,
        [k, 1 + 2 d]. Those of parts of the features add up."""
        return moments(self._reduced(rows), self.weights, self.means, self.variances)

    def from_moments(self, sums: Tensor, count: Tensor) -> Tensor:
        """The Fisher vector of ``count`` local features, at least 1, from their sums: what `forward` returns."""
        found = from_moments(sums, count, self.weights, self.means, self.variances)
        return improved(found.to(self.means.dtype))

    def _reduced(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) @ self.axes

    def learn(self, rows: Tensor, *, seed: int = 0) -> None:
        """Learn PCA, then the words by k-means, and for Fisher vectors the mixture that starts from them, in place.

        Args:
            rows: local features of training images or videos, float32 [N, D].
            seed: of k-means.

        Raises:
            DataError: fewer features than words or dimensions, or a feature is not finite.
        """
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.decomposition import PCA

        if len(rows) < max(self.words, self.dims):
            raise DataError(
                f"{len(rows)} local features are too few for {self.words} words in {self.dims} dimensions"
            )
        if not bool(rows.isfinite().all()):
            raise DataError("a local feature is not finite")
        pca: Any = PCA(self.dims, svd_solver="covariance_eigh").fit(rows.numpy())
        self.mean.copy_(_tensor(pca.mean_))
        self.axes.copy_(_tensor(pca.components_.T))
        reduced = self._reduced(rows)
        if self.encoding == "vlad":
            reduced = F.normalize(reduced, dim=1)
        start = MiniBatchKMeans(self.words, n_init=1, batch_size=4096, random_state=seed).fit(reduced.numpy())
        self.means.copy_(_tensor(start.cluster_centers_))
        if self.encoding == "fisher":
            least = 1e-4 * float(reduced.var(0, correction=0).mean())
            found = fit_mixture(reduced, self.means, least_variance=least)
            for own, value in zip((self.weights, self.means, self.variances), found, strict=True):
                own.copy_(value)


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
