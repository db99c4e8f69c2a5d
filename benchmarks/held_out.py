"""Scores of training clips by networks that have not learned from them, for a fusion that learns from scores.

For the test clips of fold K, the scores of the clips of each other fold J are those of a network that was trained
without folds J and K: it has learned neither from the clips that it scores nor from those of the test. The network of a
pair of folds serves both of them, so that N folds need N (N - 1) / 2 networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from compared import Rows

from praxiscope.data.csvfile import write_csv
from praxiscope.data.manifest import load_records
from praxiscope.evaluation.scores import Scores

__all__ = ["HeldOut", "held_out_rows", "join_scores"]


class HeldOut(NamedTuple):
    """Networks trained without two folds.

    Attributes:
        rows: one for each row of the streams and each pair of folds, trained with every seed.
        fold: the number of the fold of each clip.
        count: number of folds.
    """

    rows: Rows
    fold: Mapping[str, int]
    count: int

    def learned(self, name: str) -> list[Scores]:
        """For each part of a row (seeds, and folds in each), the scores of its training clips."""
        found = []
        for seed in range(self.rows.seeds):
            for tested in range(1, self.count + 1):
                parts = []
                for other in range(1, self.count + 1):
                    if other != tested:
                        scores = self.rows.scores(_name(name, *sorted((tested, other))))[seed]
                        parts.append(scores.reordered([v for v in scores.ids if self.fold[v] == other]))
                found.append(join_scores(parts))
        return found


def held_out_rows(rows: Rows, names: Sequence[str]) -> HeldOut:
    """Networks as those of some rows with folds, each trained without a pair of folds.

    The lists of their clips are written to the folder of the runs.
    """
    assert rows.folds is not None
    data = {rows.settings[name].data.source for name in names}
    assert len(data) == 1, "rows of one data set"
    (source,) = data
    every = load_records(source, random_split=False)
    fold = {
        record.id: number
        for number in range(1, rows.folds + 1)
        for record in load_records(source, split=f"{number}/{rows.folds}").of("test")
    }
    out = rows.out / "held-out"
    settings = {}
    for pair in combinations(range(1, rows.folds + 1), 2):
        place = out / f"without-{pair[0]}-{pair[1]}" / "clips.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        records = [replace(r, split="test" if fold[r.id] in pair else "train") for r in every.records]
        write_csv(place, records, every.classes)
        for name in names:
            changes = {"data.source": str(place), "data.split": None}
            settings[_name(name, *pair)] = rows.settings[name].updated(changes)
    return HeldOut(Rows(settings, out, rows.protocol, None, rows.seeds), fold, rows.folds)


def _name(row: str, one: int, other: int) -> str:
    return f"{row}, without folds {one} and {other}"


def join_scores(parts: Sequence[Scores]) -> Scores:
    """Join scores of different clips by networks of one kind."""
    return Scores(
        [video for part in parts for video in part.ids],
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.targets for part in parts]),
        parts[0].classes,
        parts[0].protocol,
    )
