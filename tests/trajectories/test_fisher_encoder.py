"""Fisher vectors of trajectories: their parts, and what they say of videos."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, DataError
from praxiscope.layers.fisher import fisher_vector
from praxiscope.trajectories.fisher import Vocabulary, learn_fisher
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import TrajectorySettings

SIZES = TrajectorySettings().sizes


def drawn(count: int, seed: int, shift: float = 0.0) -> Trajectories:
    draw = np.random.default_rng(seed)
    info = np.zeros((count, 10), np.float32)
    return Trajectories(
        info, *((draw.normal(size=(count, width)) + shift).astype(np.float32) for width in SIZES.values())
    )


def test_each_descriptor_has_a_vector_of_its_mixture() -> None:
    samples = drawn(400, 0)
    encode = learn_fisher(samples, Vocabulary(gaussians=3))
    video = drawn(50, 1)
    found = encode(video)
    assert encode.dims == 2 * 3 * sum(width // 2 for width in SIZES.values()) == len(found)
    first = 0
    for name, width in SIZES.items():
        mixture, part = encode.mixtures[name], found[first : first + 3 * width]
        rows = torch.from_numpy(getattr(video, name))
        reduced = (rows - mixture.mean) @ mixture.axes
        plain = fisher_vector(reduced, mixture.weights, mixture.means, mixture.variances)
        expected = plain.sign() * plain.abs().sqrt()
        assert torch.allclose(part, expected / expected.norm(), atol=1e-5)
        assert part.norm() == pytest.approx(1, abs=1e-5)
        first += 3 * width


def test_of_many_trajectories_some_are_drawn() -> None:
    samples = drawn(300, 0)
    few = Vocabulary(gaussians=1, samples=100)
    mean = learn_fisher(samples, few).mixtures["hog"].mean
    rows = np.sort(np.random.default_rng(0).permutation(300)[:100])
    assert np.allclose(mean.numpy(), samples.hog[rows].mean(0), atol=1e-6)
    assert not np.allclose(mean.numpy(), samples.hog.mean(0), atol=1e-3)


def test_the_axes_are_those_of_the_largest_variance() -> None:
    samples = drawn(300, 0)
    samples.hog[:, :48] *= 10
    axes = learn_fisher(samples, Vocabulary(gaussians=1)).mixtures["hog"].axes
    assert axes[:48].square().sum() > 0.95 * axes.square().sum()
    assert torch.allclose(axes.T @ axes, torch.eye(48), atol=1e-4)


def test_videos_of_other_motion_have_other_vectors() -> None:
    encode = learn_fisher(drawn(400, 0), Vocabulary(gaussians=2))
    one, alike, other = encode(drawn(80, 1, 0.5)), encode(drawn(80, 2, 0.5)), encode(drawn(80, 3, -0.5))
    assert one @ alike > 0.3 * len(SIZES)
    assert one @ other < 0


def test_a_video_without_trajectories_is_zero_and_too_few_are_refused() -> None:
    encode = learn_fisher(drawn(200, 0), Vocabulary(gaussians=2))
    assert not encode(drawn(0, 0)).any()
    with pytest.raises(DataError, match="Gaussians"):
        learn_fisher(drawn(3, 0), Vocabulary(gaussians=4))
    for wrong in ({"gaussians": 0}, {"samples": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Vocabulary(**wrong)
