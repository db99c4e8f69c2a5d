"""Exported networks that estimate flow: the flow of the network itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from exported_models import WITHOUT_TORCH, saved
from praxiscope import deploy
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.commands.arguments import check_flow_network
from praxiscope.commands.export import export
from praxiscope.deploy.flow_network import group_places
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.estimate import create_estimator, estimate_flow
from praxiscope.video.opening import open_video
from support import write_moving

CONTRACT = InputContract(size=64, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def flow_network(folder: Path, name: str, **words: Any) -> Path:
    torch.manual_seed(0)
    kwargs = {"backbone": "resnet10", **words}
    network: Any = px.create_model(name, **kwargs).eval()
    for prediction in network.decoder.predictions:  # they begin near zero flow
        torch.nn.init.normal_(prediction.weight, std=0.05)
    save_checkpoint(folder, network, ModelCard(name, kwargs, (), input=CONTRACT))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of 64 x 48 pixels, two networks, and their folders as exported."""
    folder = tmp_path_factory.mktemp("flow")
    write_moving(folder / "clip.mp4", 1, 0, frames=9)
    export(flow_network(folder / "pairs", "flownet"), folder / "pairs_out", clips=[folder / "clip.mp4"])
    export(flow_network(folder / "groups", "flownet-3d", in_channels=12), folder / "groups_out")
    return folder


@pytest.mark.parametrize(("name", "together"), [("pairs", 2), ("groups", 4)])
@pytest.mark.parametrize("backward", [False, True])
def test_the_flow_is_that_of_the_network(root: Path, name: str, together: int, backward: bool) -> None:
    frames = open_video(root / "clip.mp4").arrays(range(9))
    runner = deploy.load_flow(root / f"{name}_out")
    assert runner.description.together == together
    found = runner.arrays(frames, backward=backward)
    seen = torch.from_numpy(frames).permute(0, 3, 1, 2)
    wanted = estimate_flow(seen, "network", run=str(root / name), backward=backward).numpy()
    assert found.shape == (8, 2, 48, 64)
    assert found.dtype == np.float32
    assert np.abs(wanted).max() > 0.1
    assert np.allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert not np.allclose(found, found[:, :, ::-1], atol=0.01 * np.abs(wanted).max())


def test_the_check_compares_pixels(root: Path) -> None:
    checked = deploy.load_flow(root / "pairs_out").description.checked
    assert checked["clips"]["count"] == 1
    assert checked["clips"]["largest"] < 1e-3
    assert checked["noise"] < 1e-4


def test_a_few_frames_of_a_video_are_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = deploy.load_flow(root / "groups_out")
    whole = runner.arrays(open_video(root / "clip.mp4").arrays(range(9)))
    given, clips = [], []
    arrays, network = runner.arrays, runner._network
    monkeypatch.setattr(runner, "arrays", lambda frames: given.append(len(frames)) or arrays(frames))
    monkeypatch.setattr(runner, "_network", lambda x: clips.append(len(x["rgb"])) or network(x))
    assert len(list(runner.fields(root / "clip.mp4"))) == 8
    assert (given, clips) == ([9], [3])
    monkeypatch.setattr("praxiscope.deploy.flow_network._PIXELS", 1)
    found = list(runner.fields(root / "clip.mp4"))
    assert np.allclose(found, whole, atol=1e-5)
    assert (given[1:], clips[1:]) == ([4, 4, 3], [1, 1, 1])


def test_large_dark_frames_are_standardised_as_they_are_by_pytorch(tmp_path: Path) -> None:
    run = flow_network(tmp_path / "run", "flownet", standardise=True)
    made = export(run, tmp_path / "out")
    assert made.description.checked["noise"] < 1e-4
    frames = np.random.default_rng(0).integers(0, 6, (2, 480, 960, 3), dtype=np.uint8)
    found = deploy.load_flow(tmp_path / "out").arrays(frames)
    seen = torch.from_numpy(frames).permute(0, 3, 1, 2)
    wanted = estimate_flow(seen, "network", run=str(run)).numpy()
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 48, 64, 3), np.uint8),
        np.zeros((0, 48, 64, 3), np.uint8),
        np.zeros((2, 3, 48, 64), np.uint8),
        np.zeros((2, 48, 64, 3), np.float32),
    ],
)
def test_frames_of_another_shape_or_type_are_refused(root: Path, frames: Any) -> None:
    with pytest.raises(ArgumentError, match="frames must be uint8"):
        deploy.load_flow(root / "pairs_out").arrays(frames)


def test_a_video_of_one_frame_is_left_out_of_the_check(root: Path, tmp_path: Path) -> None:
    write_moving(tmp_path / "one.mp4", 0, 0, frames=1)
    clips = [tmp_path / "one.mp4", root / "clip.mp4"]
    assert export(root / "pairs", tmp_path / "out", clips=clips).description.checked["clips"]["count"] == 1
    with pytest.raises(DataError, match="1 frame"):
        export(root / "pairs", tmp_path / "other", clips=clips[:1])


def test_an_unknown_model_is_told_as_before(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    card = folder / "model.json"
    card.write_text(card.read_text().replace('"tsn"', '"unknown"'))
    with pytest.raises(CheckpointError, match="unknown"):
        export(folder, tmp_path / "out")


def test_groups_overlap_by_a_frame_and_the_last_one_is_repeated() -> None:
    assert group_places(3, 2).tolist() == [[0, 1], [1, 2]]
    assert group_places(6, 4).tolist() == [[0, 1, 2, 3], [3, 4, 5, 5]]
    assert group_places(2, 4).tolist() == [[0, 1, 1, 1]]


def test_the_flow_method_takes_it_as_it_takes_the_run(root: Path) -> None:
    out = str(root / "pairs_out")
    assert check_flow_network("network", out) == out
    one, other = (create_estimator("network", run=str(root / name)) for name in ("pairs", "pairs_out"))
    assert one.parameters == other.parameters
    assert create_estimator("network", run=str(root / "groups")).parameters != one.parameters
    seen = torch.from_numpy(open_video(root / "clip.mp4").arrays(range(4))).permute(0, 3, 1, 2)
    assert torch.allclose(one(seen), other(seen), atol=1e-3)
    assert other.frames_together == 2  # type: ignore[attr-defined]


def test_it_needs_no_torch(root: Path) -> None:
    code = "from praxiscope import deploy; print(sum(1 for _ in deploy.load_flow(sys.argv[1]).fields(sys.argv[2])))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_TORCH}\n{code}", root / "pairs_out", root / "clip.mp4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == "8", ran.stderr


def test_what_is_for_classes_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--method network"):
        deploy.load(root / "pairs_out")
    with pytest.raises(ArgumentError, match="--protocol"):
        export(root / "pairs", tmp_path / "out", protocol="1x1")
    with pytest.raises(ArgumentError, match="--int8"):
        export(root / "pairs", tmp_path / "out", int8=[root / "clip.mp4"])
    assert list(tmp_path.iterdir()) == []
    export(saved(tmp_path / "model"), tmp_path / "classes")
    for call in (deploy.load_flow, lambda folder: check_flow_network("network", folder)):
        with pytest.raises(ArgumentError, match="tsn"):
            call(tmp_path / "classes")
