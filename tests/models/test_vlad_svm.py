"""``vlad-svm``: the vectors of videos by the words of their local features, and the machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor
from torch.nn import functional as F

import praxiscope as px
from praxiscope.errors import ArgumentError, DataError
from praxiscope.layers.vlad import vlad
from praxiscope.models.contract import FitsFeatures, LearnsWords
from praxiscope.models.names import learns_of


def build(**keywords: Any) -> Any:
    torch.manual_seed(0)
    words = {"layer": "layer2", "words": 3, "dims": 16, "num_classes": 3, **keywords}
    return px.create_model("vlad-svm", backbone="resnet10", **words).eval()


def maps(count: int = 9, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Maps [S, 128, 3, 2] of videos of different lengths: the classes differ in which channels are active."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    centres = torch.randn(3, 128, 1, 1, generator=generator)
    found = [
        (centres[target] + torch.randn(2 + number % 3, 128, 3, 2, generator=generator)).relu()
        for number, target in enumerate(targets.tolist())
    ]
    return found, targets


def local(video: Tensor) -> np.ndarray[Any, Any]:
    """Each position of each frame, of length 1, in float64."""
    rows = video.double().permute(0, 2, 3, 1).reshape(-1, video.shape[1]).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fitted(**keywords: Any) -> tuple[Any, Any, list[Tensor], Tensor]:
    model = build(**keywords)
    videos, targets = maps()
    model.learn(torch.cat([model.local(video) for video in videos]), 0)
    x = torch.stack([model.describe(video) for video in videos])
    report = model.fit(x, targets, [str(number // 3) for number in range(len(videos))], 0)
    return model, report, videos, targets


def test_it_is_a_model_that_is_fitted_to_maps_after_it_has_learned_words() -> None:
    model = build()
    assert learns_of("vlad-svm") == "features"
    assert isinstance(model, FitsFeatures)
    assert isinstance(model, LearnsWords)
    assert not isinstance(px.create_model("probe", num_classes=2, backbone="resnet10"), LearnsWords)


@pytest.mark.parametrize("layer", ["layer2", None])
def test_the_features_of_frames_are_the_maps_of_a_layer(layer: str | None) -> None:
    model = build(layer=layer)
    torch.nn.init.normal_(model.classifiers[0].weight)
    torch.nn.init.normal_(model.head.codebook.means)
    frames = torch.randn(2, 4, 3, 48, 48)
    with torch.no_grad():
        output, features = model(frames, maps=["layer1"]), model.features(frames)
        seen = model.frame(frames, maps=["layer1", "layer2", "layer4"])
    assert torch.equal(features, seen.maps[layer or "layer4"])
    assert torch.equal(output.maps["layer1"], seen.maps["layer1"])
    assert torch.equal(output.logits, model.score(features).logits)
    assert output.features.shape == (2, 4, model.width)


def test_local_features_are_all_positions_of_all_frames_with_length_1() -> None:
    (video, *_), _ = maps()
    found = build().local(video)
    assert found.shape == (2 * 3 * 2, 128)
    assert np.allclose(np.sort(found.numpy(), 0), np.sort(local(video), 0), atol=1e-6)


def test_a_video_is_described_by_the_vlad_of_its_positions_in_any_order() -> None:
    model, _, videos, _ = fitted()
    book = model.head.codebook
    for video in videos[:3]:
        rows = torch.from_numpy(local(video)).float()
        expected = vlad((rows - book.mean) @ book.axes, book.means).flatten()
        assert torch.allclose(model.describe(video), expected, atol=1e-5)
        assert torch.allclose(model.describe(video.flip(0, 2, 3)), expected, atol=1e-5)


@pytest.mark.parametrize("encoding", ["vlad", "fisher"])
def test_the_scores_are_those_of_scikit_learns_machines(encoding: str) -> None:
    model, report, videos, targets = fitted(encoding=encoding, c=2.0)
    x = torch.stack([model.describe(video) for video in videos]).double().numpy()
    with torch.no_grad():
        found = torch.cat([model.score(video[None]).logits for video in videos]).numpy()
    for label in range(3):
        machine = SVC(C=2.0, kernel="linear").fit(x, targets.numpy() == label)
        assert np.allclose(found[:, label], machine.decision_function(x), atol=5e-3)
    assert report.held_out_logits.shape == (9, 3)


def test_videos_of_several_labels_have_a_machine_for_each() -> None:
    model = build(c=100.0)
    videos, classes = maps()
    model.learn(torch.cat([model.local(video) for video in videos]), 0)
    x = torch.stack([model.describe(video) for video in videos])
    targets = F.one_hot(classes, 3).float()
    targets[:, 2] = 1  # all videos have it
    model.fit(x, targets, [str(number) for number in range(9)], 0)
    with torch.no_grad():
        found = torch.cat([model.score(video[None]).logits for video in videos])
    assert torch.equal(found[:, :2] > 0, targets[:, :2] > 0.5)
    assert torch.equal(found[:, 2], torch.ones(9))


@pytest.mark.parametrize(
    "wrong",
    [
        {"pool": "space"},
        {"encoding": "bag"},
        {"words": 0},
        {"dims": 0},
        {"dims": 1.5},
        {"samples": 0},
        {"c": 0},
        {"c": True},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        build(**wrong)


def test_maps_narrower_than_the_dimensions_keep_all_channels() -> None:
    assert build(layer="layer1", dims=128).head.codebook.dims == 64
    with pytest.raises(DataError, match="2 local features"):
        build().learn(torch.zeros(2, 128), 0)
