"""How well a few snippets represent a video: losses and divergences of their mean scores, exact to rounding.

Near the end of training class probabilities are close to 0 and 1, at its start all are nearly equal. In both cases
log(p / q) has no correct digit left, and rounding would decide between subsets. So all computations are in float64, and
start from differences of scores:

* Sums of scores over a subset are exact (`_sums`); so is a subset's difference d from the whole video, in which what
  all snippets, or all classes, have in common cancels.
* The loss of label y is log(1 + e^t), t = log of the sum of e^(z_c - z_y) over the other classes.
* With d' = d - E_p[d], KL(p ‖ q) = log E_p[e^d'] = log(1 + e^t), t = log E_p[e^d' - 1 - d']: a sum of terms that are
  0 or more.

Values are natural logarithms, so that divergences of 1e-300 are as accurate as those of 1.

Axis letters: B videos, m snippets, n of them in a subset, k subsets, K classes. A multi-label video has Q binary
problems, each of two classes; a single-label video has one problem of all classes.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

__all__ = ["divergence", "in_float64", "log_divergences", "log_losses"]

_SERIES = 0.25  # below this, e^x - 1 - x is summed as a series
_TERMS = 12


def in_float64(x: Tensor) -> Tensor:
    """Convert to float64, on the same device, or on the CPU if the device has no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def log_losses(scores: Tensor, subsets: Tensor, targets: Tensor) -> Tensor:
    """Logarithms of the losses of the mean scores of subsets.

    Args:
        scores: float64 [B, m, K].
        subsets: int64 [B, k, n].
        targets: int64 [B]: cross-entropy; multi-hot [B, K]: the mean of K binary cross-entropies.

    Returns:
        [B, k].
    """
    chosen, n = _members(subsets, scores.shape[1]), subsets.shape[2]
    if targets.ndim == 2:
        means = _sums(chosen, scores) / n
        yes = targets[:, None].to(scores.dtype)
        both = torch.cat([yes.log() + _log_softplus(-means), (1 - yes).log() + _log_softplus(means)], dim=-1)
        return both.logsumexp(-1) - log(scores.shape[2])
    label = targets[:, None, None]
    ahead = _sums(chosen, scores, label.expand(-1, scores.shape[1], 1)) / n
    own = torch.arange(scores.shape[2], device=scores.device) == label
    return _log_softplus(ahead.masked_fill(own, -torch.inf).logsumexp(-1))


def log_divergences(scores: Tensor, subsets: Tensor, *, multi_label: bool = False) -> Tensor:
    """Logarithms of KL(p ‖ p_S), from the class probabilities of a video to those of the mean scores of subsets.

    Args:
        scores: float64 [B, m, K].
        subsets: int64 [B, k, n].
        multi_label: the classes are independent binary problems, whose divergences are added.

        Returns: [B, k]; -inf where the distributions are equal.
    """
    count, n = scores.shape[1], subsets.shape[2]
    x = _questions(scores, multi_label).transpose(1, 2)  # [B, Q, m, K]
    whole = _sums(x.new_ones(1, count), x) / count
    likeliest = whole.argmax(-1, keepdim=True)
    # The mean of a subset minus the mean of all snippets: (m sum_S - n sum) / (m n).
    weights = count * _members(subsets, count)[:, None] - n
    beyond = _sums(weights, x, likeliest.expand(-1, -1, count, 1)) / (count * n)
    return _log_divergence(whole, beyond).logsumexp(1)


def divergence(whole: Tensor, part: Tensor, *, multi_label: bool = False) -> Tensor:
    """KL(p ‖ q) between the distributions of two sets of scores: whole (p) and part (q) [..., K] -> float64 [...], 0 or
    more.

    With ``multi_label`` the classes are independent binary problems, whose divergences are added.
    """
    p, q = (_questions(in_float64(x), multi_label) for x in (whole, part))
    p, beyond = p.expand_as(q - p), q - p
    beyond = beyond - beyond.gather(-1, p.argmax(-1, keepdim=True))
    return _log_divergence(p, beyond).exp().sum(-1)


def _questions(scores: Tensor, multi_label: bool) -> Tensor:
    """[..., K] as [..., Q, K]: one problem of K classes, or K binary problems with the scores (given, 0)."""
    return torch.stack([scores, torch.zeros_like(scores)], dim=-1) if multi_label else scores[..., None, :]


def _members(subsets: Tensor, count: int) -> Tensor:
    """Which snippets are in a subset, float64 [B, k, m] of 0 and 1."""
    member = torch.zeros(*subsets.shape[:2], count, device=subsets.device, dtype=torch.float64)
    return member.scatter_(2, subsets, 1.0)


def _sums(weights: Tensor, scores: Tensor, reference: Tensor | None = None) -> Tensor:
    """Sums of scores [..., m, K] with integer weights [..., k, m], each rounded once: [..., k, K].

    Scores are split into integer multiples of a step and remainders. The step is at least 2^-25 of the largest score,
    and the remainders are smaller than the step. So neither sum needs more than the 53 bits of a float64, in any order
    of addition.

    Args:
        reference: the class whose scores are subtracted first, int64 [..., m, 1].
    """
    big = scores.abs().amax((-2, -1), keepdim=True) * 2.0**27
    coarse = (scores + big) - big
    parts = (coarse, scores - coarse)
    if reference is not None:
        parts = (parts[0] - parts[0].gather(-1, reference), parts[1] - parts[1].gather(-1, reference))
    return weights @ parts[0] + weights @ parts[1]


def _log_divergence(whole: Tensor, beyond: Tensor) -> Tensor:
    """log KL(p ‖ q), from the scores of p and the differences of q's scores from them (0 for p's most likely class);
    [..., K] -> [...]."""
    log_p = whole.log_softmax(-1)
    away = beyond - (log_p.exp() * beyond).sum(-1, keepdim=True)
    return _log_softplus((log_p + _log_excess(away)).logsumexp(-1))


def _log_excess(x: Tensor) -> Tensor:
    """log(e^x - 1 - x), -inf at 0."""
    near = x.abs() < _SERIES
    small = torch.where(near, x, 0.0)
    series = torch.zeros_like(x)  # 1/2! + x/3! + x^2/4! + ...
    for factor in range(_TERMS, 0, -1):
        series = (1.0 + small * series) / (factor + 1)
    small = small.abs().log() * 2 + series.log()
    up, down = x.clamp(min=_SERIES), x.clamp(max=-_SERIES)
    large = torch.where(x > 0, up + torch.log1p(-(1 + up) * torch.exp(-up)), (torch.expm1(down) - down).log())
    return torch.where(near, small, large)


def _log_softplus(x: Tensor) -> Tensor:
    """log log(1 + e^x)."""
    # Below this, log(1 + e^x) equals e^x to the last bit, and log1p(e^x) would soon be 0.
    return torch.where(x < -36, x, torch.logaddexp(x, torch.zeros_like(x)).log())
