"""Cross-validation by group: every video is tested once, and no group is on both sides of a split."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from praxiscope.data.splits import group_keys
from praxiscope.errors import ArgumentError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["Fold", "fold_split", "parse_fold"]

_SEED = 0  # the folds are the same for every seed of a training


@dataclass(frozen=True)
class Fold:
    """One fold of several, as ``--split 2/5`` names it.

    Attributes:
        number: from 1.
        count: number of folds.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_fold(split: int | str | None) -> Fold | None:
    """Return the fold that a split names, or None if it names none.

    Raises:
        ArgumentError: fewer than two folds, or a number that none of them has.
    """
    found = re.fullmatch(r"(0|[1-9]\d*)/(0|[1-9]\d*)", str(split))
    if found is None:
        return None
    fold = Fold(int(found[1]), int(found[2]))
    if fold.count < 2 or not 1 <= fold.number <= fold.count:
        raise ArgumentError(
            f"split {split}: must be K/N, fold K of N, with N of at least 2 and K from 1 to N"
        )
    return fold


def fold_split(records: Sequence[VideoRecord], fold: Fold) -> list[VideoRecord]:
    """Divide videos into folds of whole groups, in which the classes are as equally frequent as the groups allow, and
    return the records with one fold as "test" and the others as "train".

    Groups are visited in random order, large ones first; each goes where the videos of its classes are fewest, and
    among such folds to the smallest. The result depends on the ids of the records, not on their order.

    Args:
        records: the videos; one without a group is a group of its own, and so are the parts of one file.
        fold: the fold to test.

    Raises:
        ArgumentError: there are fewer groups than folds.
    """
    of_record = group_keys(records)
    groups: dict[tuple[str, str], list[VideoRecord]] = defaultdict(list)
    for key, record in zip(of_record, records, strict=True):
        groups[key].append(record)
    if len(groups) < fold.count:
        raise ArgumentError(
            f"split {fold}: {counted(len(groups), 'group')} of videos cannot be divided into {fold.count} folds. Use "
            "fewer folds."
        )
    keys = sorted(groups)
    keys = [keys[i] for i in np.random.default_rng(_SEED).permutation(len(keys))]
    keys.sort(key=lambda key: -len(groups[key]))  # stable: random among equals
    total = Counter(label for record in records for label in record.labels)
    held: list[Counter[str]] = [Counter() for _ in range(fold.count)]
    sizes = [0] * fold.count
    of_group = {}
    for key in keys:
        content = Counter(label for record in groups[key] for label in record.labels)
        chosen = min(
            range(fold.count),
            key=lambda i: (sum(n * held[i][name] / total[name] for name, n in content.items()), sizes[i]),
        )
        of_group[key] = chosen
        held[chosen].update(content)
        sizes[chosen] += len(groups[key])
    return [
        replace(record, split="test" if of_group[key] == fold.number - 1 else "train")
        for key, record in zip(of_record, records, strict=True)
    ]
