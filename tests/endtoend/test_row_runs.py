"""Runs of models over time on stored features: the same training as on frames, with a network that does not learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.store import FeatureStore
from praxiscope.training.log import read_log
from runs import Stop, assert_same_weights, losses, weights
from support import Call

pytestmark = pytest.mark.usefixtures("_narrow")

SMALL = {"backbone": "squeezenet1_1", "size": 32, "workers": 1, "precision": "32"}
LSTM: dict[str, Any] = {"model": "lstm", "model.hidden": 8, "optim.epochs": 2, "run.tensorboard": False}


@pytest.fixture(scope="module")
def store(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = FeatureOptions(**SMALL, sampling={"frames": 3})
    return features(colour_set, tmp_path_factory.mktemp("stores") / "three", options)


@pytest.fixture(scope="module")
def every(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = FeatureOptions(**SMALL, sampling={"every": True})
    return features(colour_set, tmp_path_factory.mktemp("stores") / "every", options)


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "lstm"
    assert px.train(store, out=out, **LSTM).finished
    return out


def test_training_on_rows_is_training_on_frames_with_a_frozen_network(
    every: Path, colour_set: Path, tmp_path: Path
) -> None:
    same = {**LSTM, "input.snippets": 4, "run.precision": "32"}
    px.train(every, out=tmp_path / "rows", **same)
    on_frames = {
        "recipe": "features-lstm",
        "weights": str(every / "network"),
        "backbone": "squeezenet1_1",
        "model.frozen": True,
        "input.size": 32,
        "input.short_side": load_card(every / "network").input.short_side,
        "input.crop": "center",
        "input.flip": False,
    }
    px.train(colour_set, out=tmp_path / "frames", **same, **on_frames)
    np.testing.assert_allclose(losses(tmp_path / "rows"), losses(tmp_path / "frames"), rtol=1e-5)
    one, other = weights(tmp_path / "rows"), weights(tmp_path / "frames")
    assert one.keys() == other.keys()
    start = load_file(str(every / "network" / "model.safetensors"))
    for name, tensor in one.items():
        if name.startswith("frame.backbone.classifier"):
            continue  # of the network of frames, and not used
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-5, msg=name)
        if name.startswith("frame.backbone.features"):
            assert torch.equal(tensor, start[name.removeprefix("frame.")]), name


def test_a_run_validates_keeps_the_best_and_scores_videos_as_rows(
    run: Path, store: Path, colour_set: Path
) -> None:
    rows = [row for row in read_log(run / "log.csv") if "val_top1" in row]
    assert len(rows) == 2
    recogniser = px.load(run)
    card = recogniser.card
    assert card.features == FeatureStore(store).contract.to_dict()
    assert (card.input.snippets, card.input.fps, recogniser.default_protocol()) == (3, None, "3x1")
    by_rows, by_videos = px.test(run, store), px.test(run, colour_set)
    assert list(by_rows.ids) == list(by_videos.ids)
    np.testing.assert_allclose(by_rows.logits, by_videos.logits, atol=2e-3)


def test_a_resumed_run_ends_with_the_same_bits(
    store: Path, run: Path, tmp_path: Path, stop_after: Stop
) -> None:
    stop_after(3)
    assert not px.train(store, out=tmp_path / "halves", **LSTM).finished
    stop_after(None)
    assert px.train(store, out=tmp_path / "halves", resume=True, **LSTM).finished
    assert losses(tmp_path / "halves") == losses(run)
    assert_same_weights(tmp_path / "halves", run)


def test_models_of_maps_learn_from_stored_maps_alone(
    store: Path, colour_set: Path, tmp_path: Path, call: Call
) -> None:
    told = call("train", store, "--model", "conv-pool", "--out", tmp_path / "refused")
    assert told.code == 2
    assert "conv-pool" in told.err
    assert str(store) in told.err
    assert "--pool none" in told.err
    assert not (tmp_path / "refused").exists()
    layer = told.err.split("--layer ")[1].split()[0]
    options = FeatureOptions(**SMALL, sampling={"frames": 3}, layer=layer, pool="none")
    maps = features(colour_set, tmp_path / "maps", options)
    made = px.train(
        maps, out=tmp_path / "conv", model="conv-pool", **{"model.width": 8, "optim.epochs": 1, "lr": 1e-3}
    )
    assert px.Run(made.path).settings.model.keywords()["standardise"] is True
    by_rows, by_videos = px.test(made.path, maps), px.test(made.path, colour_set)
    # The clips are much alike: standardised, their features are a multiple of what rounding makes of them.
    np.testing.assert_allclose(by_rows.logits, by_videos.logits, atol=2e-2)
    with pytest.raises(DataError, match="pool"):
        px.test(made.path, store)


@pytest.mark.parametrize(("model", "usual"), [("pool", "allx1"), ("local-pool", "1x1")])
def test_windows_of_rows_at_a_frame_rate_score_as_windows_of_videos(
    model: str, usual: str, colour_set: Path, tmp_path: Path
) -> None:
    rate = float(next(px.open_video(path).fps for path in sorted(colour_set.rglob("*.mp4"))))
    layer = px.create_model(model, num_classes=2, backbone="squeezenet1_1", snippets=10).layer_names()[-1]
    options = FeatureOptions(**SMALL, sampling={"fps": rate}, layer=layer, pool="none")
    store = features(colour_set, tmp_path / "rows", options)
    given = {"model.width": 8, "optim.epochs": 1, "input.snippets": 10, "input.sampling": "window"}
    given["model.standardise"] = False  # so that differences of rounding stay small
    made = px.train(store, out=tmp_path / "run", model=model, **given)
    assert px.load(made.path).default_protocol() == usual
    found = {}
    for protocol in (None, "3x1"):
        by_rows = found[protocol] = px.test(made.path, store, protocol=protocol)
        by_videos = px.test(made.path, colour_set, protocol=protocol)
        assert by_rows.protocol["name"] == by_videos.protocol["name"] == (protocol or usual)
        np.testing.assert_allclose(by_rows.logits, by_videos.logits, atol=2e-3)
    assert abs(found[None].logits - found["3x1"].logits).max() > 1e-4
    with pytest.raises(ArgumentError, match="1x10"):
        px.test(made.path, store, protocol="1x10")


def test_a_network_of_more_rows_starts_from_one_of_fewer(
    store: Path, colour_set: Path, tmp_path: Path
) -> None:
    still = {"optim.lr": 1e-12, "optim.schedule": "constant", "optim.epochs": 1, "run.tensorboard": False}
    one = px.train(
        store, out=tmp_path / "one", model="pool", **still, **{"model.width": 8, "input.snippets": 1}
    )
    three = px.train(store, out=tmp_path / "three", start=one.path, **still, **{"input.snippets": 3})
    assert load_card(find_checkpoint(three.path)).kwargs["width"] == 8
    before, after = weights(one.path), weights(three.path)
    counted = "over_time.fc.standardise.count"
    assert int(after[counted]) > int(before[counted]) > 0
    for name, value in before.items():
        if "standardise" not in name:  # statistics go on
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-8, msg=name)
    torch.manual_seed(5)
    network: Any = px.create_model("frame", num_classes=2, backbone="squeezenet1_1")
    torch.save(network.state_dict(), tmp_path / "other.pt")
    options = FeatureOptions(**SMALL, weights=tmp_path / "other.pt", sampling={"frames": 3})
    other = features(colour_set, tmp_path / "other", options)
    with pytest.raises(ArgumentError, match="not that of the features"):
        px.train(other, out=tmp_path / "refused", start=one.path, **still)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--size", "64"), "--size"),
        (("--backbone", "resnet18"), "--backbone"),
        (("--flow", "flow"), "--flow"),
        (("--fps", "2"), "--fps"),
        (("--set", "input.flip=false"), "input.flip"),
        (("--set", "input.crop=center"), "input.crop"),
        (("--set", "optim.probe=true"), "optim.probe"),
        (("--choose", "2"), "--choose"),
        (("--backprop", "cached"), "--backprop"),
        (("--pretrained",), "--pretrained"),
        (("--model", "local-pool", "--frames", "3"), "local-pool"),
    ],
)
def test_options_without_a_meaning_are_refused(
    words: tuple[str, ...], named: str, store: Path, tmp_path: Path, call: Call
) -> None:
    told = call("train", store, "--model", "lstm", *words, "--out", tmp_path / "run")
    assert told.code == 2
    assert named in told.err
    assert str(store) in told.err
    assert not (tmp_path / "run").exists()


def test_the_settings_come_from_the_recipe_of_features_and_from_the_store(run: Path) -> None:
    settings = px.Run(run).settings
    assert (settings.optim.name, settings.data.validation, settings.optim.patience) == ("adamw", 0.2, 5)
    assert (settings.input.snippets, settings.input.size, settings.model.backbone) == (3, 32, "squeezenet1_1")
    assert settings.model.keywords()["layers"] == 1


def test_features_of_another_network_are_not_scored(run: Path, colour_set: Path, tmp_path: Path) -> None:
    options = FeatureOptions(**{**SMALL, "size": 48}, sampling={"frames": 3})
    other = features(colour_set, tmp_path / "other", options)
    with pytest.raises(DataError) as told:
        px.test(run, other)
    assert "input.size=32" in str(told.value)
    assert "input.size=48" in str(told.value)


def test_a_model_that_fits_another_number_of_rows_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        px.train(store, out=tmp_path / "run", **{**LSTM, "input.snippets": 0})
