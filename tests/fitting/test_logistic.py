"""Logistic regression against scikit-learn and closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.fitting import rows as rows_module
from praxiscope.fitting.folds import NEVER, grouped_folds
from praxiscope.fitting.logistic import DEFAULT_L2, choose_l2, fit_logistic, scaled_l2
from praxiscope.fitting.rows import Standardised, mean_and_std


def clips(n: int, p: int, k: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clips of k overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % k
    centres = torch.randn(k, p, generator=generator)
    return torch.randn(n, p, generator=generator) + 0.7 * centres[targets] + 0.5, targets


def sklearn(x: Tensor, y: Tensor, c: float) -> LogisticRegression:
    return LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x.double().numpy(), y.numpy())


@pytest.mark.parametrize(("n", "p", "l2"), [(80, 6, 1e-2), (80, 6, 1e-4), (20, 90, 0.1)])
def test_weights_are_those_of_scikit_learn(n: int, p: int, l2: float) -> None:
    x, y = clips(n, p, 4)
    fit, other = fit_logistic(x, y, 4, l2=l2), sklearn(x, y, 1 / (n * l2))
    assert np.abs(fit.weight.numpy() - other.coef_).max() < 1e-4
    assert np.abs(fit.bias.numpy() - other.intercept_).max() < 1e-4


def test_two_classes_have_the_probabilities_of_scikit_learn_with_twice_its_c() -> None:
    x, y = clips(60, 5, 2)
    fit, other = fit_logistic(x, y, 2, l2=0.02), sklearn(x, y, 2 / (60 * 0.02))
    found = (x @ fit.weight.T + fit.bias).softmax(1)
    assert np.abs(found.numpy() - other.predict_proba(x.numpy())).max() < 1e-4


def test_several_labels_are_a_regression_for_each_class() -> None:
    x, _ = clips(60, 5, 3)
    targets = (x[:, :3] + 0.5 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    fit = fit_logistic(x, targets, 3, l2=0.02)
    for label in range(3):
        other = sklearn(x, targets[:, label], 1 / (60 * 0.02))
        assert np.abs(fit.weight[label].numpy() - other.coef_[0]).max() < 1e-4
        assert abs(float(fit.bias[label]) - other.intercept_[0]) < 1e-4


def test_features_that_tell_nothing_give_the_frequencies() -> None:
    fit = fit_logistic(torch.zeros(10, 3), torch.tensor([0] * 7 + [1] * 2 + [2]), 3, l2=0.1)
    assert fit.weight.abs().max() == 0
    assert torch.allclose(fit.bias.softmax(0), torch.tensor([0.7, 0.2, 0.1]), atol=1e-5)
    several = fit_logistic(torch.zeros(4, 3), torch.tensor([[1.0], [1.0], [1.0], [0.0]]), 1, l2=0.1)
    assert float(several.bias.sigmoid()) == pytest.approx(0.75, abs=1e-5)


def test_two_points_fulfil_the_condition_of_their_minimum() -> None:
    """For x = -1, +1 and weights (-w, w): probability of the wrong class = 2 l2 w, by setting the gradient to zero."""
    fit = fit_logistic(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2, l2=0.05)
    w = float(fit.weight[1, 0])
    assert float(fit.weight[0, 0]) == pytest.approx(-w, abs=1e-6)
    assert 1 / (1 + math.exp(2 * w)) == pytest.approx(0.05 * w, abs=1e-5)
    assert fit.loss == pytest.approx(math.log1p(math.exp(-2 * w)) + 0.05 * w * w, abs=1e-6)


def test_separable_classes_have_a_finite_answer() -> None:
    x = torch.tensor([[-100.0], [-99.0], [99.0], [100.0]])
    fit = fit_logistic(x, torch.tensor([0, 0, 1, 1]), 2, l2=1e-8)
    assert torch.isfinite(fit.weight).all()
    assert (x @ fit.weight.T + fit.bias).argmax(1).tolist() == [0, 0, 1, 1]


def test_one_class_has_no_weights() -> None:
    fit = fit_logistic(torch.randn(5, 3), torch.zeros(5, dtype=torch.int64), 1, l2=0.1)
    assert fit.weight.tolist() == [[0, 0, 0]]
    assert fit.loss == 0


def test_a_class_without_clips_is_improbable() -> None:
    x, y = clips(20, 4, 2)
    fit = fit_logistic(x, y, 3, l2=0.1)
    assert (x @ fit.weight.T + fit.bias).softmax(1)[:, 2].max() < 1e-4


def test_weights_of_clips_are_repetitions() -> None:
    x, y = clips(12, 3, 3)
    weights = torch.tensor([0.0, 1, 2] * 4)
    rows = torch.repeat_interleave(torch.arange(12), weights.long())
    found = fit_logistic(x, y, 3, l2=0.1, weights=weights)
    assert torch.allclose(found.weight, fit_logistic(x[rows], y[rows], 3, l2=0.1).weight, atol=1e-4)


@pytest.mark.parametrize("p", [5, 50])
def test_the_start_changes_nothing(p: int) -> None:
    x, y = clips(20, p, 3)
    start = fit_logistic(x, y, 3, l2=1.0)
    found = fit_logistic(x, y, 3, l2=0.1, start=start)
    assert torch.allclose(found.weight, fit_logistic(x, y, 3, l2=0.1).weight, atol=1e-4)


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, torch.dtype]]:
    """Any rows are too many for memory; returns how many were read at once, and in which precision."""
    monkeypatch.setattr(rows_module, "_CHUNK", 4 * 7)
    monkeypatch.setattr(rows_module, "_FAST_CHUNK", 4 * 7)
    monkeypatch.setattr(rows_module, "_LARGE", 0)
    reads: list[tuple[int, torch.dtype]] = []
    read = rows_module._read
    monkeypatch.setattr(
        rows_module, "_read", lambda part, dtype: reads.append((len(part), dtype)) or read(part, dtype)
    )
    return reads


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_rows_in_a_file_are_read_a_part_at_a_time_and_give_the_same_classifier_to_a_hundredth(
    tmp_path: Path, all_large: list[tuple[int, torch.dtype]], l2: float
) -> None:
    x, y = clips(50, 4, 3)
    np.save(tmp_path / "x.npy", x.numpy())
    found = fit_logistic(np.load(tmp_path / "x.npy", mmap_mode="r"), y, 3, l2=l2)
    assert max(count for count, _ in all_large) == 7
    assert torch.float32 in {dtype for _, dtype in all_large}
    chances = (x @ found.weight.T + found.bias).softmax(1).numpy()
    assert np.abs(chances - sklearn(x, y, 1 / (50 * l2)).predict_proba(x.numpy())).max() < 0.01
    targets = torch.nn.functional.one_hot(y).float()
    several = fit_logistic(x, targets, 3, l2=l2)
    other = sklearn(x, targets[:, 0], 1 / (50 * l2))
    chances = (x @ several.weight[0] + several.bias[0]).sigmoid().numpy()
    assert np.abs(chances - other.predict_proba(x.numpy())[:, 1]).max() < 0.01


def test_the_choice_for_large_features_is_that_for_small_ones(
    monkeypatch: pytest.MonkeyPatch, all_large: object
) -> None:
    x, y = clips(60, 4, 3)
    groups = [str(number // 3) for number in range(60)]
    large = choose_l2(Standardised(x, *mean_and_std(x)), y, 3, groups)
    monkeypatch.setattr(rows_module, "_LARGE", 1 << 20)
    small = choose_l2(Standardised(x, *mean_and_std(x)), y, 3, groups)
    assert large.l2 == pytest.approx(small.l2, rel=1e-4)
    assert torch.allclose(large.held_out_logits.softmax(1), small.held_out_logits.softmax(1), atol=0.01)


def test_rows_are_standardised_when_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clips(50, 4, 3)
    x[:, 3] = 1 / 3  # constant
    monkeypatch.setattr(rows_module, "_CHUNK", 4 * 7)
    mean, std = mean_and_std(x)
    assert torch.allclose(mean, x.mean(0), atol=1e-6)
    assert torch.allclose(std[:3], x[:, :3].std(0, correction=0), atol=1e-6)
    assert std[3] == 1
    found = fit_logistic(Standardised(x, mean, std), y, 3, l2=0.1)
    assert torch.allclose(found.weight, fit_logistic((x - mean) / std, y, 3, l2=0.1).weight, atol=1e-4)
    assert found.weight[:, 3].abs().max() < 1e-4


@pytest.mark.parametrize("p", [4, 90])
def test_the_choice_scores_each_clip_by_a_fit_without_its_group(p: int) -> None:
    x, y = clips(30, p, 3)
    groups = [str(number // 3 % 7) for number in range(30)]
    choice = choose_l2(x, y, 3, groups, seed=2)
    folds = grouped_folds(groups, y, seed=2)
    assert choice.folds == 5
    loss = 0.0
    for fold in range(5):
        kept = folds != fold
        fit = fit_logistic(x[kept], y[kept], 3, l2=choice.l2)
        logits = x[~kept] @ fit.weight.T + fit.bias
        assert torch.allclose(choice.held_out_logits[~kept], logits, atol=2e-2)
        loss += float(torch.nn.functional.cross_entropy(logits, y[~kept], reduction="sum")) / 30
    assert choice.losses[choice.l2] == min(choice.losses.values()) == pytest.approx(loss, abs=1e-3)
    assert list(choice.losses) == sorted(choice.losses, reverse=True)


def test_of_many_clips_some_are_drawn_and_scored_by_fits_without_their_groups() -> None:
    x, y = clips(90, 4, 3)
    groups = [str(number // 3 % 10) for number in range(90)]
    choice = choose_l2(x, y, 3, groups, seed=2, most=40)
    drawn = ~choice.held_out_logits.isnan().any(1)
    assert choice.clips == int(drawn.sum()) == 40
    folds = grouped_folds(groups, y, seed=2)
    for fold in range(5):
        kept, held_out = drawn & (folds != fold), drawn & (folds == fold)
        assert not {groups[n] for n in kept.nonzero()} & {groups[n] for n in held_out.nonzero()}
        fit = fit_logistic(x[kept], y[kept], 3, l2=choice.l2 * 90 / 40)
        logits = x[held_out] @ fit.weight.T + fit.bias
        assert torch.allclose(choice.held_out_logits[held_out], logits, atol=2e-2)
    again, other = (choose_l2(x, y, 3, groups, seed=seed, most=40) for seed in (2, 3))
    assert torch.equal(again.held_out_logits.nan_to_num(), choice.held_out_logits.nan_to_num())
    assert not torch.equal(other.held_out_logits.isnan().any(1), ~drawn)
    assert choose_l2(x, y, 3, groups, seed=2, most=90).clips == 90


def test_the_number_of_threads_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    x, y = clips(6, 4, 3)
    fit_logistic(x, y, 3, l2=1.0)
    assert used == [1, 7]


def test_noise_is_regularised_more_than_classes_that_differ() -> None:
    x, y = clips(60, 4, 3)
    groups = [str(number) for number in range(60)]
    noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(5))
    assert choose_l2(noise, y, 3, groups).l2 / scaled_l2(noise) > 10 * choose_l2(
        x, y, 3, groups
    ).l2 / scaled_l2(x)


def test_the_unit_of_features_does_not_matter() -> None:
    x, y = clips(30, 4, 3)
    groups = [str(number) for number in range(30)]
    one, other = choose_l2(x, y, 3, groups), choose_l2(8 * x, y, 3, groups)
    assert other.l2 == pytest.approx(64 * one.l2, rel=1e-4)
    assert torch.allclose(one.held_out_logits, other.held_out_logits, atol=2e-2)


def test_without_two_groups_of_a_class_the_default_is_chosen() -> None:
    x, y = clips(3, 4, 3)
    choice = choose_l2(x, y, 3, ["a", "b", "c"])
    assert choice.l2 == pytest.approx(DEFAULT_L2 * scaled_l2(x))
    assert choice.folds == 0
    assert choice.losses == {}
    assert choice.held_out_logits.isnan().all()


def test_only_clips_that_can_be_held_out_are() -> None:
    x, y = clips(12, 4, 3)
    groups = ["only" if label == 2 else str(number) for number, label in enumerate(y.tolist())]
    held_out = ~choose_l2(x, y, 3, groups).held_out_logits.isnan().any(1)
    assert torch.equal(held_out, grouped_folds(groups, y) != NEVER)
    assert torch.equal(held_out, y != 2)


def test_wrong_arguments_are_refused() -> None:
    x, y = clips(6, 4, 3)
    with pytest.raises(ArgumentError, match="l2 must be above 0"):
        fit_logistic(x, y, 3, l2=0)
    with pytest.raises(ArgumentError, match=r"\[5\]"):
        fit_logistic(x, y[:5], 3, l2=1)
    with pytest.raises(ArgumentError, match="0 to 1"):
        fit_logistic(x, y, 2, l2=1)
    with pytest.raises(ArgumentError, match="at least one clip"):
        fit_logistic(x[:0], y[:0], 3, l2=1)
    x[2, 1] = math.nan
    with pytest.raises(ArgumentError, match="not finite"):
        fit_logistic(x, y, 3, l2=1)
    with pytest.raises(ArgumentError, match="not finite"):
        choose_l2(x, y, 3, [str(number) for number in range(len(x))])
