"""Exported networks of flow: stacks without torch, and networks of one and of two streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exported_models import LABELS, dis, expected, predicted_without_torch, saved
from narrow import narrow_resnets
from praxiscope import deploy
from praxiscope.commands.export import export
from praxiscope.deploy.flow import _bilinear, _resized
from praxiscope.errors import ArgumentError
from praxiscope.flow.contract import FlowContract, through_store, through_store_arrays
from praxiscope.flow.stack import field_numbers, field_places, stack_arrays, stack_fields
from praxiscope.video.geometry import resize
from support import write_moving

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_moving(path, 1, 0, frames=31)
    return path


def some(*shape: int) -> Any:
    return np.random.default_rng(0).normal(scale=5, size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(24, 31), (40, 64), (17, 40), (12, 80), (7, 2)])
def test_stacks_are_resized_and_cropped_as_by_torch(size: tuple[int, int]) -> None:
    stacks = some(2, 6, 24, 31)
    top, left, height, width = size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2
    wanted = resize(torch.from_numpy(stacks), size, "flow")[..., top : top + height, left : left + width]
    found = _resized(stacks, size, (top, left, height, width))
    assert found.dtype == np.float32
    assert np.allclose(found, wanted.numpy(), atol=1e-4)  # the weights of torch are of float32


def test_weights_of_the_interpolation() -> None:
    # Twice as large: each new pixel lies a quarter of a pixel beside an old one.
    assert np.allclose(_bilinear(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


@pytest.mark.parametrize("kind", ["stack", "stack-bidirectional", "image"])
@pytest.mark.parametrize("subtract_mean", [True, False])
def test_stacks_of_arrays_are_those_of_tensors(kind: str, subtract_mean: bool) -> None:
    length = 1 if kind == "image" else 4
    starts = np.array([[0, 3], [7, 9]])
    forward, backward = field_places(starts, kind, length, 9)
    for found, wanted in zip(
        (forward, backward), field_numbers(torch.from_numpy(starts), kind, length, 9), strict=True
    ):
        assert np.array_equal(found, wanted.numpy())
    fields = some(2, 2, forward.shape[-1], 2, 6, 8)
    reverse = some(2, 2, backward.shape[-1], 2, 6, 8) * 2 if backward.size else None
    found = stack_arrays(fields, reverse, kind, subtract_mean=subtract_mean)
    back = None if reverse is None else torch.from_numpy(reverse)
    wanted = stack_fields(torch.from_numpy(fields), back, kind, subtract_mean=subtract_mean)
    assert np.allclose(found, wanted.numpy(), atol=1e-5)
    means = found.mean((-2, -1))
    assert (np.abs(means) < 1e-5).all() == subtract_mean


def test_trajectories_need_torch() -> None:
    with pytest.raises(ArgumentError, match="trajectories"):
        stack_arrays(some(1, 4, 2, 6, 8), None, "trajectory")


@pytest.mark.parametrize("bound", [4.0, "frame"])
def test_arrays_are_quantised_as_tensors(bound: float | str) -> None:
    flow, contract = some(3, 2, 6, 8), FlowContract("dis", {}, range=bound)
    found = through_store_arrays(flow, contract)
    assert np.array_equal(found, through_store(torch.from_numpy(flow), contract).numpy())
    if bound == "frame":
        spans = np.ptp(flow, axis=(2, 3))
        assert (np.abs(found - flow).max((2, 3)) <= spans / 255 / 2 + 1e-5).all()
    else:
        assert np.abs(found).max() <= 128 * 4.0 / 127.5 + 1e-6
        inside = np.abs(flow) < 3.9
        assert np.abs(found - flow)[inside].max() <= 4.0 / 255 + 1e-5


@pytest.mark.parametrize(
    ("name", "flow", "words", "contract"),
    [
        ("tsn", dis(), {}, {}),
        ("tsn", dis(6, "stack-bidirectional", short_side=48, range="frame", subtract_mean=False), {}, {}),
        ("tsn", dis(1, "image", method="farneback"), {}, {"fps": 5.0}),
        ("late-pool", dis(3), {"width": 8}, {"max_seconds": 1.0}),
    ],
)
def test_the_scores_are_those_of_the_network(
    tmp_path: Path, clip: Path, name: str, flow: Any, words: dict[str, Any], contract: dict[str, Any]
) -> None:
    folder = saved(tmp_path / "model", name, flow=flow, contract=contract, **words)
    made = export(folder, tmp_path / "out", clips=[clip])
    assert made.description.checked["clips"]["largest"] < 1e-4
    found, wanted = deploy.load(tmp_path / "out").logits(clip), expected(folder, clip)
    assert np.allclose(found, wanted, atol=1e-4)
    assert np.ptp(wanted) > 1e-3


def test_flow_of_flipped_frames(tmp_path: Path, clip: Path) -> None:
    folder = saved(tmp_path / "model", flow=dis())
    export(folder, tmp_path / "out", protocol="3xfull-mirrored")
    found = deploy.load(tmp_path / "out").logits(clip)
    assert np.allclose(found, expected(folder, clip, "3xfull-mirrored"), atol=1e-4)
    assert not np.allclose(found, expected(folder, clip, "3xfull"), atol=1e-4)


def test_two_streams_where_torch_is_not_installed(tmp_path: Path, clip: Path) -> None:
    words = {"stream": "both", "backbone": "resnet18", "in_channels": 8}
    with narrow_resnets():  # its streams are joined in all four stages
        folder = saved(tmp_path / "model", "multiplier", flow=dis(4, short_side=30), **words)
        made = export(folder, tmp_path / "out", protocol="6x1", clips=[clip])
    assert made.description.streams == ("rgb", "flow")
    assert made.description.checked["clips"]["largest"] < 1e-4
    found = predicted_without_torch(tmp_path / "out", clip)
    with narrow_resnets():
        wanted = torch.from_numpy(expected(folder, clip, "6x1")).softmax(0).sort(descending=True)
    assert found["labels"] == [LABELS[number] for number in wanted.indices.tolist()]
    assert np.allclose(found["scores"], wanted.values.numpy(), atol=1e-4)


def test_eight_bits_of_flow(tmp_path: Path, clip: Path) -> None:
    folder = saved(tmp_path / "model", flow=dis())
    export(folder, tmp_path / "whole")
    export(folder, tmp_path / "small", int8=[clip])
    wanted, found = (deploy.load(tmp_path / one).logits(clip) for one in ("whole", "small"))
    assert 0 < np.abs(found - wanted).max() < 0.3 * np.ptp(wanted)
