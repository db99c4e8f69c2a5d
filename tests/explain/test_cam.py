"""The picture of class activation maps: its numbers are those of the network, of videos and networks of all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.evaluation.views import Precision
from praxiscope.explain.cam import explain_cam
from praxiscope.explain.heat import upsampled
from praxiscope.explain.sheet import spread
from praxiscope.flow.contract import FlowContract
from praxiscope.inference.seen import one_crop
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in float32 on every machine."""
    monkeypatch.setattr("praxiscope.inference.network.inference_precision", lambda *_: Precision())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 frames of 48 x 64 pixels."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=23)
    return path


def saved(folder: Path, name: str, contract: InputContract | None = None, **keywords: Any) -> Path:
    torch.manual_seed(0)
    given = {"num_classes": 3, "backbone": "resnet10", **keywords}
    model: Any = px.create_model(name, **given)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
        torch.nn.init.normal_(layer.bias)
    contract = contract or InputContract(size=48, short_side=48, snippets=4)
    save_checkpoint(folder / "model", model, ModelCard(name, given, LABELS, input=contract))
    return folder / "model"


def test_columns_are_evenly_spaced_snippets_with_their_scores(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "tsn")
    facts = explain_cam(run, clip, top=2, label="c", frames=4, device="cpu").facts
    (network,) = facts["networks"]
    frames = [column["frames"] for column in network["columns"]]
    assert frames == [[2], [8], [14], [20]]
    recogniser: Any = px.load(run, device="cpu")
    expected = recogniser.snippet_logits(clip, torch.tensor(frames).flatten()).double()
    answer = recogniser.predict(clip, top=3)
    assert (facts["label"], facts["probability"]) == (answer.labels[0], pytest.approx(answer.scores[0]))
    for column, row in zip(network["columns"], expected, strict=True):
        names = [one["label"] for one in column["classes"]]
        assert names[:2] == answer.labels[:2]
        assert set(names) == {*answer.labels[:2], "c"}
        for one in column["classes"]:
            score = float(row[LABELS.index(one["label"])])
            assert one["score"] == pytest.approx(score, abs=1e-4)
            assert np.mean(one["map"]) + one["bias"] == pytest.approx(score, abs=1e-4)


def test_the_strongest_place_is_where_the_map_is_largest(clip: Path, tmp_path: Path) -> None:
    facts = explain_cam(saved(tmp_path, "tsn"), clip, protocol="3xfull", frames=1, device="cpu").facts
    assert facts["size"] == [48, 64]  # whole frames
    one = facts["networks"][0]["columns"][0]["classes"][0]
    values = np.array(one["map"])
    assert values.shape == (2, 2)
    row, column = np.unravel_index(values.argmax(), (2, 2))
    assert (one["y"], one["x"]) == (24 * row + 12, 32 * column + 16)


def test_a_model_that_mixes_snippets_takes_all_of_them(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "tsm", backbone="resnet18", snippets=4)
    facts = explain_cam(run, clip, top=1, frames=2, device="cpu").facts
    columns = facts["networks"][0]["columns"]
    assert [column["frames"] for column in columns] == [[8], [20]]  # of 2, 8, 14 and 20
    recogniser: Any = px.load(run, device="cpu")
    scores = recogniser.snippet_logits(clip, torch.tensor([2, 8, 14, 20]))
    found = [column["classes"][0]["score"] for column in columns]
    assert found == pytest.approx(scores[[1, 3], LABELS.index(facts["label"])].tolist(), abs=1e-4)
    with pytest.raises(ArgumentError, match="several views"):
        explain_cam(run, clip, protocol="2x1", device="cpu")


@pytest.mark.parametrize("name", ["tsn", "tsm"])
def test_a_video_of_one_frame_has_one_column(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "one.mp4", 0, frames=1)
    keywords = {"backbone": "resnet18", "snippets": 4} if name == "tsm" else {}
    facts = explain_cam(saved(tmp_path, name, **keywords), tmp_path / "one.mp4", device="cpu").facts
    assert [column["frames"] for column in facts["networks"][0]["columns"]] == [[0]]


def test_snippets_of_several_frames_show_the_one_in_the_middle(clip: Path, tmp_path: Path) -> None:
    contract = InputContract(size=48, short_side=48, snippets=4, channels=9, length=3)
    run = saved(tmp_path, "tsn", contract, in_channels=9)
    facts = explain_cam(run, clip, protocol="2x1", device="cpu").facts
    assert [column["frames"] for column in facts["networks"][0]["columns"]] == [[5 + 1], [15 + 1]]


