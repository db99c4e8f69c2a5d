"""Find labels that the clips' own features contradict: out-of-fold predictions of a logistic regression.

Axis letters: n clips, P features of a clip, K classes, R repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.fitting.logistic import choose_l2
from praxiscope.fitting.rows import Standardised, mean_and_std

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REPETITIONS", "HeldOut", "held_out_predictions"]

REPETITIONS = 5
"""Divisions into folds over which predictions are averaged."""


@dataclass(frozen=True)
class HeldOut:
    """Predictions for each clip by regressions that have seen no clip of its group.

    Attributes:
        log_probabilities: float32 [n, K]; NaN for clips that were never held out, because theirs is the only group of
            their class.
        margins: float32 [n], log probability of the given label minus the largest of another class. Negative: the
            features suggest another label. NaN as above.
        suggested: int64 [n], the most probable class other than the given one.
        l2: regularisation of the regressions.
    """

    log_probabilities: Tensor
    margins: Tensor
    suggested: Tensor
    l2: float


def held_out_predictions(
    x: Tensor,
    labels: Sequence[int],
    num_classes: int,
    groups: Sequence[str],
    *,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> HeldOut:
    """Predict every clip by a logistic regression that was fitted without the clips of its group.

    The regularisation is chosen in the first division into folds; a few wrong labels make it stronger, so that the
    regression does not learn them by heart. Log probabilities are averaged over all divisions, as one of them may
    happen to divide a rare kind of clip badly. Features are standardised over all clips, which uses no label.

    The idea of finding wrong labels by out-of-fold predictions: C. E. Brodley and M. A. Friedl, *Identifying
    Mislabeled Training Data*, JAIR 11, 1999.

    Args:
        x: features [n, P].
        labels: class number of each clip. Every class below ``num_classes`` needs a clip.
        num_classes: K, 2 or more.
        groups: group of each clip; "" is a group of its own.
        repetitions: number R of divisions into folds.
        seed: of the first division.
        progress: called after each division.

    Raises:
        ArgumentError: fewer than two classes or one repetition, features that are not finite, or other lengths.
    """
    if num_classes < 2 or repetitions < 1:
        raise ArgumentError(
            "labels are compared between 2 or more classes in 1 or more repetitions, got "
            f"{num_classes} and {repetitions}"
        )
    targets = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    rows = Standardised(x, *mean_and_std(x))
    l2s: list[float] | None = None
    total, count = torch.zeros(len(x), num_classes), torch.zeros(len(x), 1)
    for repetition in range(repetitions):
        choice = choose_l2(rows, targets, num_classes, groups, l2s=l2s, seed=seed + repetition)
        l2s = [choice.l2]
        known = ~choice.held_out_logits.isnan().any(1)
        total[known] += choice.held_out_logits[known].log_softmax(1)
        count[known] += 1
        if progress is not None:
            progress()
    # A mean of logarithms is no distribution until it is normalised again.
    log_probabilities = (total / count).log_softmax(1)
    own = log_probabilities.gather(1, targets[:, None])[:, 0]
    others = log_probabilities.scatter(1, targets[:, None], -torch.inf)
    best, suggested = others.max(1)
    return HeldOut(log_probabilities, own - best, suggested, choice.l2)
