"""Logistic regression with L2 regularisation, fitted by L-BFGS, and the choice of the regularisation.

Axis letters: n clips, P features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.fitting.folds import NEVER, grouped_folds
from praxiscope.fitting.rows import chunks, in_memory, is_large, take

if TYPE_CHECKING:
    from praxiscope.fitting.rows import Rows

__all__ = [
    "DEFAULT_L2",
    "L2_GRID",
    "MANY",
    "L2Choice",
    "LogisticFit",
    "choose_l2",
    "fit_logistic",
    "scaled_l2",
]

L2_GRID = tuple(10 ** (-half / 2) for half in range(2, 11))
"""Values of l2 that `choose_l2` tries, from strong to weak, for rows of mean squared length 1: see `scaled_l2`."""

DEFAULT_L2 = 0.001
"""The l2 of `choose_l2` where no clip can be held out, for rows of mean squared length 1."""

MANY = 10_000
"""Clips by which l2 can be chosen: of more, as many are drawn."""

_NOT_FINITE = "the features of at least one clip are not finite, so no regression can be fitted"

_FEW = 1_000_000
"""Numbers of which one thread computes the loss."""

_SMALLEST_STEP = 1e-6
"""Of many rows, a fit ends when a step changes the mean loss by less; rounding in float32 changes it by 1e-8."""

_WORSE = 2
"""`choose_l2` stops after so many values of l2 that were worse than the best."""


@dataclass(frozen=True)
class LogisticFit:
    """A fitted classifier: scores are ``x @ weight.T + bias``.

    Attributes:
        weight: float32 [K, P].
        bias: float32 [K].
        loss: the minimum that was reached, regularisation included.
    """

    weight: Tensor
    bias: Tensor
    loss: float


@dataclass(frozen=True)
class L2Choice:
    """The choice of l2 by grouped cross-validation.

    Attributes:
        l2: the value with the smallest loss on held-out clips; the default if no clip can be held out.
        held_out_logits: float32 [n, K], scores of each clip by the regression with this l2 that was fitted without its
            fold. NaN for clips that are never held out, see `praxiscope.fitting.folds.grouped_folds`, or not drawn.
        losses: mean loss of the held-out clips for each l2 that was tried.
        folds: number of folds; 0 if no clip can be held out.
        clips: number of clips by which l2 was chosen: all, or those that were drawn.
    """

    l2: float
    held_out_logits: Tensor
    losses: dict[float, float] = field(default_factory=dict)
    folds: int = 0
    clips: int = 0


def fit_logistic(
    x: Rows,
    targets: Tensor,
    num_classes: int,
    *,
    l2: float,
    weights: Tensor | None = None,
    start: LogisticFit | None = None,
    tolerance: float = 1e-4,
) -> LogisticFit:
    """Minimise the mean loss plus ``l2 / 2 * sum(weight ** 2)``; the bias is not regularised.

    The loss of a clip is the cross-entropy of its class or, for several labels, the binary cross-entropy summed over
    the classes, so that each class is a regression of its own. The minimum is that of
    ``sklearn.linear_model.LogisticRegression(C=1 / (n * l2))`` for three or more classes; for two classes,
    scikit-learn has one weight vector instead of two, and the same minimum has twice this C.

    Arithmetic is in float64. For fewer clips than features, the features are rotated into the span of the clips, which
    changes no score. Of more than 16 million numbers, a few megabytes are in memory at a time, so ``x`` may be mapped
    from a file; products of matrices are then in float32, with sums in float64, and the fit ends when a step lowers the
    loss by less than 1e-6. Probabilities are then those of the minimum to about 0.01.

    Args:
        x: features [n, P].
        targets: classes int64 [n], or zeros and ones as floats [n, K].
        num_classes: K.
        l2: strength of the regularisation, above 0.
        weights: weight of each clip in the mean, [n]; clips with 0 are ignored.
        start: an earlier fit to start from; it changes the time, not the result.
        tolerance: largest error of a score of a row of usual length, in theory; in practice it is much smaller. It
            is not for more than 16 million numbers.

    Raises:
        ArgumentError: shapes differ, l2 is not above 0, there are no clips, or a value of ``x`` is not finite.
    """
    _check(x, targets, num_classes, l2)
    x = in_memory(x)
    weights, scale = torch.ones(len(x)) if weights is None else weights, math.sqrt(scaled_l2(x))
    if (span := _span(x)) is not None:
        inner = None if start is None else LogisticFit(span.into(start.weight), start.bias, start.loss)
        fit = _minimise(span.rows, targets, num_classes, l2, weights, inner, tolerance, scale)
        return LogisticFit(span.out(fit.weight).float(), fit.bias.float(), fit.loss)
    fit = _minimise(x, targets, num_classes, l2, weights, start, tolerance, scale)
    return LogisticFit(fit.weight.float(), fit.bias.float(), fit.loss)


def choose_l2(
    x: Rows,
    targets: Tensor,
    num_classes: int,
    groups: Sequence[str],
    *,
    l2s: Sequence[float] | None = None,
    folds: int = 5,
    seed: int = 0,
    most: int | None = None,
) -> L2Choice:
    """Choose l2 by cross-validation in folds that never divide a group.

    Values are tried from the strongest to the weakest, each fit starting from the one before, until two in succession
    are worse than the best. Of equal losses, the stronger l2 is chosen.

    Args:
        x: features [n, P], as for `fit_logistic`; standardise them first.
        targets, num_classes: as for `fit_logistic`.
        groups: group of each clip, for example its recording.
        l2s: the values to try; by default `L2_GRID`, scaled to the features by `scaled_l2`.
        folds, seed: as for `praxiscope.fitting.folds.grouped_folds`.
        most: number of clips to choose by, for example `MANY`. Of more clips, as many are drawn at random, by ``seed``;
            they keep their folds, so that no group is divided. Their fits have the same strength of regularisation
            beside the summed loss, ``n * l2``, and so a larger l2. None: all clips.

    Raises:
        ArgumentError: as for `fit_logistic`.
    """
    x = in_memory(x)
    scale = scaled_l2(x)
    tried = sorted([scale * each for each in L2_GRID] if l2s is None else l2s, reverse=True)
    for l2 in tried:
        _check(x, targets, num_classes, l2)
    fold_of = grouped_folds(groups, targets, folds, seed)
    if most is None or len(x) <= most:
        return _choose(x, targets, num_classes, fold_of, tried, scale)
    drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    rows, strength = in_memory(take(x, drawn)), len(x) / most
    choice = _choose(rows, targets[drawn], num_classes, fold_of[drawn], tried, scale, strength)
    logits = torch.full((len(x), num_classes), math.nan)
    logits[drawn] = choice.held_out_logits
    return replace(choice, held_out_logits=logits)


def _choose(
    x: Rows,
    targets: Tensor,
    num_classes: int,
    fold_of: Tensor,
    tried: Sequence[float],
    scale: float,
    strength: float = 1.0,
) -> L2Choice:
    """Cross-validation in given folds [n]; ``strength`` is a factor of each l2 in the fits."""
    empty = torch.full((len(x), num_classes), math.nan)
    numbers = sorted(set(fold_of.tolist()) - {NEVER})
    if not numbers or not tried:
        return L2Choice(tried[0] if len(tried) == 1 else scale * DEFAULT_L2, empty, clips=len(x))

    rows = x if (span := _span(x)) is None else span.rows
    fits: dict[int, LogisticFit | None] = dict.fromkeys(numbers)
    losses: dict[float, float] = {}
    best = L2Choice(tried[0], empty, clips=len(x))
    for l2 in tried:
        logits = torch.full((len(x), num_classes), math.nan, dtype=torch.float64)
        for fold in numbers:
            kept = (fold_of != fold).float()
            fit = _minimise(
                rows, targets, num_classes, strength * l2, kept, fits[fold], 1e-2, math.sqrt(scale)
            )
            fits[fold] = fit
            _score(rows, fit, fold_of == fold, logits)
        known = fold_of != NEVER
        losses[l2] = float(_losses(logits[known], targets[known]).mean())
        if losses[l2] < losses.get(best.l2, math.inf) or len(losses) == 1:
            best = L2Choice(l2, logits.float(), losses, len(numbers), len(x))
        elif list(losses).index(best.l2) < len(losses) - _WORSE:
            break
    return best


def scaled_l2(x: Rows) -> float:
    """The mean squared length of the rows: l2 in this unit means the same for any number and scale of features.

    Raises:
        ArgumentError: a value of ``x`` is not finite.
    """
    total = sum(float(part.square().sum()) for _, part in chunks(x))
    if not math.isfinite(total):
        raise ArgumentError(_NOT_FINITE)
    return total / max(len(x), 1) or 1.0


def _check(x: Rows, targets: Tensor, num_classes: int, l2: float) -> None:
    expected = (len(x), num_classes) if targets.is_floating_point() else (len(x),)
    if len(x.shape) != 2 or tuple(targets.shape) != expected:
        raise ArgumentError(
            f"features [n, P] need targets int64 [n] or float [n, {num_classes}], got {list(x.shape)} and "
            f"{list(targets.shape)} ({targets.dtype})"
        )
    if not len(x):
        raise ArgumentError("a regression needs at least one clip, got none")
    if not (l2 > 0 and math.isfinite(l2)):
        raise ArgumentError(f"l2 must be above 0, got {l2}")
    if not targets.is_floating_point() and not 0 <= int(targets.min()) <= int(targets.max()) < num_classes:
        raise ArgumentError(
            f"classes must be 0 to {num_classes - 1}, got {int(targets.min())} to {int(targets.max())}"
        )


@dataclass(frozen=True, eq=False)
class _Span:
    """Rows of few clips in coordinates of the space that they span.

    Attributes:
        rows: float64 [n, R]; inner products of rows are those of the features.
        basis: float64 [R, P], orthonormal.
    """

    rows: Tensor
    basis: Tensor

    def into(self, weight: Tensor) -> Tensor:
        return weight.double() @ self.basis.T

    def out(self, weight: Tensor) -> Tensor:
        return weight @ self.basis


def _span(x: Rows) -> _Span | None:
    """Rotate rows into their span, if it is much smaller than the number of features.

    The best weights are combinations of the rows (the gradient of the loss is one, and L2 prefers no other direction),
    so nothing is lost.
    """
    count, width = x.shape
    if 2 * count > width:
        return None
    rows = torch.cat([part for _, part in chunks(x)])
    if not bool(torch.isfinite(rows).all()):
        return None
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    kept = values > 1e-12 * values[-1].clamp(min=1e-300)
    scales, vectors = values[kept].sqrt(), vectors[:, kept]
    return _Span(vectors * scales, (vectors / scales).T @ rows)


def _minimise(
    x: Rows,
    targets: Tensor,
    num_classes: int,
    l2: float,
    weights: Tensor,
    start: LogisticFit | None,
    tolerance: float,
    scale: float,
) -> LogisticFit:
    """Fit; `fit_logistic` says what, and in which precision.

    The solver sees rows divided by ``scale``, the square root of their mean squared length, so that weights and bias
    have curvatures of the same size: it then needs a tenth of the steps. In this unit the objective is
    (l2 / scale^2)-strongly convex in the weights, so they are off by no more than the gradient's length over that.
    """
    parameters = torch.zeros(num_classes, x.shape[1] + 1, dtype=torch.float64)
    if start is not None:
        parameters[:, :-1], parameters[:, -1] = start.weight * scale, start.bias
    parameters = nn.Parameter(parameters)
    part_of = weights.double() / weights.double().sum()
    unit = torch.ones(x.shape[1] + 1, dtype=torch.float64)
    unit[:-1] = scale

    def closure() -> float:
        loss, gradient = _loss_and_gradient(parameters.detach() / unit, x, targets, part_of, l2)
        if not math.isfinite(loss):
            raise ArgumentError(_NOT_FINITE)
        parameters.grad = gradient / unit
        return loss

    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=1000,
        max_eval=2000,
        history_size=20,
        tolerance_grad=max(1e-11, tolerance * min(l2 / scale**2, 0.1)),
        tolerance_change=_SMALLEST_STEP if is_large(x) else 1e-14,
        line_search_fn="strong_wolfe",
    )
    with _few_threads(x):
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = parameters.detach() / unit
    return LogisticFit(found[:, :-1], found[:, -1], closure())


@contextmanager
def _few_threads(x: Rows) -> Iterator[None]:
    """Use one thread for few rows: a pass over them is shorter than the start of a second thread, and on a busy machine
    waiting for it costs multiples."""
    count, width = x.shape
    threads = torch.get_num_threads()
    if count * width <= _FEW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _loss_and_gradient(
    parameters: Tensor, x: Rows, targets: Tensor, part_of: Tensor, l2: float
) -> tuple[float, Tensor]:
    """The objective and its gradient [K, P + 1], in one pass over the rows; the last column is the bias."""
    weight, bias, dtype = parameters[:, :-1], parameters[:, -1], _precision(x)
    loss = l2 / 2 * float(weight.square().sum())
    gradient = torch.cat([l2 * weight, torch.zeros_like(bias)[:, None]], 1)
    columns = weight.T.to(dtype)
    for part, rows in chunks(x, dtype):
        logits = (rows @ columns).double() + bias
        share, target = part_of[part], targets[part]
        loss += float(share @ _losses(logits, target))
        wrong = _residuals(logits, target) * share[:, None]
        gradient[:, :-1] += wrong.to(dtype).T @ rows
        gradient[:, -1] += wrong.sum(0)
    return loss, gradient


def _precision(x: Rows) -> torch.dtype:
    return torch.float32 if is_large(x) else torch.float64


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of each clip, [n]."""
    if targets.is_floating_point():
        target = targets.to(logits)
        return nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)
    return nn.functional.cross_entropy(logits, targets, reduction="none")


def _residuals(logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the loss of each clip with respect to its scores: probabilities minus targets, [n, K]."""
    if targets.is_floating_point():
        return logits.sigmoid() - targets.double()
    return logits.softmax(1) - nn.functional.one_hot(targets, logits.shape[1])


def _score(x: Rows, fit: LogisticFit, chosen: Tensor, into: Tensor) -> None:
    """Write the scores of the chosen clips [n] (bool) into [n, K]."""
    for part, rows in chunks(x, _precision(x)):
        mask = chosen[part]
        into[part][mask] = rows[mask].double() @ fit.weight.double().T + fit.bias.double()
