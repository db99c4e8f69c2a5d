"""Fisher vectors of a Gaussian mixture (F. Perronnin, J. Sánchez, T. Mensink, ECCV 2010).

Axis letters: n features, d their dimensions, k Gaussians.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError

__all__ = ["fisher_vector", "improved", "posteriors"]

_VALUES = 1 << 22  # posteriors that are in memory at once: 32 MiB in float64


def posteriors(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """The probability of each Gaussian, given a feature.

    Args:
        x: [n, d].
        weights: [k], which add up to 1.
        means, variances: [k, d]; the covariances are diagonal.

    Returns:
        [n, k]; each row adds up to 1.
    """
    # -(x - m)² / 2v, expanded, so that no [n, k, d] is needed.
    precisions = 1 / variances
    square = x.square() @ precisions.T - 2 * x @ (means * precisions).T + (means.square() * precisions).sum(1)
    constant = weights.log() - (variances.log().sum(1) + x.shape[1] * math.log(2 * math.pi)) / 2
    return (constant - square / 2).softmax(1)


def fisher_vector(
    x: Tensor, weights: Tensor, means: Tensor, variances: Tensor, *, normalise: bool = False
) -> Tensor:
    """The gradient of the mean log-likelihood of features, scaled by the Fisher information of the mixture.

    With the posteriors γ: for each Gaussian Σ γ (x - μ) / (n σ √w) and Σ γ ((x - μ)² / σ² - 1) / (n √(2 w)). The
    gradients of the weights are left out, as is usual.

    Args:
        x: [n, d], in float32 or float64; sums are in float64.
        weights: [k], above 0, which add up to 1.
        means, variances: [k, d]; variances are above 0.
        normalise: apply `improved`.

    Returns:
        [2 k d] of the type of ``x``: the means of the first Gaussian, of the second, …, then the variances.
        Over the features that a mixture was fitted to until it converged, it is 0 (without ``normalise``).

    Raises:
        ArgumentError: the shapes do not fit, there is no feature, or a weight or variance is not above 0.
    """
    _check(x, weights, means, variances)
    w, m, v = (value.to(x.device, torch.float64) for value in (weights, means, variances))
    zeroth = torch.zeros_like(w)
    first, second = torch.zeros_like(m), torch.zeros_like(m)
    size = max(1, _VALUES // len(w))
    for start in range(0, len(x), size):
        part = x[start : start + size].to(torch.float64)
        shares = posteriors(part, w, m, v)
        zeroth += shares.sum(0)
        first += shares.T @ part
        second += shares.T @ part.square()
    total = zeroth[:, None]
    by_mean = (first - total * m) / v.sqrt() / w.sqrt()[:, None]
    by_variance = ((second - 2 * m * first + total * m.square()) / v - total) / (2 * w).sqrt()[:, None]
    found = (torch.cat([by_mean.flatten(), by_variance.flatten()]) / len(x)).to(x.dtype)
    return improved(found) if normalise else found


def improved(x: Tensor) -> Tensor:
    """The signed square root, then division by the length of the last axis (the "improved" Fisher vector)."""
    return F.normalize(x.sign() * x.abs().sqrt(), dim=-1)


def _check(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> None:
    if x.dim() != 2 or not len(x) or not x.is_floating_point():
        raise ArgumentError(
            f"x must be floating point [n, d] with at least one feature, got {x.dtype} {list(x.shape)}"
        )
    shape = (len(weights), x.shape[1])
    if weights.dim() != 1 or tuple(means.shape) != shape or tuple(variances.shape) != shape:
        raise ArgumentError(
            f"weights must be [k], means and variances [k, {x.shape[1]}]; got {list(weights.shape)}, "
            f"{list(means.shape)} and {list(variances.shape)}"
        )
    for name, value in (("weights", weights), ("variances", variances)):
        if not bool((value > 0).all()):
            raise ArgumentError(f"{name} must be above 0, got {value.min().item():g}")
