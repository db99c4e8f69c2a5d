"""The picture of estimated flow: its numbers are those of the network, and the last field leads to an unseen frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.future import explain_future
from praxiscope.flow.store import FlowStore
from support import FLOW_PARAMETERS, write_clip, write_moving

pytestmark = pytest.mark.usefixtures("_narrow")

ROWS, COLUMNS = 48, 64
FRAMES = 14


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FlowStore]:
    """A clip of 14 frames in which a square moves, and its stored flow."""
    root = tmp_path_factory.mktemp("moving")
    write_moving(root / "videos" / "right" / "clip.mp4", 2, 0, frames=FRAMES)
    extract_flow(root / "videos", root / "flow", StoreOptions(parameters=FLOW_PARAMETERS, workers=1))
    return root / "videos" / "right" / "clip.mp4", FlowStore(root / "flow")


def saved(folder: Path, name: str, length: int, labels: tuple[str, ...] = (), **keywords: Any) -> Path:
    torch.manual_seed(0)
    given = {"backbone": "resnet10", "in_channels": 3 * length, **keywords}
    model: Any = px.create_model(name, **given)
    contract = InputContract(size=32, short_side=ROWS, channels=3 * length, length=length)
    save_checkpoint(folder / "model", model, ModelCard(name, given, labels, input=contract))
    return folder / "model"


def shown(monkeypatch: pytest.MonkeyPatch, fields: int) -> list[torch.Tensor]:
    """Let networks estimate flow of (k, 0) pixels for field k, and keep what they are given."""
    given: list[torch.Tensor] = []

    def estimate(model: Any, contract: InputContract, frames: torch.Tensor) -> torch.Tensor:
        given.append(frames)
        flow = torch.zeros(len(frames), fields, 2, *frames.shape[-2:])
        flow[:, :, 0] = torch.arange(fields, dtype=torch.float32)[:, None, None]
        return flow

    monkeypatch.setattr("praxiscope.explain.future.estimate_clips", estimate)
    return given


def test_the_last_field_of_a_network_over_time_leads_to_the_frame_after_the_snippet(
    store: tuple[Path, FlowStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, (clip, flow) = saved(tmp_path, "flownet-3d", 8), store
    given = shown(monkeypatch, 8)
    made = explain_future(run, clip, frames=4, flow=flow, device="cpu")
    columns = made.facts["columns"]
    assert [column["frame"] for column in columns] == [2 + 1, 2 + 3, 2 + 5, 2 + 7]  # of the frames 2 to 9
    assert [column["future"] for column in columns] == [False, False, False, True]
    assert [column["mean_px"] for column in columns] == [1, 3, 5, 7]
    assert torch.equal(given[0][0], px.open_video(clip).frames(range(2, 10)))
    key = flow.keys()[0]
    truth = flow.clip(key).fields([3, 9]).double().numpy()
    errors = [np.hypot(k - x, y).mean() for k, (x, y) in zip((1, 7), truth, strict=True)]
    assert [columns[0]["error_px"], columns[3]["error_px"]] == pytest.approx(errors, rel=1e-5)
    assert columns[3]["repeated_px"] == pytest.approx(np.hypot(6 - truth[1, 0], truth[1, 1]).mean(), rel=1e-5)
    assert "repeated_px" not in columns[0]
    # A red border for the future field, estimated and stored.
    borders = [axes.spines["left"].get_edgecolor()[:3] for axes in made.figure.axes[:12]]
    red = [colour[0] > 0.7 > 0.2 > colour[1] for colour in borders]
    assert red == [*[False] * 7, True, *[False] * 3, True]


def test_where_the_video_ends_there_is_no_stored_flow(
    store: tuple[Path, FlowStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, (clip, flow) = saved(tmp_path, "flownet-3d", 8), store
    shown(monkeypatch, 8)
    facts = explain_future(run, clip, frames=8, start_s=8 / 12, flow=flow, device="cpu").facts
    assert [column["frame"] for column in facts["columns"]] == [8, 9, 10, 11, 12, 13, 13, 13]
    assert [column["error_px"] is None for column in facts["columns"]] == [*[False] * 5, True, True, True]
    with pytest.raises(ArgumentError, match="ends"):
        explain_future(run, clip, start_s=9.0, device="cpu")


def test_a_network_of_pairs_is_shown_at_several_times(
    store: tuple[Path, FlowStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, (clip, _) = saved(tmp_path, "flownet", 2), store
    given = shown(monkeypatch, 1)
    facts = explain_future(run, clip, frames=3, device="cpu").facts
    assert [column["frame"] for column in facts["columns"]] == [2, 6, 10]  # of 13 pairs
    assert not any(column["future"] for column in facts["columns"])
    assert torch.equal(given[2][0], px.open_video(clip).frames([10, 11]))
    with pytest.raises(ArgumentError, match="over time"):
        explain_future(run, clip, start_s=0.0, device="cpu")


def test_the_decoder_of_a_network_that_classifies_is_loaded(
    store: tuple[Path, FlowStore], tmp_path: Path
) -> None:
    run = saved(tmp_path, "actionflownet-2f", 2, ("a", "b"), num_classes=2)
    facts = explain_future(run, store[0], frames=1, device="cpu").facts
    assert facts["size"] == [ROWS, COLUMNS]
    assert facts["columns"][0]["mean_px"] > 0


def test_other_networks_and_videos_are_refused(store: tuple[Path, FlowStore], tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = {"num_classes": 2, "backbone": "resnet10"}
    save_checkpoint(tmp_path / "tsn", px.create_model("tsn", **given), ModelCard("tsn", given, ("a", "b")))
    with pytest.raises(ArgumentError, match="tsn, which does not estimate flow"):
        explain_future(tmp_path / "tsn", store[0], device="cpu")
    run = saved(tmp_path, "flownet", 2)
    with pytest.raises(ArgumentError, match="frames"):
        explain_future(run, store[0], frames=13, device="cpu")
    write_clip(tmp_path / "one.mp4", 0, frames=1)
    with pytest.raises(DataError, match="1 frame"):
        explain_future(run, tmp_path / "one.mp4", device="cpu")


def test_the_command_writes_the_picture_and_its_numbers(
    call: Any, store: tuple[Path, FlowStore], tmp_path: Path
) -> None:
    run, path = saved(tmp_path, "flownet", 2), tmp_path / "flow.png"
    words = ("explain", "future", run, store[0], "--frames", 2, "--flow", store[1].root, "--device", "cpu")
    code, out, err = call(*words, "--out", path, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert len(facts["columns"]) == 2
    assert facts["columns"][0]["error_px"] > 0
    assert path.read_bytes().startswith(b"\x89PNG")
