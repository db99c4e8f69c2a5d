"""How well a few snippets stand for a video: losses and divergences of their mean scores, exact to rounding.

Near the end of training class probabilities are next to 0 and 1, at its start all are nearly equal. In both cases
log(p / q) has no correct digit left, and of two subsets rounding would choose. So everything here is in float64, and
starts from differences of scores:

* Sums of scores over a subset are exact (`_sums`); so is a subset's difference d from the whole video, in which what
  all snippets, or all classes, have in common cancels.
* The loss of label y is log(1 + e^t), t = log of the sum of e^(z_c - z_y) over the other classes.
* With d' = d - E_p[d], KL(p ‖ q) = log E_p[e^d'] = log(1 + e^t), t = log E_p[e^d' - 1 - d']: a sum of terms that are
  0 or more.

Values are natural logarithms, so that divergences of 1e-300 are as exact as those of 1.

Axis letters: B videos, m snippets, n of them in a subset, k subsets, K classes. A video with several
labels is asked Q yes-no questions, each of two classes; another is asked one, of all classes.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

__all__ = ["divergence", "in_float64", "log_divergences", "log_losses"]

_SERIES = 0.25  # below, e^x - 1 - x is summed as a series
_TERMS = 12


def in_float64(x: Tensor) -> Tensor:
    """The same numbers as float64, on their device, or on the CPU where the device has no such type."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def log_losses(scores: Tensor, subsets: Tensor, targets: Tensor) -> Tensor:
    """The logarithms of the losses of subsets' mean scores.

    Args:
        scores: float64 [B, m, K].
        subsets: int64 [B, k, n].
        targets: int64 [B]: cross-entropy; multi-hot [B, K]: the mean of K binary ones.

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
    """The logarithms of KL(p ‖ p_S), from a video's class probabilities to those of subsets' mean scores.

    Args:
        scores: float64 [B, m, K].
        subsets: int64 [B, k, n].
        multi_label: the classes are independent yes-no questions, whose divergences are added.

    Returns:
        [B, k]; -inf where nothing differs.
    """
    count, n = scores.shape[1], subsets.shape[2]
    x = _questions(scores, multi_label).transpose(1, 2)  # [B, Q, m, K]
    whole = _sums(x.new_ones(1, count), x) / count
    likeliest = whole.argmax(-1, keepdim=True)
    # What a subset's mean is beyond the whole's: (m sum_S - n sum) / (m n).
    weights = count * _members(subsets, count)[:, None] - n
    beyond = _sums(weights, x, likeliest.expand(-1, -1, count, 1)) / (count * n)
    return _log_divergence(whole, beyond).logsumexp(1)


def divergence(whole: Tensor, part: Tensor, *, multi_label: bool = False) -> Tensor:
    """KL(p ‖ q) of the distributions that scores mean: whole (p) and part (q) [..., K] -> float64 [...], 0 or more.

    With ``multi_label`` the classes are independent yes-no questions, and their divergences are added.
    """
    p, q = (_questions(in_float64(x), multi_label) for x in (whole, part))
    p, beyond = p.expand_as(q - p), q - p
    beyond = beyond - beyond.gather(-1, p.argmax(-1, keepdim=True))
    return _log_divergence(p, beyond).exp().sum(-1)


def _questions(scores: Tensor, multi_label: bool) -> Tensor:
    """[..., K] as [..., Q, K]: one question of K classes, or K of two, whose scores are the given one and 0."""
    return torch.stack([scores, torch.zeros_like(scores)], dim=-1) if multi_label else scores[..., None, :]


def _members(subsets: Tensor, count: int) -> Tensor:
    """Which snippets are in a subset, float64 [B, k, m] of 0 and 1."""
    member = torch.zeros(*subsets.shape[:2], count, device=subsets.device, dtype=torch.float64)
    return member.scatter_(2, subsets, 1.0)


def _sums(weights: Tensor, scores: Tensor, reference: Tensor | None = None) -> Tensor:
    """Sums of scores [..., m, K] by whole-numbered weights [..., k, m], each rounded once: [..., k, K].

    Scores are parted into whole multiples of a step and rests: as the step is 2^-25 of the largest score or more, and
    rests are smaller than it, neither the sum of the one nor that of the others needs more than the 53 bits of a
    float64, in whatever order a device adds.

    Args:
        reference: the class whose scores are taken off first, int64 [..., m, 1].
    """
    big = scores.abs().amax((-2, -1), keepdim=True) * 2.0**27
    coarse = (scores + big) - big
    parts = (coarse, scores - coarse)
    if reference is not None:
        parts = (parts[0] - parts[0].gather(-1, reference), parts[1] - parts[1].gather(-1, reference))
    return weights @ parts[0] + weights @ parts[1]


def _log_divergence(whole: Tensor, beyond: Tensor) -> Tensor:
    """log KL(p ‖ q): the scores of p, and what those of q are beyond, 0 of p's likeliest class; [..., K] -> [...]."""
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
    # log(1 + e^x) is e^x to the last bit below, and log1p(e^x) would be 0 soon.
    return torch.where(x < -36, x, torch.logaddexp(x, torch.zeros_like(x)).log())