def test_a_network_over_time_has_a_map_for_each_part_of_the_snippet(clip: Path, tmp_path: Path) -> None:
    contract = InputContract(size=48, short_side=48, snippets=1, channels=48, length=16)
    run = saved(tmp_path, "actionflownet", contract, in_channels=48)
    facts = explain_cam(run, clip, protocol="1x1", top=1, device="cpu").facts
    first, second = facts["networks"][0]["columns"]
    assert (first["frames"], second["frames"]) == ([4 + 4], [4 + 12])  # the snippet is 4 to 19
    assert (first["time_s"], second["time_s"]) == (pytest.approx(8 / 12), pytest.approx(16 / 12))
    (one,), (other,) = first["classes"], second["classes"]
    assert one["map"] != other["map"]
    assert one["score"] == other["score"]
    assert np.mean([one["map"], other["map"]]) + one["bias"] == pytest.approx(one["score"], abs=1e-4)


def test_flow_and_frames_have_a_network_each(clip: Path, tmp_path: Path) -> None:
    made = FlowContract("dis", {"preset": "fast"}, 20.0).to_dict()
    flow = FlowInput(length=2, made=made)
    contract = InputContract(
        size=48, short_side=48, snippets=3, flow=flow, pictures=True, flow_mean=(0.0,), flow_std=(9.0,)
    )
    keywords = {"backbone": "resnet18", "in_channels": 4, "pool_window": 2, "temporal": None}
    run = saved(tmp_path, "multiplier", contract, **keywords)
    facts = explain_cam(run, clip, protocol="3x1", top=1, device="cpu").facts
    assert [network["name"] for network in facts["networks"]] == ["rgb", "flow"]
    for network in facts["networks"]:  # windows of two of the three snippets
        assert [column["frames"] for column in network["columns"]] == [[4, 11], [11, 18]]
        assert network["columns"][0]["time_s"] == pytest.approx((4 + 11) / 2 / 12)
    recogniser: Any = px.load(run, device="cpu")
    means = [
        np.mean([column["classes"][0]["score"] for column in network["columns"]])
        for network in facts["networks"]
    ]
    logits = recogniser.video_logits(clip, "3x1")
    assert np.mean(means) == pytest.approx(float(logits[LABELS.index(facts["label"])]), abs=1e-4)


def test_other_networks_are_sent_to_occlusion(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "conv-pool", width=8)
    with pytest.raises(ArgumentError, match="explain occlusion"):
        explain_cam(run, clip, device="cpu")


def test_arguments_are_checked(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "tsn")
    for keywords in ({"top": 7}, {"frames": 0}):
        with pytest.raises(ArgumentError, match=next(iter(keywords))):
            explain_cam(run, clip, device="cpu", **keywords)
    with pytest.raises(UnknownNameError, match="'d'"):
        explain_cam(run, clip, label="d", device="cpu")


def test_the_protocol_of_one_crop_sees_the_same_frames() -> None:
    names = ("25x10", "fully-convolutional", "dense4x3", "allxfull", "random40x1", "1x1")
    assert [one_crop(name) for name in names] == ["25x1", "25xfull", "dense4x1", "allxfull", "40x1", "1x1"]


def test_maps_are_enlarged_bilinearly() -> None:
    maps = torch.tensor([[[0.0, 4.0]]])
    assert upsampled(maps, 1, 4)[0, 0] == pytest.approx([0, 1, 3, 4])


def test_columns_are_the_middles_of_equal_parts() -> None:
    assert spread(3, 4) == [0, 1, 2]
    assert spread(25, 6) == [2, 6, 10, 14, 18, 22]


def test_the_command_writes_the_picture_and_its_numbers(call: Any, clip: Path, tmp_path: Path) -> None:
    run, path = saved(tmp_path, "tsn"), tmp_path / "cam.png"
    words = ("--class", "b", "--top", 1, "--frames", 2, "--device", "cpu", "--out", path)
    code, out, err = call("explain", "cam", run, clip, *words, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert len(facts["networks"][0]["columns"]) == 2
    assert "b" in [one["label"] for one in facts["networks"][0]["columns"][0]["classes"]]
    assert path.read_bytes().startswith(b"\x89PNG")
