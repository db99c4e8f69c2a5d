"""Linear support vector machines, one class against the others, from inner products: the number of features is free.

Axis letters: n clips, P features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.fitting.folds import NEVER, grouped_folds

__all__ = ["SvmFit", "fit_svm", "held_out_decisions", "inner_products"]

_COLUMNS = 8192  # features of all clips that are in memory as float64


@dataclass(frozen=True, eq=False)
class SvmFit:
    """Decision values of a clip are its inner products with the training clips times ``shares``, plus ``bias``.

    Attributes:
        shares: float64 [n, K].
        bias: float64 [K].
    """

    shares: Tensor
    bias: Tensor

    def weight(self, x: Any) -> Tensor:
        """The weights of the features, float32 [K, P], from the training clips [n, P]."""
        parts = [self.shares.T @ part for part in _columns(x)]
        return torch.cat(parts, 1).float()


def inner_products(x: Any) -> Tensor:
    """The inner products of clips, float64 [n, n].

    Args:
        x: [n, P], a tensor or an array, which may be mapped from a file.
    """
    found = torch.zeros(len(x), len(x), dtype=torch.float64)
    for part in _columns(x):
        found += part @ part.T
    return found


def _columns(x: Any) -> Any:
    for start in range(0, x.shape[1], _COLUMNS):
        part = x[:, start : start + _COLUMNS]
        yield torch.as_tensor(np.ascontiguousarray(part), dtype=torch.float64)


def fit_svm(products: Tensor, targets: Tensor, num_classes: int, c: float) -> SvmFit:
    """Fit a machine for each class with the hinge loss, by LIBSVM.

    A class that all training clips have, or none, gets no weights: its decision value is 1 or -1.

    Args:
        products: of the training clips, see `inner_products`, float64 [n, n].
        targets: classes int64 [n], or zeros and ones as floats [n, K].
        num_classes: K.
        c: cost of the loss against the length of the weights.

    Raises:
        ArgumentError: ``c`` is not above 0, or a product is not finite.
    """
    if not 0 < c < float("inf"):
        raise ArgumentError(f"c must be a number above 0, got {c}")
    if not bool(products.isfinite().all()):
        raise ArgumentError("the features of a clip are not finite")
    from sklearn.svm import SVC

    shares = torch.zeros(len(products), num_classes, dtype=torch.float64)
    bias = torch.zeros(num_classes, dtype=torch.float64)
    matrix, own = products.numpy(), _own(targets, num_classes)
    for number, is_own in enumerate(own.T):
        if is_own.all() or not is_own.any():
            bias[number] = 1.0 if is_own.all() else -1.0
            continue
        machine: Any = SVC(C=c, kernel="precomputed", cache_size=500).fit(matrix, is_own)
        shares[torch.from_numpy(machine.support_).long(), number] = torch.from_numpy(machine.dual_coef_[0])
        bias[number] = float(machine.intercept_[0])
    return SvmFit(shares, bias)


def held_out_decisions(
    products: Tensor, targets: Tensor, num_classes: int, c: float, groups: Sequence[str], seed: int
) -> Tensor:
    """Decision values of each clip by machines without its group, float64 [n, K], in 5 folds.

    NaN for clips that cannot be held out; see `praxiscope.fitting.folds.grouped_folds`.
    """
    fold_of = grouped_folds(groups, targets, seed=seed)
    found = torch.full((len(products), num_classes), float("nan"), dtype=torch.float64)
    for fold in sorted(set(fold_of.tolist()) - {NEVER}):
        out = fold_of == fold
        fit = fit_svm(products[~out][:, ~out], targets[~out], num_classes, c)
        found[out] = products[out][:, ~out] @ fit.shares + fit.bias
    return found


def _own(targets: Tensor, num_classes: int) -> Any:
    """Which clip has which class, bool [n, K]."""
    if targets.is_floating_point():
        return targets.numpy() > 0.5
    return np.arange(num_classes) == targets.numpy()[:, None]
