"""``--model vlad-svm``: fitted to stored maps or to videos, tested on both, and predicting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import praxiscope as px
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.evaluation.scores import Scores
from praxiscope.features.store import FeatureStore
from support import Call, write_moving

pytestmark = pytest.mark.usefixtures("_narrow")

SMALL = {"backbone": "resnet10", "size": 64, "sampling": {"frames": 3}, "workers": 1}
WORDS = ("--set", "model.words=4", "--set", "model.dims=8")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Textures that move to the right or to the left."""
    root = tmp_path_factory.mktemp("maps") / "videos"
    for name, step in (("left", -2), ("right", 2)):
        for number in range(5):
            write_moving(root / name / f"{number}.mp4", step, number, frames=17)
    return root


@pytest.fixture(scope="module")
def store(videos: Path) -> Path:
    return features(videos, videos.parent / "maps", FeatureOptions(**SMALL, pool="none"))


@pytest.mark.parametrize("encoding", ["vlad", "fisher"])
def test_stored_maps_and_videos_get_the_same_scores(
    store: Path, videos: Path, tmp_path: Path, call: Call, encoding: str
) -> None:
    run = tmp_path / "run"
    words = (*WORDS, "--set", f"model.encoding={encoding}")
    made = call("train", store, "--model", "vlad-svm", *words, "--out", run)
    assert made.code == 0, made.err
    found = px.Run(run).settings.model.keywords()
    assert (found["layer"], found["pool"], found["frames"]) == ("layer4", "none", 3)
    by_maps, by_videos = px.test(run, store), px.test(run, videos)
    assert by_maps.ids == by_videos.ids
    # Rounding may give a feature between two words to the other one.
    assert np.allclose(by_maps.logits, by_videos.logits, atol=0.02)
    told = call("predict", run, videos / "left" / "0.mp4", "--json")
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)
    assert sorted(found["labels"]) == ["left", "right"]


def test_videos_are_read_into_maps_of_the_last_layer(videos: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    small = ("--backbone", "resnet10", "--set", "input.size=64", "--workers", "1", "--set", "model.frames=3")
    made = call("train", videos, "--model", "vlad-svm", *small, *WORDS, "--out", run)
    assert made.code == 0, made.err
    contract = FeatureStore(run / "features").contract
    assert (contract.layer, contract.pool, len(contract.shape)) == ("layer4", "none", 3)
    scores = px.test(run, videos)
    assert isinstance(scores, Scores)
    assert np.isfinite(scores.logits).all()


def test_means_over_space_and_too_few_features_are_refused(
    store: Path, videos: Path, tmp_path: Path, call: Call
) -> None:
    means = features(videos, tmp_path / "means", FeatureOptions(**SMALL))
    told = call("train", means, "--model", "vlad-svm", "--out", tmp_path / "refused")
    assert told.code == 2
    assert "--pool none" in told.err
    assert not (tmp_path / "refused").exists()
    for wrong in ("model.words=0", "model.encoding=bag", "model.c=0", "model.samples=0"):
        told = call("train", store, "--model", "vlad-svm", "--set", wrong, "--out", tmp_path / "refused")
        assert told.code == 2, wrong
        assert not (tmp_path / "refused").exists()
    told = call(
        "train", store, "--model", "vlad-svm", "--set", "model.words=100000", "--out", tmp_path / "few"
    )
    assert told.code != 0
    assert "local features" in told.err
    assert "Traceback" not in told.err
