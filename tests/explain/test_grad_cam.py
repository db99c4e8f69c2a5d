"""Grad-CAM: against the weights of a linear classifier, finite differences, and class activation maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.evaluation.views import Precision
from praxiscope.explain.cam import explain_cam
from praxiscope.explain.cam_layers import explain_layer
from praxiscope.explain.grad_cam import grad_cam, see_layers
from praxiscope.explain.hiding import SeenFrames
from praxiscope.inference.recogniser import Recogniser
from praxiscope.video.opening import open_video
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxiscope.inference.network.inference_precision", lambda *_: Precision())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=23)
    return path


def saved(folder: Path, name: str, **keywords: Any) -> Path:
    torch.manual_seed(0)
    given = {"num_classes": 3, "backbone": "resnet10", **keywords}
    model: Any = px.create_model(name, **given)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
    contract = InputContract(size=96, short_side=96, snippets=4)
    save_checkpoint(folder / "model", model, ModelCard(name, given, LABELS, input=contract))
    return folder / "model"


def test_weights_are_the_means_of_the_gradient() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    weight = torch.randn(3, 4)
    scores = (maps.square().mean((3, 4)) @ weight.T).mean(1)
    (found,) = grad_cam([maps], scores, 1, several=True)
    gradient = 2 * maps.detach() * weight[1][:, None, None] / (3 * 30)
    alpha = gradient.mean((3, 4), keepdim=True)
    assert torch.allclose(found, (alpha * maps.detach()).sum(2), atol=1e-7)
    scores = (maps.square().mean((3, 4)) @ weight.T).mean(1)
    (found,) = grad_cam([maps], scores, 1)
    alpha = (2 * maps.detach() * (weight[1] - weight.mean(0))[:, None, None] / 90).mean((3, 4), keepdim=True)
    assert torch.allclose(found, (alpha * maps.detach()).sum(2), atol=1e-7)
    with pytest.raises(ArgumentError, match="gradient"):
        grad_cam([maps], torch.zeros(2, 3), 0)


def test_of_the_last_layer_it_is_the_class_activation_map_less_the_mean(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "tsn")
    facts = explain_cam(run, clip, protocol="4x1", top=3, frames=4, device="cpu").facts
    recogniser: Any = px.load(run, device="cpu")
    seen = SeenFrames(recogniser, open_video(clip), "4x1")
    columns = facts["networks"][0]["columns"]
    maps = {
        label: np.array(
            [next(one["map"] for one in column["classes"] if one["label"] == label) for column in columns]
        )
        for label in LABELS
    }
    mean = np.mean(list(maps.values()), axis=0)
    for number, label in enumerate(LABELS):
        (rows,) = see_layers(seen, number)
        # Each snippet is a view; the gradient of the mean over the places divides by their number.
        assert rows.maps == pytest.approx((maps[label] - mean) / maps[label][0].size, abs=1e-5)
        assert rows.layer == "layer4"
        assert rows.times_s == pytest.approx([column["time_s"] for column in columns])


def test_a_layer_is_chosen_by_its_name_and_a_wrong_one_is_answered(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "tsn")
    facts = explain_layer(run, clip, "layer2", top=1, label="b", device="cpu").facts
    for one in facts["layers"]:
        assert one["layer"] == "layer2"
        assert np.array(one["maps"]).shape == (12, 12, 12)
        place = one["strongest"]
        largest = np.array(one["maps"])[one["times_s"].index(place["time_s"])]
        row, column = np.unravel_index(largest.argmax(), largest.shape)
        assert (place["x"], place["y"]) == ((column + 0.5) / 12, (row + 0.5) / 12)
    assert "b" in [one["label"] for one in facts["layers"]]
    with pytest.raises(UnknownNameError, match="layer4"):
        explain_layer(run, clip, "layer9", device="cpu")


def test_clusters_have_a_map_each(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "full-video", clusters=5)
    (rows,) = see_layers(SeenFrames(load(run), open_video(clip)), 0)
    assert rows.maps.shape == (5, 3, 4)
    assert (np.diff(rows.times_s) > 0).all()


def load(run: Path) -> Recogniser:
    found = px.load(run, device="cpu")
    assert isinstance(found, Recogniser)
    return found


def test_a_frozen_network_has_gradients_too(clip: Path, tmp_path: Path) -> None:
    (rows,) = see_layers(SeenFrames(load(saved(tmp_path, "lstm", hidden=8)), open_video(clip)), 0)
    assert np.abs(rows.maps).max() > 0


def test_the_command_draws_a_layer(call: Any, clip: Path, tmp_path: Path) -> None:
    run, path = saved(tmp_path, "tsn"), tmp_path / "cam.png"
    code, out, err = call(
        "explain", "cam", run, clip, "--layer", "layer3", "--device", "cpu", "--out", path, "--json"
    )
    assert code == 0, err
    assert {one["layer"] for one in json.loads(out)["layers"]} == {"layer3"}
    assert path.read_bytes().startswith(b"\x89PNG")
    code, _, err = call("explain", "cam", run, clip, "--layer", "layer9", "--device", "cpu", "--out", path)
    assert code == 2
    assert "'layer9'" in err
    assert err.count("\n") == 1
