"""Standardisation of features by their running statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.layers.normalisation import statistics_held
from praxiscope.layers.standardise import RunningStandardise


def of_batches(memory: int, *batches: torch.Tensor) -> tuple[RunningStandardise, torch.Tensor]:
    layer = RunningStandardise(batches[0].shape[-1], memory=memory, eps=1e-9).double()
    for batch in batches:
        found = layer(batch)
    return layer, found


@pytest.mark.parametrize("sizes", [(7,), (1, 1, 5), (4, 1, 2)], ids=str)
def test_the_statistics_are_those_of_all_vectors(sizes: tuple[int, ...]) -> None:
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 40
    layer, found = of_batches(100, *x.split(list(sizes)))
    mean, std = x.numpy().mean(0), x.numpy().std(0)
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.variance, std**2, rtol=1e-9)
    expected = (x[-sizes[-1] :].numpy() - mean) / std
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    torch.testing.assert_close(layer.eval()(x[-sizes[-1] :]), found)  # evaluation does as training
    assert int(layer.count) == 7


def test_old_vectors_are_forgotten() -> None:
    """With a memory of 4, each batch of 2 counts half of what comes before."""
    batches = [torch.full((2, 1), value, dtype=torch.float64) for value in (8.0, 4.0, 2.0)]
    layer, _ = of_batches(4, *batches)
    assert float(layer.mean) == ((8 + 4) / 2 + 2) / 2
    # Mixture of half a distribution with mean 6 and variance 4, and half one with mean 2 and none.
    assert float(layer.variance) == 0.5 * 4 + 0.25 * (6 - 2) ** 2
    large, _ = of_batches(
        4, torch.arange(6.0, dtype=torch.float64)[:, None]
    )  # a batch larger than the memory
    assert float(large.mean) == 2.5


def test_nothing_is_learnt_in_evaluation_and_the_gradient_passes_as_through_a_scale() -> None:
    layer = RunningStandardise(2)
    x = torch.tensor([[1.0, 5.0]])
    assert torch.equal(layer.eval()(x), x)  # before training
    assert int(layer.count) == 0
    layer.train()(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    layer.eval()
    x.requires_grad_()
    layer(x).sum().backward()
    np.testing.assert_allclose(x.grad, [[1 / np.sqrt(1 + 1e-3), 1 / np.sqrt(4 + 1e-3)]], rtol=1e-6)


def test_maps_of_several_axes_and_half_precision() -> None:
    layer, x = RunningStandardise(3), torch.randn(2, 5, 3).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    assert int(layer.count) == 10
    assert layer.mean.dtype == torch.float32


def test_statistics_are_held_where_a_pass_is_no_training_step() -> None:
    layer, x = RunningStandardise(2), torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    layer(x)
    with statistics_held(torch.nn.Sequential(layer)):
        layer(torch.zeros(50, 2))
    assert (int(layer.count), layer.mean.tolist()) == (2, [1.0, 2.0])
    layer(x)
    assert int(layer.count) == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_not_finite_change_nothing(value: float) -> None:
    layer = RunningStandardise(2)
    layer(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    layer(torch.tensor([[value, 1.0]]))
    layer(torch.zeros(0, 2))
    assert (int(layer.count), layer.mean.tolist()) == (2, [1.0, 2.0])


def test_a_large_mean_costs_no_precision_in_bfloat16() -> None:
    layer = RunningStandardise(1)
    layer(torch.tensor([[99.0], [101.0]]))
    found = layer.eval()(torch.tensor([[100.5]]).bfloat16())
    assert float(found) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("bad", [{"features": 0}, {"memory": 0}, {"eps": 0.0}])
def test_numbers_must_be_positive(bad: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        RunningStandardise(**{"features": 2, **bad})
