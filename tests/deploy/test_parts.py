"""Exported networks with a step between two networks: clusters of frames, and a state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from exported_models import LABELS, expected, predicted_without_torch, saved
from praxiscope import deploy
from praxiscope.commands.export import export
from praxiscope.deploy import clusters
from praxiscope.deploy.state import Carried
from praxiscope.layers.clustering import clusterings
from support import write_moving


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_moving(path, 1, 0, frames=40)
    return path


def test_the_clusters_are_those_of_pytorch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        frames, count = int(rng.integers(1, 40)), int(rng.integers(1, 12))
        distances = rng.integers(0, rng.choice([1, 2, 3, 50, 10**6]), frames - 1)
        for name, cluster in clusters.CLUSTERINGS.items():
            found = clusterings.get(name)(torch.from_numpy(distances), count).numpy()
            assert np.array_equal(cluster(distances, count), found), (name, distances, count)
    assert {*clusters.CLUSTERINGS} == {*clusterings}


def test_distances_are_counts_of_signs() -> None:
    activations = np.array([[[1, 0], [2, 3]], [[-1, 0], [5, 4]], [[-1, 1], [0, 4]]], np.float32)
    assert clusters.hamming_distances(activations).tolist() == [1, 2]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """A folder with a full-video network, and what was exported of it."""
    root = tmp_path_factory.mktemp("full")
    made = export(saved(root / "model", "full-video"), root / "out", clips=[clip])
    assert (made.description.join, made.description.snippets) == ("clusters", None)
    assert made.description.checked["clips"]["largest"] < 1e-4
    return root


@pytest.mark.parametrize("protocol", [None, "allxfull-mirrored", "2xfull"])
def test_full_videos_have_the_scores_of_the_run(full: Path, clip: Path, protocol: str | None) -> None:
    found, wanted = deploy.load(full / "out").logits(clip, protocol), expected(full / "model", clip, protocol)
    assert np.ptp(wanted) > 1e-3
    assert np.allclose(found, wanted, atol=1e-4)


def test_full_videos_have_the_clusters_of_the_run(full: Path, clip: Path) -> None:
    runner, network = deploy.load(full / "out"), px.load(full / "model", device="cpu")
    assert isinstance(runner, deploy.Runner)
    assert isinstance(runner.join, clusters.Clusters)
    (parts,) = runner.features(clip)
    ids, means = runner.join.means(parts)
    model: Any = network.model  # type: ignore[union-attr]
    with torch.inference_mode():
        output = model(network.whole_frames(clip, torch.arange(40))[None])  # type: ignore[union-attr]
    assert ids.tolist() == output.ids.tolist()
    assert len(means) == model.clusters == 8


def test_full_videos_at_a_frame_rate_and_before_the_last_relu(tmp_path: Path, clip: Path) -> None:
    words = {"aggregate": "pre", "clustering": "slope", "clusters": 5}
    folder = saved(tmp_path / "model", "full-video", contract={"fps": 5.0}, **words)
    made = export(folder, tmp_path / "out", protocol="allx1", clips=[clip])
    assert made.description.settings == {"clusters": 5, "clustering": "slope"}
    assert made.description.checked["clips"]["largest"] < 1e-4


def test_long_videos_are_read_twice(full: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = deploy.load(full / "out")
    assert isinstance(runner, deploy.Runner)
    assert isinstance(runner.join, clusters.Clusters)
    (view,) = runner.features(clip)
    asked = []

    def parts() -> Any:
        asked.append(1)
        return view()

    kept = runner.join.means(parts)
    assert len(asked) == 1
    monkeypatch.setattr(clusters, "_KEPT_BYTES", 1000)
    again = runner.join.means(parts)
    assert len(asked) == 3
    assert np.array_equal(kept[0], again[0])
    assert np.allclose(kept[1], again[1], atol=1e-6)


@pytest.mark.parametrize("frames", [1, 3])
def test_videos_with_fewer_frames_than_clusters(full: Path, tmp_path: Path, frames: int) -> None:
    short = tmp_path / "short.mp4"
    write_moving(short, 1, 0, frames=frames)
    assert np.allclose(deploy.load(full / "out").logits(short), expected(full / "model", short), atol=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"cell": "plain", "answer": "max"},
        {"answer": "sum", "multi_label": True},
        {"answer": "max", "multi_label": True},
        {"answer": "last"},
    ],
)
def test_the_state_is_carried_from_frame_to_frame(tmp_path: Path, clip: Path, words: dict[str, Any]) -> None:
    folder = saved(tmp_path / "model", "lstm", hidden=8, layers=2, **words)
    made = export(folder, tmp_path / "out", clips=[clip])
    assert (made.description.join, made.description.snippets) == ("state", None)
    runner = deploy.load(tmp_path / "out")
    wanted = expected(folder, clip)
    assert np.ptp(wanted) > 1e-4
    assert np.allclose(runner.logits(clip), wanted, atol=1e-4)
    # As many frames as there are, a few at a time, one score after each.
    model: Any = px.load(folder, device="cpu").model
    rows = np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32)
    assert isinstance(runner, deploy.Runner)
    assert isinstance(runner.join, Carried)
    found = [*runner.join.each(lambda: iter((rows[:2], rows[2:3], rows[3:])))]
    with torch.inference_mode():
        each, _ = model.advance_features(torch.from_numpy(rows), model.begin())
    assert np.allclose(np.concatenate(found), each.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["full-video", "lstm"])
def test_they_predict_where_torch_is_not_installed(tmp_path: Path, full: Path, clip: Path, name: str) -> None:
    root = full
    if name == "lstm":
        root = tmp_path
        export(saved(root / "model", name, hidden=8, layers=2), root / "out")
    found = predicted_without_torch(root / "out", clip)
    wanted = torch.from_numpy(expected(root / "model", clip)).softmax(0).sort(descending=True)
    assert found["labels"] == [LABELS[number] for number in wanted.indices.tolist()]
    assert np.allclose(found["scores"], wanted.values.numpy(), atol=1e-4)
