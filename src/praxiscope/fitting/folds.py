"""Folds of cross-validation that never divide a group.

Axis letters: n clips, G groups, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError

__all__ = ["NEVER", "grouped_folds"]

NEVER = -1
"""The fold of clips that are never held out."""


def grouped_folds(
    groups: Sequence[str], labels: Sequence[int] | Tensor, folds: int = 5, seed: int = 0
) -> Tensor:
    """Divide clips into folds so that no group is in two folds, and each class is spread over the folds.

    Groups are assigned one after the other, the largest first, to the fold that has the smallest part of their classes
    so far. A class whose clips would all be in one fold keeps one group in training always: the clips of this group
    have the fold `NEVER`. So whichever fold is held out, the others have clips of all classes. A class with one group
    is never held out; with a single group, nothing is.

    Args:
        groups: the group of each of the n clips. "" is a group of its own for each clip.
        labels: the class of each clip, or its classes as zeros and ones [n, K].
        folds: the largest number of folds; there are never more than groups.
        seed: seed of the order of groups of the same size.

    Returns:
        The fold of each clip, int64 [n], 0 to ``folds - 1``, or `NEVER`.

    Raises:
        ArgumentError: the lengths differ, or ``folds`` is less than 2.
    """
    if folds < 2:
        raise ArgumentError(f"cross-validation needs at least 2 folds, got {folds}")
    if len(groups) != len(labels):
        raise ArgumentError(
            f"each clip has a group and a label, got {len(groups)} groups, {len(labels)} labels"
        )
    if not len(groups):
        return torch.zeros(0, dtype=torch.int64)
    names = [group or f"\0{number}" for number, group in enumerate(groups)]
    _, group_of = np.unique(names, return_inverse=True)
    counts = _class_counts(group_of, np.asarray(labels))
    shares = counts / np.maximum(counts.sum(0), 1)  # [G, K], the part of each class that a group has

    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts.sum(1)[order], kind="stable")]
    fold_shares = np.zeros((min(folds, len(counts)), counts.shape[1]))
    fold_of = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        overlap = fold_shares @ shares[group]
        fold = int(np.lexsort((fold_shares.sum(1), overlap.round(12)))[0])
        fold_of[group] = fold
        fold_shares[fold] += shares[group]

    for label in np.flatnonzero(counts.any(0)):
        having = np.flatnonzero(counts[:, label])
        if len(set(fold_of[having])) == 1:
            fold_of[having[np.argmin(counts[having].sum(1))]] = NEVER
    return torch.from_numpy(fold_of[group_of])


def _class_counts(group_of: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The number of clips of each class in each group, [G, K]."""
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    counts = np.zeros((int(group_of.max()) + 1, classes))
    np.add.at(counts, group_of if labels.ndim == 2 else (group_of, labels), labels if labels.ndim == 2 else 1)
    return counts
