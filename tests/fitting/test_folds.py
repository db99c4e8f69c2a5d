"""Folds of cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.fitting.folds import NEVER, grouped_folds


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_folds_and_the_rest_always_has_all_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [f"g{number}" for number in random.integers(0, 12, 60)]
    labels = random.integers(0, 6, 60)
    folds = grouped_folds(groups, labels.tolist(), seed=seed).numpy()
    assert all(len(set(folds[np.array(groups) == group])) == 1 for group in groups)
    for fold in set(folds) - {NEVER}:
        assert set(labels[folds != fold]) == set(labels)


def test_classes_are_spread() -> None:
    labels = [0] * 10 + [1] * 10
    folds = grouped_folds([str(number) for number in range(20)], labels)
    for fold in range(5):
        assert torch.tensor(labels)[folds == fold].tolist() == [0, 0, 1, 1]


def test_there_are_no_more_folds_than_groups() -> None:
    folds = grouped_folds(["a", "a", "b", "b", "c", "c"], [0, 1, 0, 1, 0, 1])
    assert sorted(set(folds.tolist())) == [0, 1, 2]


def test_a_class_of_one_group_is_never_held_out() -> None:
    folds = grouped_folds(["a", "b", "c", "d", "e", "e"], [0, 0, 0, 0, 1, 1])
    assert folds[4:].tolist() == [NEVER, NEVER]
    assert NEVER not in folds[:4].tolist()


def test_nothing_is_held_out_of_a_single_group_or_of_single_clips() -> None:
    assert grouped_folds(["a"] * 4, [0, 1, 0, 1]).tolist() == [NEVER] * 4
    assert grouped_folds(["a", "b", "c"], [0, 1, 2]).tolist() == [NEVER] * 3
    assert grouped_folds([], []).tolist() == []


def test_clips_without_a_group_are_groups_of_their_own() -> None:
    assert sorted(grouped_folds([""] * 4, [0, 0, 1, 1], folds=2).tolist()) == [0, 0, 1, 1]


def test_clips_of_several_labels_are_spread_by_each_of_them() -> None:
    targets = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]]).float()
    folds = grouped_folds(["a", "b", "c", "d", "e", "f"], targets, folds=2)
    for fold in (0, 1):
        assert targets[folds == fold].sum(0).tolist() == [2, 2]


def test_the_seed_decides_between_equal_groups() -> None:
    groups = [str(number) for number in range(12)]
    same = [grouped_folds(groups, [0] * 12, seed=seed).tolist() for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="2 folds"):
        grouped_folds(["a", "b"], [0, 1], folds=1)
    with pytest.raises(ArgumentError, match="3 labels"):
        grouped_folds(["a", "b"], [0, 1, 1])
