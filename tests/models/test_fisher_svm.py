"""Fisher vectors of trajectories: their parts, and what they say of videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.layers.fisher import fisher_vector
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import TrajectorySettings

SIZES = TrajectorySettings().sizes


def drawn(count: int, seed: int, shift: float = 0.0) -> Trajectories:
    draw = np.random.default_rng(seed)
    info = np.zeros((count, 10), np.float32)
    return Trajectories(
        info, *((draw.normal(size=(count, width)) + shift).astype(np.float32) for width in SIZES.values())
    )


def model(given: Trajectories, gaussians: int = 2, **words: Any) -> Any:
    found: Any = px.create_model("fisher-svm", num_classes=2, gaussians=gaussians, **words)
    found.learn(given)
    return found


def test_each_descriptor_has_a_vector_of_its_mixture() -> None:
    found, video = model(drawn(400, 0), gaussians=3), drawn(50, 1)
    described, first = found.describe(video), 0
    assert described.shape == (2 * 3 * sum(width // 2 for width in SIZES.values()),)
    for name, width in SIZES.items():
        book, part = found.mixtures[name], described[first : first + 3 * width]
        reduced = (torch.from_numpy(getattr(video, name)) - book.mean) @ book.axes
        plain = fisher_vector(reduced, book.weights, book.means, book.variances)
        expected = plain.sign() * plain.abs().sqrt()
        assert torch.allclose(part, expected / expected.norm(), atol=1e-5)
        assert part.norm() == pytest.approx(1, abs=1e-5)
        first += 3 * width


def test_of_many_trajectories_some_are_drawn() -> None:
    samples = drawn(300, 0)
    mean = model(samples, gaussians=1, samples=100).mixtures["hog"].mean
    rows = np.sort(np.random.default_rng(0).permutation(300)[:100])
    assert np.allclose(mean.numpy(), samples.hog[rows].mean(0), atol=1e-6)
    assert not np.allclose(mean.numpy(), samples.hog.mean(0), atol=1e-3)


def test_the_axes_are_those_of_the_largest_variance() -> None:
    samples = drawn(300, 0)
    samples.hog[:, :48] *= 10
    axes = model(samples, gaussians=1).mixtures["hog"].axes
    assert axes[:48].square().sum() > 0.95 * axes.square().sum()
    assert torch.allclose(axes.T @ axes, torch.eye(48), atol=1e-4)


def test_videos_of_other_motion_have_other_vectors() -> None:
    describe = model(drawn(400, 0)).describe
    one, alike, other = describe(drawn(80, 1, 0.5)), describe(drawn(80, 2, 0.5)), describe(drawn(80, 3, -0.5))
    assert one @ alike > 0.3 * len(SIZES)
    assert one @ other < 0


def test_a_video_without_trajectories_is_zero_and_too_few_are_refused() -> None:
    found = model(drawn(200, 0)).describe(drawn(0, 0))
    assert torch.equal(found, torch.zeros(2 * 2 * sum(width // 2 for width in SIZES.values())))
    with pytest.raises(DataError, match="Gaussians"):
        model(drawn(3, 0), gaussians=4)
    for wrong in (
        {"gaussians": 0},
        {"samples": 0},
        {"descriptors": "hog"},
        {"descriptors": ["hgo"]},
        {"c": -1},
    ):
        with pytest.raises((ArgumentError, UnknownNameError), match=r"|".join([*wrong, "hgo"])):
            px.create_model("fisher-svm", num_classes=2, **wrong)
