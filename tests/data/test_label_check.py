"""Labels that features contradict, and near duplicates, on features whose trouble is planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from praxiscope.data.label_check import held_out_predictions
from praxiscope.data.near_duplicates import near_duplicates
from praxiscope.errors import ArgumentError


def clips(
    per_class: int = 20, classes: int = 3, width: int = 6, spread: float = 1.0
) -> tuple[torch.Tensor, list[int]]:
    """Features around the corners of a cube, [n, width], and their classes."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), per_class)
    x = 4 * np.eye(classes, width)[labels] + spread * draw.normal(size=(len(labels), width))
    return torch.tensor(x, dtype=torch.float32), labels.tolist()


def test_planted_wrong_labels_come_first_with_their_true_class() -> None:
    x, labels = clips(spread=0.5)
    given = list(labels)
    for number in (3, 25, 50):
        given[number] = (labels[number] + 1) % 3
    found = held_out_predictions(x, given, 3, [""] * 60)
    order = found.margins.argsort().tolist()
    assert set(order[:3]) == {3, 25, 50}
    assert [int(found.suggested[number]) for number in (3, 25, 50)] == [
        labels[number] for number in (3, 25, 50)
    ]
    assert sorted(order[:3]) == sorted(torch.nonzero(found.margins < 0).flatten().tolist())


def test_a_margin_is_the_difference_of_two_log_probabilities() -> None:
    x, labels = clips(spread=3)
    found = held_out_predictions(x, labels, 3, [""] * 60)
    log_p = found.log_probabilities.numpy()
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-5)
    for row, label in enumerate(labels):
        others = np.delete(log_p[row], label)
        assert float(found.margins[row]) == pytest.approx(log_p[row, label] - others.max(), abs=1e-5)
        assert log_p[row, int(found.suggested[row])] == others.max()


def test_predictions_of_one_division_are_those_of_scikit_learn_on_the_other_groups() -> None:
    x, labels = clips(per_class=10, spread=2)
    groups = [str(number % 2) for number in range(30)]  # two groups are two folds, whatever the seed
    found = held_out_predictions(x, labels, 3, groups, repetitions=1)
    scaled = StandardScaler().fit_transform(x.double().numpy())
    expected = np.empty((30, 3))
    side = np.array(groups)
    for group in ("0", "1"):
        kept = side != group
        model = LogisticRegression(C=1 / (kept.sum() * found.l2), tol=1e-8, max_iter=10_000)
        model.fit(scaled[kept], np.array(labels)[kept])
        expected[~kept] = model.predict_log_proba(scaled[~kept])
    np.testing.assert_allclose(found.log_probabilities.numpy(), expected, atol=1e-2)


def test_a_clip_is_never_predicted_from_its_own_group() -> None:
    # Each group is a cluster of its own with one label. Only clips of the same group could tell the label.
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(12, 40)) * 5
    x = torch.tensor(np.repeat(centres, 5, 0) + 0.01 * draw.normal(size=(60, 40)), dtype=torch.float32)
    labels = np.repeat(np.arange(12) % 2, 5).tolist()
    known = held_out_predictions(x, labels, 2, [""] * 60)
    apart = held_out_predictions(x, labels, 2, [str(number // 5) for number in range(60)])
    assert int((known.margins > 0).sum()) == 60
    assert int((apart.margins > 0).sum()) < 50


def test_clips_of_the_only_group_of_a_class_are_not_judged() -> None:
    x, labels = clips(per_class=6)
    groups = [f"{label}/{number % 3 if label else 0}" for number, label in enumerate(labels)]
    found = held_out_predictions(x, labels, 3, groups)
    unjudged = torch.nonzero(found.margins.isnan()).flatten().tolist()
    assert unjudged == list(range(6))


def test_with_one_clip_a_class_nothing_is_judged() -> None:
    x, labels = clips(per_class=1)
    assert bool(held_out_predictions(x, labels, 3, [""] * 3).margins.isnan().all())


@pytest.mark.parametrize(("classes", "repetitions"), [(1, 5), (3, 0)])
def test_one_class_and_no_repetition_are_refused(classes: int, repetitions: int) -> None:
    x, labels = clips(per_class=4, classes=classes)
    with pytest.raises(ArgumentError, match=f"{classes} and {repetitions}"):
        held_out_predictions(x, labels, classes, [""] * len(x), repetitions=repetitions)


# ------------------------------------------------------------------------------------------ near duplicates


def plain_pairs(x: torch.Tensor, least: float) -> list[tuple[int, int]]:
    """All pairs in one matrix, in NumPy."""
    rows = StandardScaler().fit_transform(x.double().numpy())
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    similar = rows @ rows.T
    pairs = [(i, j) for j in range(len(x)) for i in range(j) if similar[i, j] >= least]
    return sorted(pairs, key=lambda pair: -similar[pair])


def test_copies_are_found_and_different_clips_are_not() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(30, 64)).astype(np.float32)
    x[7] = x[2] + 0.05 * draw.normal(size=64)
    x[29] = x[11]
    found = near_duplicates(torch.tensor(x))
    assert [pair[:2] for pair in found.pairs] == [(11, 29), (2, 7)]
    assert found.more == 0
    assert found.pairs[0].similarity == pytest.approx(1)
    assert 0.95 < found.pairs[1].similarity < 1


def test_what_all_clips_share_does_not_make_them_alike() -> None:
    draw = np.random.default_rng(0)
    x = torch.tensor(draw.normal(size=(20, 64)) + 100, dtype=torch.float32)  # cosines of almost 1
    assert near_duplicates(x).pairs == []


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_find_the_pairs_of_the_whole_matrix(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxiscope.data.near_duplicates._BLOCK", block)
    x = torch.tensor(np.random.default_rng(0).normal(size=(50, 3)), dtype=torch.float32)
    expected = plain_pairs(x, 0.9)
    steps: list[int] = []
    found = near_duplicates(x, least=0.9, progress=steps.append)
    assert [pair[:2] for pair in found.pairs] == expected
    assert (sum(steps), found.more) == (50, 0)
    few = near_duplicates(x, least=0.9, most=4)
    assert ([pair[:2] for pair in few.pairs], few.more) == (expected[:4], len(expected) - 4)


def test_pairs_of_one_source_are_left_out() -> None:
    x = torch.tensor(np.random.default_rng(0).normal(size=(10, 16)), dtype=torch.float32)
    x[[3, 6]] = x[[1, 1]]
    found = near_duplicates(x, sources=[0, 1, 2, 1, 4, 5, 6, 7, 8, 9])
    assert [pair[:2] for pair in found.pairs] == [(1, 6), (3, 6)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_clips_have_no_near_duplicates(count: int) -> None:
    assert near_duplicates(torch.ones(count, 4)).pairs == []


def test_clips_that_are_all_the_same_are_no_error() -> None:
    assert near_duplicates(torch.ones(4, 4)).pairs == []
