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
from praxiscope.errors import ArgumentError
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
    monkeypatch.setattr("praxiscope.deploy.flow_network._PIXELS", 1)
    found = list(runner.fields(root / "clip.mp4"))
    assert len(found) == 8
    assert np.allclose(found, whole, atol=1e-5)


def test_groups_overlap_by_a_frame_and_the_last_one_is_repeated() -> None:
    assert group_places(3, 2).tolist() == [[0, 1], [1, 2]]
    assert group_places(6, 4).tolist() == [[0, 1, 2, 3], [3, 4, 5, 5]]
    assert group_places(2, 4).tolist() == [[0, 1, 1, 1]]


def test_the_flow_method_takes_it_as_it_takes_the_run(root: Path) -> None:
    out = str(root / "pairs_out")
    assert check_flow_network("network", out) == out
    one, other = (create_estimator("network", run=str(root / name)) for name in ("pairs", "pairs_out"))
    assert one.parameters == other.parameters
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
