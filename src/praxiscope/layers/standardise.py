"""Standardisation of features by their statistics in training.

D features; ``...`` are any further axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError

__all__ = ["RunningStandardise"]


class RunningStandardise(nn.Module):
    """Subtract the mean of each feature, and divide by its standard deviation.

    Unlike `torch.nn.BatchNorm1d`, training and evaluation do the same, and a batch of one vector is enough: the
    statistics cover about the last ``memory`` vectors of training, and have no gradient. Vectors that are not finite
    change nothing. Before the first vector of training, the output is the input. Of several processes, the statistics
    of the first count. A feature that is constant in training is divided by the root of ``eps``.

    Args:
        features: D.
        memory: number of vectors.
        eps: is added to the variance.

    Attributes:
        held: True where the statistics do not change in training either, see
            `praxiscope.layers.normalisation.statistics_held`.

    Raises:
        ArgumentError: a number is not positive.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, features: int, memory: int = 1000, eps: float = 1e-3) -> None:
        super().__init__()
        for name, value in (("features", features), ("memory", memory), ("eps", eps)):
            if value <= 0:
                raise ArgumentError(f"{name} must be positive, got {value}")
        self.memory, self.eps, self.held = memory, eps, False
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        if self.training and not self.held:
            self._learn(x.detach().reshape(-1, x.shape[-1]).to(self.mean.dtype))
        scale = (self.variance + self.eps * (self.count > 0)).rsqrt()
        # In the precision of the statistics, since the mean may be large.
        return ((x - self.mean) * scale).to(x.dtype)

    @torch.no_grad()
    def _learn(self, vectors: Tensor) -> None:
        """Merge the statistics of some vectors into those of the vectors before them (Chan et al., 1979)."""
        if not len(vectors):
            return
        variance, mean = torch.var_mean(vectors, 0, correction=0)
        if not bool(torch.isfinite(variance).all()):
            return
        self.count.add_(len(vectors)).clamp_(max=max(self.memory, len(vectors)))
        share = len(vectors) / self.count.to(mean.dtype)
        apart = mean - self.mean
        # The first vectors have a share of 1, so that nothing stays of the initial values.
        self.variance.lerp_(variance, share).add_(share * (1 - share) * apart.square())
        self.mean.add_(share * apart)
