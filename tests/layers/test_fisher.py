"""Fisher vectors against the gradient that autograd finds, and on the features that a mixture was fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.layers import fisher as module
from praxiscope.layers.fisher import fisher_vector, fit_mixture, from_moments, improved, moments, posteriors

Mixture = tuple[Tensor, Tensor, Tensor]


def mixture(k: int = 3, d: int = 4) -> Mixture:
    draw = torch.Generator().manual_seed(0)
    weights = torch.rand(k, dtype=torch.float64, generator=draw) + 0.2
    means = torch.randn(k, d, dtype=torch.float64, generator=draw)
    return weights / weights.sum(), means, torch.rand(k, d, dtype=torch.float64, generator=draw) + 0.3


def random(n: int = 25, d: int = 4) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def log_likelihood(x: Tensor, weights: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    parts = torch.distributions.Independent(torch.distributions.Normal(means, deviations), 1)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), parts).log_prob(x)


def test_it_is_the_scaled_gradient_of_the_log_likelihood() -> None:
    x, (weights, means, variances) = random(), mixture()
    centre, deviation = means.clone().requires_grad_(), variances.sqrt().requires_grad_()
    log_likelihood(x, weights, centre, deviation).mean().backward()
    assert centre.grad is not None
    assert deviation.grad is not None
    by_mean = centre.grad * variances.sqrt() / weights.sqrt()[:, None]
    by_deviation = deviation.grad * variances.sqrt() / (2 * weights).sqrt()[:, None]
    found = fisher_vector(x, weights, means, variances)
    assert found.shape == (2 * 3 * 4,)
    assert torch.allclose(found, torch.cat([by_mean.flatten(), by_deviation.flatten()]), atol=1e-12)


def test_posteriors_are_those_of_scikit_learn() -> None:
    x, (weights, means, variances) = random(), mixture()
    found = GaussianMixture(3, covariance_type="diag")
    found.weights_, found.means_, found.covariances_ = (value.numpy() for value in mixture())
    found.precisions_cholesky_ = 1 / np.sqrt(variances.numpy())
    assert np.allclose(posteriors(x, weights, means, variances), found.predict_proba(x.numpy()), atol=1e-12)


def test_it_is_zero_on_the_features_that_a_mixture_was_fitted_to() -> None:
    x = torch.cat([random(60) - 3, 2 * random(40) + 3])
    found = GaussianMixture(2, covariance_type="diag", tol=1e-12, reg_covar=0, random_state=0).fit(x.numpy())
    fitted = [torch.from_numpy(value) for value in (found.weights_, found.means_, found.covariances_)]
    assert fisher_vector(x, *fitted).abs().max() < 1e-4
    assert fisher_vector(x[:10], *fitted).abs().max() > 0.1


def test_one_gaussian_has_the_closed_form() -> None:
    x = torch.tensor([[1.0], [4.0]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    found = fisher_vector(x, one, one[None], 4 * one[None])
    assert found.tolist() == pytest.approx([(0 + 3 / 2) / 2, ((0 - 1) + (9 / 4 - 1)) / 2 / 2**0.5])


def test_features_far_from_every_gaussian_and_tiny_weights_are_finite() -> None:
    weights, means, variances = mixture()
    weights = torch.tensor([1 - 2e-12, 1e-12, 1e-12], dtype=torch.float64)
    assert fisher_vector(random() * 1e4, weights, means, variances).isfinite().all()
    assert fisher_vector(random().float() * 100, weights, means, variances).dtype == torch.float32


def test_parts_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fisher_vector(random(), *mixture())
    monkeypatch.setattr(module, "_VALUES", 9)
    assert torch.allclose(fisher_vector(random(), *mixture()), whole, atol=1e-12)


def test_normalised_vectors_have_length_one_after_the_square_root() -> None:
    found = fisher_vector(random(), *mixture(), normalise=True)
    plain = fisher_vector(random(), *mixture())
    expected = plain.sign() * plain.abs().sqrt()
    assert torch.allclose(found, expected / expected.norm())
    assert improved(torch.tensor([[-9.0, 16.0]])).tolist() == [pytest.approx([-0.6, 0.8])]


@pytest.mark.parametrize(
    ("x", "weights", "means", "variances"),
    [
        (torch.zeros(0, 1), torch.ones(1), torch.ones(1, 1), torch.ones(1, 1)),
        (torch.zeros(2, 1).int(), torch.ones(1), torch.ones(1, 1), torch.ones(1, 1)),
        (torch.zeros(2, 1), torch.ones(2), torch.ones(1, 1), torch.ones(1, 1)),
        (torch.zeros(2, 1), torch.ones(1), torch.ones(1, 2), torch.ones(1, 1)),
        (torch.zeros(2, 1), torch.ones(1), torch.ones(1, 1), torch.zeros(1, 1)),
        (torch.zeros(2, 1), torch.zeros(1), torch.ones(1, 1), torch.ones(1, 1)),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    x: Tensor, weights: Tensor, means: Tensor, variances: Tensor
) -> None:
    with pytest.raises(ArgumentError, match=r"x must|weights|variances"):
        fisher_vector(x, weights, means, variances)


def test_a_mixture_is_fitted_as_by_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VALUES", 50)  # a part of the features at a time
    x = torch.cat([random(60) - 2, 2 * random(40) + 2])
    start = x[[0, 70, 90]]
    spread = 1 / (x.var(0, correction=0) + 1e-3).expand(3, -1)
    twin = GaussianMixture(3, covariance_type="diag", tol=1e-9, reg_covar=1e-3, max_iter=1000)
    twin.set_params(
        weights_init=np.full(3, 1 / 3), means_init=start.numpy(), precisions_init=spread.numpy()
    ).fit(x)
    found = fit_mixture(x, start, least_variance=1e-3, steps=1000, tolerance=1e-10)
    for ours, theirs in zip(found, (twin.weights_, twin.means_, twin.covariances_), strict=True):
        assert ours.dtype == torch.float64
        assert np.allclose(ours, theirs, atol=1e-3)


def test_a_mixture_of_more_gaussians_than_the_features_need_is_finite() -> None:
    x = torch.cat([torch.zeros(50, 3), 40 * torch.ones(1, 3)])
    weights, means, variances = fit_mixture(x, torch.cat([x[-1:], x[:2], 1e4 * x[-1:]]), least_variance=1e-6)
    assert all(bool(value.isfinite().all()) for value in (weights, means, variances))
    assert float(weights.sum()) == pytest.approx(1)
    assert weights[0] == pytest.approx(1 / 51)
    assert bool((fisher_vector(x, weights, means, variances).isfinite()).all())


def test_the_sums_of_parts_make_the_vector_of_all() -> None:
    x, of = random(), mixture()
    parts = [moments(part, *of) for part in torch.split(x, 7)]
    assert parts[0].shape == (3, 9)
    assert parts[0].dtype == torch.float64
    shares = posteriors(x, *of)
    whole = torch.cat([shares.sum(0)[:, None], shares.T @ x, shares.T @ x.square()], 1)
    assert torch.allclose(sum(parts), whole, atol=1e-12)  # type: ignore[arg-type]
    found = from_moments(sum(parts), len(x), *of)  # type: ignore[arg-type]
    assert torch.allclose(found, fisher_vector(x, *of), atol=1e-12)
