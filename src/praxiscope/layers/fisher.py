"""Fisher vectors of a Gaussian mixture (F. Perronnin, J. Sánchez, T. Mensink, ECCV 2010).

Axis letters: n features, d their dimensions, k Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError

__all__ = ["fisher_vector", "fit_mixture", "from_moments", "improved", "moments", "posteriors"]

_VALUES = 1 << 18  # posteriors that are in memory at once: 2 MiB in float64, which a cache holds


_LEAST_LOG = -60.0  # of a share: e^-60 is 1e-26


def posteriors(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """The probability of each Gaussian, given a feature.

    Args:
        x: [n, d].
        weights: [k], which add up to 1.
        means, variances: [k, d]; the covariances are diagonal.

    Returns:
        [n, k]; each row adds up to 1.
    """
    return _joint(x, weights, means, variances).softmax(1)


def _joint(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """The logarithm of the density of each feature and Gaussian together, [n, k]."""
    return _log_density(weights, means, variances)(torch.cat([x, x.square()], 1))


def _log_density(weights: Tensor, means: Tensor, variances: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from features and their squares, [n, 2 d], to what `_joint` returns, [n, k]."""
    # -(x - m)² / 2v, expanded, so that no [n, k, d] is needed.
    precisions = 1 / variances
    factors = torch.cat([means * precisions, -precisions / 2], 1).T.contiguous()
    logs = variances.log().sum(1) + means.shape[1] * math.log(2 * math.pi)
    constant = weights.log() - (logs + (means.square() * precisions).sum(1)) / 2
    return lambda both: torch.addmm(constant, both, factors)


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
    zeroth, first, second, _ = _moments(x, w, m, v)
    sums = torch.cat([zeroth[:, None], first, second], 1)
    found = from_moments(sums, len(x), weights, means, variances).to(x.dtype)
    return improved(found) if normalise else found


def moments(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """The sums over features of which a Fisher vector is made. Those of parts of the features add up.

    Args:
        x: a part of the features, [n, d]; all [n, k] posteriors are in memory.
        weights, means, variances: see `fisher_vector`.

    Returns:
        Float64 [k, 1 + 2 d]: by the posteriors, the sums of 1, of the feature and of its square.
    """
    w, m, v = (value.double() for value in (weights, means, variances))
    zeroth, sums, _ = _sums(x.double(), _log_density(w, m, v))
    return torch.cat([zeroth[:, None], sums], 1)


def from_moments(
    sums: Tensor, count: Tensor | int, weights: Tensor, means: Tensor, variances: Tensor
) -> Tensor:
    """The Fisher vector of features, not normalised, from their sums.

    Args:
        sums: see `moments`; float64.
        count: n, the number of features; at least 1.
        weights, means, variances: see `fisher_vector`.

    Returns:
        Float64 [2 k d].
    """
    w, m, v = (value.to(sums.device, torch.float64) for value in (weights, means, variances))
    total, first, second = torch.split(sums, [1, m.shape[1], m.shape[1]], 1)
    by_mean = (first - total * m) / v.sqrt() / w.sqrt()[:, None]
    by_variance = ((second - 2 * m * first + total * m.square()) / v - total) / (2 * w).sqrt()[:, None]
    return torch.cat([by_mean.flatten(), by_variance.flatten()]) / count


def _moments(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, ...]:
    """Sums over features, by their posteriors, of 1, [k], of the feature and of its square, [k, d]; and the sum of
    their log-likelihoods, []. Posteriors are of the type of ``means``, sums float64."""
    zeroth = torch.zeros(len(weights), dtype=torch.float64, device=x.device)
    sums = torch.zeros(len(weights), 2 * x.shape[1], dtype=torch.float64, device=x.device)
    likelihood = torch.zeros((), dtype=torch.float64, device=x.device)
    density, size = _log_density(weights, means, variances), max(1, _VALUES // len(weights))
    for start in range(0, len(x), size):
        found = _sums(x[start : start + size].to(means.dtype), density)
        for own, value in zip((zeroth, sums, likelihood), found, strict=True):
            own += value
    return zeroth, *sums.chunk(2, 1), likelihood


def _sums(part: Tensor, density: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of a part of the features: the sums of their posteriors, [k], of these times the feature and its square,
    [k, 2 d], and the sum of the log-likelihoods, []."""
    both = torch.cat([part, part.square()], 1)
    shares = density(both)
    largest = shares.amax(1, keepdim=True)
    # Without the least value, shares of float32 become denormal numbers, which are ten times as slow.
    shares = shares.sub_(largest).clamp_(min=_LEAST_LOG).exp_()
    total = shares.sum(1, keepdim=True)
    shares.div_(total)
    return shares.sum(0), shares.T @ both, (largest + total.log()).sum()


def fit_mixture(
    x: Tensor,
    means: Tensor,
    *,
    least_variance: float,
    steps: int = 50,
    tolerance: float = 1e-3,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a Gaussian mixture with diagonal covariances by expectation maximisation.

    A mixture of scikit-learn holds [n, k] in float64 several times; here a part of the features is in memory at once.

    Args:
        x: features [n, d].
        means: to start from, [k, d], such as those of k-means.
        least_variance: is added to all variances.
        steps: largest number of steps.
        tolerance: a step that adds less to the mean log-likelihood of a feature is the last.

    Returns:
        Weights [k], means and variances [k, d], of the type of ``x``.
    """
    count = len(means)
    weights = torch.full((count,), 1 / count, dtype=x.dtype)
    variances = (x.var(0, correction=0) + least_variance).expand(count, -1).clone()
    before = -math.inf
    for _ in range(steps):
        zeroth, first, second, likelihood = _moments(x, weights, means.to(x.dtype), variances)
        total = zeroth[:, None] + 1e-9  # of a Gaussian without features
        found = first / total
        means = torch.where(zeroth[:, None] > 1e-6, found, means.double()).to(x.dtype)
        variances = ((second / total - found.square()).clamp(min=0) + least_variance).to(x.dtype)
        weights = ((zeroth + 1e-9) / (zeroth + 1e-9).sum()).to(x.dtype)
        now = float(likelihood) / len(x)
        if now - before < tolerance:
            break
        before = now
    return weights, means, variances


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
