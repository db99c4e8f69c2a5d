"""Trained flow networks as a flow method: pairs and groups, backward flow, sizes, and what is recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.commands.arguments import check_flow_network
from praxiscope.data.flow_reader import EstimatedFlowReader
from praxiscope.errors import ArgumentError
from praxiscope.flow.contract import FlowContract, through_store
from praxiscope.flow.estimate import create_estimator, estimate_flow, estimator_of
from praxiscope.inference.flow_network import estimate_clips
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

CONTRACT = InputContract(size=64, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def saved(folder: Path, name: str = "flownet", seed: int = 0, **words: Any) -> Any:
    torch.manual_seed(seed)
    kwargs = {"backbone": "resnet10", **words}
    network: Any = px.create_model(name, **kwargs).eval()
    for prediction in network.decoder.predictions:  # they begin near zero flow
        torch.nn.init.normal_(prediction.weight, std=0.05)
    save_checkpoint(folder, network, ModelCard(name, kwargs, (), input=CONTRACT))
    return network


def frames(count: int, height: int = 64, width: int = 96) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def by_hand(network: Any, clip: Tensor) -> Tensor:
    """The flow of one clip [T, 3, H, W] whose sides are multiples of 32."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (CONTRACT.mean, CONTRACT.std))
    with torch.no_grad():
        found = network.estimate(((clip / 255 - mean) / std).reshape(1, -1, *clip.shape[2:]))[0][0]
    return F.interpolate(found, clip.shape[2:], mode="bilinear", align_corners=False) * 20


def test_two_frames_are_estimated_pair_by_pair(tmp_path: Path) -> None:
    network, seen = saved(tmp_path), frames(4)
    flow = estimate_flow(seen, "network", run=str(tmp_path))
    assert flow.shape == (3, 2, 64, 96)
    for number in range(3):
        wanted = by_hand(network, seen[number : number + 2])[0]
        torch.testing.assert_close(flow[number], wanted, rtol=1e-3, atol=1e-3)
    assert float(flow.abs().max()) > 0.1


def test_several_frames_are_estimated_in_groups_that_overlap_by_one(tmp_path: Path) -> None:
    network, seen = saved(tmp_path, "flownet-3d", in_channels=12), frames(6, 32, 64)
    estimator = create_estimator("network", run=str(tmp_path))
    assert estimator.frames_together == 4
    flow = estimator(seen)
    torch.testing.assert_close(flow[:3], by_hand(network, seen[:4])[:3], rtol=1e-3, atol=1e-3)
    rest = torch.cat([seen[3:], seen[-1:]])  # three frames are left, and the last is repeated
    torch.testing.assert_close(flow[3:], by_hand(network, rest)[:2], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "channels"), [("flownet", 6), ("flownet-3d", 9)])
def test_backward_flow_is_that_of_the_reversed_frames(tmp_path: Path, name: str, channels: int) -> None:
    saved(tmp_path, name, in_channels=channels)
    seen, estimator = frames(5, 32, 32), create_estimator("network", run=str(tmp_path))
    torch.testing.assert_close(
        estimator(seen, backward=True), estimator(seen.flip(0)).flip(0), rtol=1e-5, atol=1e-5
    )


def test_frames_of_any_size_are_padded_and_cropped(tmp_path: Path) -> None:
    network, seen = saved(tmp_path), frames(2, 50, 70)
    flow = estimate_flow(seen, "network", run=str(tmp_path))
    assert flow.shape == (1, 2, 50, 70)
    padded = F.pad(seen.float(), (13, 13, 7, 7), mode="replicate").to(torch.uint8)
    wanted = by_hand(network, padded)[0, :, 7:57, 13:83]
    torch.testing.assert_close(flow[0], wanted, rtol=1e-3, atol=1e-3)
    clips = torch.stack([seen, seen.flip(0)])
    assert torch.allclose(estimate_clips(network, CONTRACT, clips)[0, 0], flow[0], atol=1e-4)


def test_the_record_has_a_digest_of_the_weights(tmp_path: Path) -> None:
    saved(tmp_path / "one", seed=0)
    saved(tmp_path / "two", seed=1)
    one, two = (create_estimator("network", run=str(tmp_path / name)) for name in ("one", "two"))
    assert one.parameters.keys() == {"weights"}
    assert one.parameters != two.parameters
    record = {"method": one.name, **one.parameters}
    assert estimator_of(record, tmp_path / "one").parameters == one.parameters
    with pytest.raises(ArgumentError, match="two"):
        estimator_of(record, tmp_path / "two")
    with pytest.raises(ArgumentError, match="run folder"):
        estimator_of(record, None)


def test_the_digest_depends_on_all_that_decides_the_flow(tmp_path: Path) -> None:
    digests = {create_estimator("network", run=str(saved_as(tmp_path / "plain"))).parameters["weights"]}
    for name, words, contract in (
        ("standardised", {"standardise": True}, CONTRACT),
        ("other-mean", {}, replace(CONTRACT, mean=(0.5, 0.5, 0.5))),
    ):
        run = saved_as(tmp_path / name, contract, **words)
        digests.add(create_estimator("network", run=str(run)).parameters["weights"])
    assert len(digests) == 3


def saved_as(folder: Path, contract: InputContract = CONTRACT, **words: Any) -> Path:
    torch.manual_seed(0)
    kwargs = {"backbone": "resnet10", **words}
    save_checkpoint(
        folder, px.create_model("flownet", **kwargs), ModelCard("flownet", kwargs, (), input=contract)
    )
    return folder


def test_other_networks_are_refused(tmp_path: Path) -> None:
    kwargs = {"num_classes": 2, "backbone": "resnet10"}
    save_checkpoint(tmp_path, px.create_model("tsn", **kwargs), ModelCard("tsn", kwargs, ("a", "b")))
    for refused in (
        lambda: create_estimator("network", run=str(tmp_path)),
        lambda: create_estimator("network"),
        lambda: check_flow_network("network", tmp_path),
        lambda: check_flow_network("tvl1", tmp_path),
    ):
        with pytest.raises(ArgumentError):
            refused()


@pytest.mark.parametrize("backward", [False, True])
def test_parts_of_a_video_have_the_flow_of_the_whole(tmp_path: Path, backward: bool) -> None:
    saved(tmp_path / "run", "flownet-3d", in_channels=12)  # four frames, groups of three fields
    write_clip(tmp_path / "clip.mp4", 0, frames=12, size=(32, 64))
    video = open_video(tmp_path / "clip.mp4")
    estimator = create_estimator("network", run=str(tmp_path / "run"))
    contract = FlowContract(estimator.name, estimator.parameters, "20", None)
    whole = through_store(estimator(video.frames(range(12)), backward=backward), contract)
    reader = EstimatedFlowReader(estimator=estimator, contract=contract)
    record = VideoRecord("clip", tmp_path / "clip.mp4", ("a",))
    for numbers in ([0, 1, 2], [1, 2, 3, 4], [5], [2, 3, 7, 10], [10]):
        found = reader._fields(record, video, torch.tensor(numbers), backward)
        # The rounding of a pass depends on its size, and can move a value to the next level of a store.
        apart = (found - whole[numbers]).abs()
        assert float(apart.max()) < 40 / 255 + 1e-4
        assert float((apart > 1e-4).float().mean()) < 1e-3
