"""A classifier that passes its input on: the scores of a network are then what they are linear in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch

from praxiscope.models import create_model
from praxiscope.training.probe_start import reading_features

pytestmark = pytest.mark.usefixtures("_narrow")


def scores_and_features(model: Any, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the network [B, K], and what its features give: ``features @ weight.T + bias``."""
    layer = model.classifiers[0]
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    weight, bias = layer.weight, layer.bias
    with torch.no_grad():
        scores = model(frames).logits
        with reading_features(layer):
            features = model(frames).logits
        assert (layer.weight is weight, layer.bias is bias) == (True, True)
        return scores, features @ weight.flatten(1).T + bias


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("frame", {"backbone": "squeezenet1_1"}),
        ("tsn", {"backbone": "resnet10"}),
        ("tsn", {"backbone": "squeezenet1_1"}),
        ("tsm", {"backbone": "resnet10", "snippets": 4}),
        ("full-video", {"backbone": "resnet10", "clusters": 2}),
    ],
)
def test_the_scores_of_every_model_are_linear_in_its_features(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, **options).eval()
    scores, expected = scores_and_features(model, torch.rand(2, 4, 3, 32, 32))
    assert scores.shape == (2, 3)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_those_of_a_maximum_over_snippets_are_not() -> None:
    torch.manual_seed(0)
    model = create_model("tsn", num_classes=3, backbone="resnet10", consensus="maximum").eval()
    scores, expected = scores_and_features(model, torch.rand(2, 4, 3, 32, 32))
    assert not torch.allclose(scores, expected, rtol=1e-3, atol=1e-3)


def test_a_failure_restores_the_classifier() -> None:
    layer = torch.nn.Linear(4, 2)
    weight = layer.weight
    with suppress(RuntimeError), reading_features(layer):
        assert layer(torch.ones(1, 4)).tolist() == [[1, 1, 1, 1]]
        raise RuntimeError
    assert layer.weight is weight
