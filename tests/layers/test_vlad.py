"""VLAD against sums that are taken feature by feature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.layers import vlad as module
from praxiscope.layers.vlad import local_features, nearest_words, vlad


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def twin(features: np.ndarray, centres: np.ndarray, normalise: bool) -> np.ndarray:
    sums = np.zeros_like(centres)
    for feature in features:
        feature = feature / np.linalg.norm(feature)
        word = int(np.argmin([np.linalg.norm(feature - centre) for centre in centres]))
        sums[word] += feature - centres[word]
    if normalise:
        for word, row in enumerate(sums):
            sums[word] = row / np.linalg.norm(row) if row.any() else 0
        sums /= np.linalg.norm(sums)
    return sums


@pytest.mark.parametrize("normalise", [True, False])
def test_vlad_is_the_sum_of_residuals_of_each_word(normalise: bool) -> None:
    features, centres = random(40, 5), random(6, 5, seed=1) / 2
    expected = twin(features.numpy(), centres.numpy(), normalise)
    assert np.allclose(vlad(features, centres, normalise).numpy(), expected, atol=1e-12)


def test_images_of_a_batch_are_encoded_separately() -> None:
    features, centres = random(2, 3, 7, 4), random(5, 4, seed=1)
    found = vlad(features, centres)
    assert found.shape == (2, 3, 5, 4)
    assert torch.allclose(found[1, 2], vlad(features[1, 2], centres))


def test_words_without_features_are_zero_and_lengths_are_one() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    centres = torch.tensor([[0.0, 0.0], [-9.0, 0.0], [0.0, 8.0]])
    assert vlad(features, centres, normalise=False).tolist() == [[2, 0], [0, 0], [0, 0]]
    assert vlad(features, centres).tolist() == [[1, 0], [0, 0], [0, 0]]
    spread = vlad(random(50, 3), random(4, 3, seed=1) / 3)
    assert spread.norm() == pytest.approx(1)
    assert torch.allclose(spread.norm(dim=1), torch.full((4,), 0.5, dtype=torch.float64))


def test_features_of_zero_stay_zero_and_do_not_become_nan() -> None:
    assert vlad(torch.zeros(3, 2), torch.zeros(2, 2)).tolist() == [[0, 0], [0, 0]]


def test_of_equally_near_words_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    features, centres = torch.tensor([[1.0, 0.0]] * 5), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert nearest_words(features, centres).tolist() == [0] * 5
    monkeypatch.setattr(module, "_VALUES", 4)  # in parts of two features
    assert nearest_words(features, centres).tolist() == [0] * 5


def test_parts_do_not_change_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    features, centres = random(3, 11, 4), random(5, 4, seed=1)
    whole = nearest_words(features, centres)
    monkeypatch.setattr(module, "_VALUES", 16)
    assert torch.equal(nearest_words(features, centres), whole)
    assert torch.equal(whole, torch.cdist(features, centres.expand(3, 5, 4)).argmin(-1))


def test_each_position_of_a_map_is_a_local_feature_of_length_one() -> None:
    maps = random(2, 3, 4, 5)
    found = local_features(maps)
    assert found.shape == (2, 20, 3)
    expected = maps[1, :, 2, 3] / maps[1, :, 2, 3].norm()
    assert torch.allclose(found[1, 2 * 5 + 3], expected)


@pytest.mark.parametrize(
    ("features", "centres"), [((4, 3), (2, 4)), ((3,), (2, 3)), ((4, 3), (0, 3)), ((4, 3), (3,))]
)
def test_shapes_that_do_not_fit_are_refused(features: tuple[int, ...], centres: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"features|centres"):
        vlad(torch.zeros(features), torch.zeros(centres))
