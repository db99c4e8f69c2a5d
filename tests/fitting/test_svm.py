"""Support vector machines beside those of scikit-learn on the features themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from praxiscope.errors import ArgumentError
from praxiscope.fitting.svm import fit_svm, held_out_decisions, inner_products


def clips(n: int = 30, p: int = 200, k: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(n) % k
    return torch.randn(n, p, generator=draw) + 0.3 * torch.nn.functional.one_hot(targets, p), targets


def test_inner_products_are_summed_over_parts_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = clips()
    monkeypatch.setattr("praxiscope.fitting.svm._COLUMNS", 7)
    for rows in (x, x.numpy()):
        assert torch.allclose(inner_products(rows), x.double() @ x.double().T)


@pytest.mark.parametrize("c", [0.01, 100.0])
def test_each_class_is_a_linear_machine_against_the_others(c: float) -> None:
    x, targets = clips()
    fit = fit_svm(inner_products(x), targets, 3, c)
    weight = fit.weight(x)
    assert weight.shape == (3, 200)
    new = torch.randn(5, 200, generator=torch.Generator().manual_seed(1))
    for number in range(3):
        twin = SVC(C=c, kernel="linear").fit(x.numpy(), targets.numpy() == number)
        expected = twin.decision_function(new.numpy())
        assert np.allclose(new @ weight[number] + fit.bias[number], expected, atol=5e-3)


def test_classes_of_all_clips_or_none_have_no_weights() -> None:
    x, _ = clips()
    targets = torch.zeros(30, 3)
    targets[:, 1] = 1
    targets[:10, 2] = 1
    fit = fit_svm(inner_products(x), targets, 3, 1.0)
    assert fit.bias[:2].tolist() == [-1, 1]
    assert not fit.shares[:, :2].any()
    assert fit.shares[:, 2].any()


def test_held_out_clips_are_scored_without_their_group() -> None:
    x, targets = clips()
    products, groups = inner_products(x), [str(number // 3) for number in range(30)]
    found = held_out_decisions(products, targets, 3, 1.0, groups, seed=0)
    assert found.shape == (30, 3)
    assert bool(found.isfinite().all())
    # Labels of a group do not reach its own scores.
    swapped = targets.clone()
    swapped[:3] = targets[:3].flip(0)
    others = held_out_decisions(products, swapped, 3, 1.0, groups, seed=0)
    assert torch.equal(found[:3], others[:3])
    assert not torch.equal(found[3:], others[3:])
    alone = held_out_decisions(products, targets, 3, 1.0, ["one"] * 30, seed=0)
    assert bool(alone.isnan().all())


@pytest.mark.parametrize("c", [0.0, -1.0, float("nan"), float("inf")])
def test_c_is_above_0(c: float) -> None:
    with pytest.raises(ArgumentError, match="c must be"):
        fit_svm(torch.eye(4), torch.arange(4) % 2, 2, c)


def test_features_are_finite() -> None:
    with pytest.raises(ArgumentError, match="finite"):
        fit_svm(torch.full((4, 4), float("nan")), torch.arange(4) % 2, 2, 1.0)
