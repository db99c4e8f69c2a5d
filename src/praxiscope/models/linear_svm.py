"""The linear support vector machines of models that describe a video by one vector.

Axis letters: n clips, P values of a vector, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.fitting.svm import fit_svm, held_out_decisions, inner_products
from praxiscope.models.contract import FitReport

__all__ = ["LinearSvm"]


class LinearSvm(nn.Linear):
    """One machine for each class against the others; all weights are 0 before `fit`.

    Args:
        width: P.
        num_classes: K.
        c: cost of the loss.

    Raises:
        ArgumentError: ``c`` is not a number above 0.
    """

    def __init__(self, width: int, num_classes: int, c: float) -> None:
        if isinstance(c, bool) or not isinstance(c, int | float) or not 0 < c < math.inf:
            raise ArgumentError(f"c must be a number above 0, got {c!r}")
        super().__init__(width, num_classes)
        self.c = c
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the machines, in place; see `praxiscope.models.contract.FitsFeatures.fit`.

        What the vectors were learned from, without labels, is that of all training clips also for clips that are held
        out.
        """
        products = inner_products(x)
        held_out = held_out_decisions(products, targets, self.out_features, self.c, groups, seed)
        fit = fit_svm(products, targets, self.out_features, self.c)
        with torch.no_grad():
            self.weight.copy_(fit.weight(x))
            self.bias.copy_(fit.bias)
        supporting = int((fit.shares != 0).any(1).sum())
        line = f"{supporting} of {len(x)} training clips are support vectors."
        return FitReport(held_out.float(), [line], {"support_vectors": float(supporting)})
