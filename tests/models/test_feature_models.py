"""Models on features of frames: the network that computes them, and what probe and prototypes fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

import praxiscope as px
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.fitting.logistic import DEFAULT_L2
from praxiscope.models import probe as probe_module
from praxiscope.models.contract import FitsFeatures, LearnsFromFeatures
from praxiscope.models.names import learns_of
from praxiscope.models.registered import register_model

NAMES = ("probe", "prototypes")
every = pytest.mark.parametrize("name", NAMES)


def build(name: str, classes: int = 3, **keywords: Any) -> Any:
    torch.manual_seed(0)
    return px.create_model(name, num_classes=classes, backbone="resnet10", **keywords).eval()


def videos(count: int = 12, classes: int = 3, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Features [S, 512] of videos of different lengths, non-negative as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % classes
    centres = torch.randn(classes, 512, generator=generator)
    rows = [
        (centres[target] + 2 * torch.randn(2 + number % 3, 512, generator=generator)).relu()
        for number, target in enumerate(targets.tolist())
    ]
    return rows, targets


def fit(model: Any, rows: list[Tensor], targets: Tensor, groups: list[str] | None = None) -> Any:
    x = torch.stack([model.describe(each) for each in rows])
    return model.fit(x, targets, groups or [str(number) for number in range(len(rows))], 0)


def scores(model: Any, rows: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.cat([model.score(each[None]).logits for each in rows])


def test_they_are_registered_as_models_that_learn_from_features() -> None:
    assert [learns_of(name) for name in (*NAMES, "tsn")] == ["features", "features", "frames"]
    assert isinstance(build("probe"), FitsFeatures)
    assert isinstance(build("prototypes"), FitsFeatures)
    assert not isinstance(px.create_model("tsn", num_classes=2, backbone="resnet10"), LearnsFromFeatures)
    with pytest.raises(ArgumentError, match="'stones'"):
        register_model("other", learns="stones")  # type: ignore[arg-type]


@every
@pytest.mark.parametrize("layer", [None, "layer2"])
def test_a_video_gets_the_scores_of_its_features(name: str, layer: str | None) -> None:
    model = build(name, layer=layer)
    torch.nn.init.normal_(model.classifiers[0].weight)
    frames = torch.randn(2, 4, 3, 48, 48)
    with torch.no_grad():
        output, features = model(frames), model.features(frames)
        seen = model.frame(frames, maps=["layer2"])
    expected = seen.features if layer is None else seen.maps["layer2"].mean((3, 4))
    assert torch.equal(features, expected)
    assert features.shape == (2, 4, model.width)
    assert torch.equal(output.logits, model.score(features).logits)
    assert torch.equal(output.features, features)


def test_a_layer_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"layr3.*layer3"):
        build("probe", layer="layr3")


@every
def test_the_network_never_learns_and_stays_in_evaluation_mode(name: str) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.frame.state_dict().items()}
    model.train()
    model(torch.randn(2, 2, 3, 48, 48))
    assert all(torch.equal(value, before[key]) for key, value in model.frame.state_dict().items())
    learning = [key for key, value in model.named_parameters() if value.requires_grad]
    assert all(key.startswith("head.") for key in learning)
    assert learning


@every
def test_the_protocol_has_as_many_frames_as_the_features(name: str) -> None:
    assert build(name, frames=7).default_protocol(flip=True) == "7x1"
    with pytest.raises(ArgumentError, match="at least 1, got 0"):
        build(name, frames=0)


def test_a_probe_describes_a_video_by_mean_and_maximum() -> None:
    rows = torch.randn(5, 512)
    expected = np.concatenate([rows.numpy().mean(0), rows.numpy().max(0)])
    assert np.allclose(build("probe").describe(rows).numpy(), expected, atol=1e-6)
    assert torch.equal(build("probe").describe(rows[:1]), torch.cat([rows[0], rows[0]]))


def test_a_probe_is_the_regression_of_scikit_learn_on_standardised_features() -> None:
    model = build("probe")
    rows, targets = videos()
    rows = [torch.cat([each[:, :-1], torch.full((len(each), 1), 0.3)], 1) for each in rows]  # a constant
    report = fit(model, rows, targets)
    x = torch.stack([model.describe(each) for each in rows]).double().numpy()
    std = x.std(0)
    std[std < 1e-6] = 1
    x = (x - x.mean(0)) / std
    other = LogisticRegression(C=1 / (len(x) * report.figures["l2"]), tol=1e-10, max_iter=10_000)
    expected = other.fit(x, targets.numpy()).decision_function(x)
    assert np.allclose(scores(model, rows).numpy(), expected, atol=1e-3)
    assert torch.isfinite(report.held_out_logits).all()
    constant = scores(model, [torch.cat([each[:, :-1], each[:, -1:] + 0.1], 1) for each in rows])
    assert torch.allclose(constant, scores(model, rows), atol=1e-3)


def test_a_probe_of_many_clips_holds_only_some_of_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "MANY", 9)
    model = build("probe")
    rows, targets = videos()
    report = fit(model, rows, targets)
    assert int(report.held_out_logits.isfinite().all(1).sum()) == 9 < len(rows)
    assert "9 clips" in report.lines[0]
    assert scores(model, rows).argmax(1).tolist() == targets.tolist()


def test_a_probe_of_several_labels_is_a_regression_for_each() -> None:
    model = build("probe")
    rows, classes = videos()
    targets = F.one_hot(classes, 3).float()
    targets[:6, 2] = 1
    report = fit(model, rows, targets)
    probabilities = scores(model, rows).sigmoid()
    assert probabilities.shape == (12, 3)
    assert torch.equal((probabilities > 0.5).float(), targets)
    assert report.held_out_logits.shape == (12, 3)


@every
def test_one_video_of_each_class_is_enough(name: str) -> None:
    model = build(name)
    rows, targets = videos(count=3)
    report = fit(model, rows, targets)
    assert scores(model, rows).argmax(1).tolist() == [0, 1, 2]
    assert report.held_out_logits.isnan().all()
    assert "default" in report.lines[0]
    if name == "prototypes":
        assert report.figures == {"scale": pytest.approx(20)}
    else:
        assert report.figures == {"l2": pytest.approx(DEFAULT_L2 * 1024, rel=0.01)}


def test_prototypes_are_cosines_to_class_means() -> None:
    model = build("prototypes")
    rows, targets = videos()
    report = fit(model, rows, targets)
    unit = np.stack([each.numpy().mean(0) for each in rows])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    means = np.stack([unit[targets == label].mean(0) for label in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = report.figures["scale"] * unit @ means.T
    assert np.allclose(scores(model, rows).numpy(), expected, atol=1e-4)


def test_held_out_scores_of_prototypes_leave_the_group_out() -> None:
    model = build("prototypes")
    rows, targets = videos(count=6)
    groups = ["a"] * 3 + ["b"] * 3
    report = fit(model, rows, targets, groups)
    other = build("prototypes")
    fit(other, rows[3:], targets[3:])
    cosines = scores(other, rows[:3]) / 20
    assert torch.allclose(report.held_out_logits[:3], report.figures["scale"] * cosines, atol=1e-4)
    losses = [
        float(F.cross_entropy(report.held_out_logits * factor, targets)) for factor in (1 / 1.2, 1.0, 1.2)
    ]
    assert losses[1] == min(losses)


def test_prototypes_refuse_several_labels() -> None:
    rows, classes = videos()
    with pytest.raises(ArgumentError, match="probe"):
        fit(build("prototypes"), rows, F.one_hot(classes, 3).float())
