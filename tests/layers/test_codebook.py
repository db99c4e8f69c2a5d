"""PCA and the words of local features, and the vectors of videos by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError, DataError
from praxiscope.layers.codebook import Codebook
from praxiscope.layers.fisher import fisher_vector
from praxiscope.layers.vlad import vlad


def drawn(count: int = 400, width: int = 8, seed: int = 0) -> Tensor:
    """Features whose variance falls along their dimensions, in a turned frame of reference."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(9)))[0]
    spread = 0.5 ** torch.arange(width, dtype=torch.float32)
    return torch.randn(count, width, generator=generator) * spread @ turn.T + 0.3


def learned(encoding: str = "fisher", **sizes: Any) -> Codebook:
    book = Codebook(8, sizes.get("dims", 3), sizes.get("words", 4), encoding)
    book.learn(drawn(), seed=sizes.get("seed", 0))
    return book


def reduced(book: Codebook, rows: Tensor) -> Tensor:
    return (rows - book.mean) @ book.axes


@pytest.mark.parametrize(("encoding", "size"), [("fisher", 2 * 4 * 3), ("vlad", 4 * 3)])
def test_a_video_has_one_vector_of_length_1(encoding: str, size: int) -> None:
    book = learned(encoding)
    found = book(drawn(50, seed=1))
    assert found.shape == (size,) == (book.size,)
    assert found.dtype == torch.float32
    assert found.norm() == pytest.approx(1, abs=1e-6)


def test_a_fisher_vector_is_that_of_the_mixture_after_pca() -> None:
    book, rows = learned(), drawn(50, seed=1)
    plain = fisher_vector(reduced(book, rows), book.weights, book.means, book.variances)
    expected = plain.sign() * plain.abs().sqrt()
    assert torch.allclose(book(rows), expected / expected.norm(), atol=1e-6)


def test_vlad_is_that_of_features_of_length_1_after_pca() -> None:
    book, rows = learned("vlad"), drawn(50, seed=1)
    assert torch.allclose(book(rows), vlad(reduced(book, rows), book.means).flatten(), atol=1e-6)
    words = F.normalize(reduced(book, drawn()), dim=1)
    nearest = torch.cdist(words, book.means).argmin(1)
    for word in range(4):  # each word is near the mean of its features, as k-means leaves it
        assert torch.allclose(book.means[word], words[nearest == word].mean(0), atol=0.1)
    assert "variances" not in dict(book.named_buffers())


def test_pca_is_that_of_the_eigenvectors_of_the_covariance() -> None:
    book, rows = learned(), drawn().double().numpy()
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    expected = vectors[:, np.argsort(values)[::-1][:3]]
    assert np.allclose(book.mean.numpy(), rows.mean(0), atol=1e-6)
    assert np.allclose(np.abs(expected.T @ book.axes.numpy()), np.eye(3), atol=1e-4)


def test_the_mean_fisher_vector_of_what_was_learned_is_near_0() -> None:
    book, rows = learned(), drawn()
    plain = fisher_vector(reduced(book, rows), book.weights, book.means, book.variances)
    one = fisher_vector(reduced(book, rows[:50]), book.weights, book.means, book.variances)
    assert plain.norm() < 0.1 * one.norm()


def test_the_same_seed_gives_the_same_words() -> None:
    one, other, same = learned(seed=0), learned(seed=1), learned(seed=0)
    assert torch.equal(one.means, same.means)
    assert not torch.equal(one.means, other.means)


def test_without_features_the_vector_is_0() -> None:
    for encoding in ("fisher", "vlad"):
        found = learned(encoding)(torch.zeros(0, 8))
        assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"dims": 9}, "dims"),
        ({"dims": 0}, "dims"),
        ({"words": 0}, "words"),
        ({"words": 2.0}, "words"),
        ({"encoding": "bag"}, "bag"),
    ],
)
def test_wrong_sizes_are_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        Codebook(8, **{"dims": 3, "words": 4, **wrong})


def test_too_few_or_infinite_features_are_refused() -> None:
    book = Codebook(8, 3, 4)
    with pytest.raises(DataError, match="3 local features"):
        book.learn(drawn(3))
    rows = drawn()
    rows[7, 2] = torch.inf
    with pytest.raises(DataError, match="finite"):
        book.learn(rows)
