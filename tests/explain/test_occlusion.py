"""The picture of occlusion: planted models that depend on one patch, against numbers by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.explain.occlusion import Occlusion, explain_occlusion
from praxiscope.flow.contract import FlowContract
from praxiscope.inference.fused import FusedRecogniser
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.contract import Sees
from praxiscope.types import SnippetOutput
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

SIZE, ROWS, COLUMNS = 32, 32, 40
CONTRACT = InputContract(size=SIZE, short_side=ROWS, mean=(0.2, 0.4, 0.6), std=(1.0, 1.0, 1.0), snippets=2)


class Patch(nn.Module):
    """Scores (0, weight x brightness of a patch): the mean over its pixels, from -mean to 1 - mean."""

    sees = Sees()
    streams = ("rgb",)

    def __init__(self, rows: slice, columns: slice, weight: float = 4.0) -> None:
        super().__init__()
        self.place, self.weight = (..., rows, columns), weight

    def default_protocol(self, flip: bool) -> str:
        return "2x1"

    def forward(self, x: Tensor) -> SnippetOutput:
        value = self.weight * x[self.place].mean((2, 3, 4))
        scores = torch.stack([torch.zeros_like(value), value], -1)
        return SnippetOutput(scores.mean(1), scores)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames as PNGs: brightness 200 everywhere, 100 in the last two."""
    folder = tmp_path_factory.mktemp("videos") / "frames"
    folder.mkdir()
    for number in range(5):
        pixels = np.full((ROWS, COLUMNS, 3), 200 if number < 3 else 100, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def planted(model: Any, **changes: Any) -> Recogniser:
    card = ModelCard("patch", {}, ("no", "yes"), input=replace(CONTRACT, **changes))
    return Recogniser(model, card, precision="32")


def explained(
    monkeypatch: pytest.MonkeyPatch, recogniser: Any, video: Path, *given: Any, **keywords: Any
) -> Any:
    monkeypatch.setattr("praxiscope.explain.occlusion.load", lambda run, **_: recogniser)
    return explain_occlusion("run", video, *given, **keywords).facts


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


MEAN = 0.4  # over the channels
BRIGHT = (200 + 100) / 2 / 255  # of the two snippets: frames 1 and 3


@pytest.mark.parametrize(("fill", "hidden"), [("black", 0.0), ("mean", (51 + 102 + 153) / 3 / 255)])
def test_the_patch_is_found_and_the_drop_is_that_by_hand(
    fill: Any, hidden: float, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planted(Patch(slice(8, 16), slice(16, 24)))
    facts = explained(monkeypatch, model, video, Occlusion(8, 8, fill), label="yes", top=1)
    assert facts["tops"] == facts["lefts"] == [0, 8, 16, 24]
    assert (facts["size"], facts["square"], facts["stride"]) == ([32, 32], 8, 8)
    whole, without = (sigmoid(4 * (value - MEAN)) for value in (BRIGHT, hidden))
    assert facts["probability"] == pytest.approx(whole, abs=1e-6)
    one = facts["classes"][0]
    drop = np.array(one["drop"])
    assert drop[1, 2] == pytest.approx((whole - without) / whole, abs=1e-6)
    assert (one["x"], one["y"], one["largest"]) == (20, 12, drop[1, 2])
    drop[1, 2] = 0
    assert (drop == 0).all()  # exactly


def test_networks_that_standardise_clips_see_the_mean_of_the_clip_in_the_square(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Patch(slice(8, 16), slice(16, 24))
    model.standardise = True
    facts = explained(monkeypatch, planted(model), video, Occlusion(8, 8), label="yes", top=1)
    whole, without = (
        sigmoid(4 * (value - MEAN)) for value in (BRIGHT, BRIGHT)
    )  # the clip has one grey per frame
    assert facts["fill"] == "mean"
    assert facts["probability"] == pytest.approx(whole, abs=1e-6)
    assert facts["classes"][0]["drop"][1][2] == pytest.approx(whole - without, abs=1e-6)
    black = explained(monkeypatch, planted(model), video, Occlusion(8, 8, "black"), label="yes", top=1)
    assert black["fill"] == "black"
    assert black["classes"][0]["drop"][1][2] > 0.1


def test_a_square_over_a_part_of_the_patch_takes_its_share(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planted(Patch(slice(0, 32), slice(0, 32)))
    facts = explained(monkeypatch, model, video, Occlusion(0.5, 0.375))
    assert facts["tops"] == facts["lefts"] == [0, 12, 16]  # the last one ends at the border
    whole, without = sigmoid(4 * (BRIGHT - MEAN)), sigmoid(4 * (0.75 * BRIGHT - MEAN))
    assert np.array(facts["classes"][0]["drop"]) == pytest.approx((whole - without) / whole, abs=1e-6)


def test_the_class_that_becomes_more_probable_has_a_drop_below_zero(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planted(Patch(slice(0, 8), slice(0, 8)))
    facts = explained(monkeypatch, model, video, Occlusion(16, 16), top=2)
    by_label = {one["label"]: one for one in facts["classes"]}
    yes, no = (by_label[name]["drop"][0][0] * by_label[name]["probability"] for name in ("yes", "no"))
    assert yes == pytest.approx(-no)
    assert yes > 0


def test_crops_at_the_corners_let_the_square_move_over_the_whole_frame(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planted(Patch(slice(0, 32), slice(0, 8)))
    facts = explained(monkeypatch, model, video, Occlusion(32, 8), protocol="1x10", label="yes")
    assert (facts["size"], facts["tops"], facts["lefts"]) == ([32, 40], [0], [0, 8])
    # Crops begin at the columns 0 (four of ten), 4 (two) and 8 (four); half of them are flipped, so the patch is at the
    # columns 0, 4, 8, and, flipped, at 24, 28, 32. The square hides the columns 0 to 32, then 8 to 40.
    light = 200 / 255
    whole = sigmoid(4 * (light - MEAN))
    assert facts["classes"][0]["probability"] == pytest.approx(whole, abs=1e-6)
    hidden_first = (2 * 1 + 1 * 1 + 2 * 1 + 2 * 1 + 1 * 0.5 + 2 * 0) / 10  # of the brightness
    hidden_second = (2 * 0 + 1 * 0.5 + 2 * 1 + 2 * 1 + 1 * 1 + 2 * 1) / 10
    for drop, hidden in zip(facts["classes"][0]["drop"][0], (hidden_first, hidden_second), strict=True):
        without = sigmoid(4 * (light * (1 - hidden) - MEAN))
        assert drop == pytest.approx((whole - without) / whole, abs=1e-6)


def test_parts_of_a_fused_recogniser_are_hidden_together(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = planted(Patch(slice(0, 8), slice(0, 8))), planted(Patch(slice(0, 8), slice(24, 32), 2.0))
    fused = FusedRecogniser([left, right], weights=[1.0, 3.0])
    facts = explained(monkeypatch, fused, video, Occlusion(8, 24))

    def share(one: float, other: float) -> float:
        """The weighted mean of the probabilities of the two, for the brightness of their patches."""
        return (sigmoid(4 * (one - MEAN)) + 3 * sigmoid(2 * (other - MEAN))) / 4

    whole = share(BRIGHT, BRIGHT)
    assert facts["probability"] == pytest.approx(whole, abs=1e-6)
    first, second = facts["classes"][0]["drop"]
    expected = [1 - share(0, BRIGHT) / whole, 1 - share(BRIGHT, 0) / whole]
    assert first == pytest.approx(expected, abs=1e-6)
    assert second == [0, 0]


class Motion(Patch):
    """The same of the lengths of flow."""

    streams = ("flow",)

    def forward(self, x: Tensor) -> SnippetOutput:
        return super().forward(x.abs())


def test_hidden_flow_is_no_motion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", 0, frames=6, size=(32, 48))
    flow = FlowInput(
        length=1, made=FlowContract("dis", {"preset": "fast"}, 20.0).to_dict(), subtract_mean=False
    )
    model = planted(
        Motion(slice(0, 32), slice(0, 32)), flow=flow, flow_mean=(0.0,), flow_std=(1.0,), channels=2
    )
    facts = explained(monkeypatch, model, tmp_path / "clip.mp4", Occlusion(32, 32), label="yes")
    assert facts["classes"][-1]["label"] == "yes"
    assert facts["classes"][-1]["probability"] > 0.5
    whole = facts["classes"][-1]["probability"]
    assert facts["classes"][-1]["drop"] == [[pytest.approx((whole - 0.5) / whole)]]


def test_videos_of_too_many_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxiscope.inference.inputs.LONG_FRAMES", 4)
    write_clip(tmp_path / "clip.mp4", 0, frames=6)
    given = {"num_classes": 2, "backbone": "resnet10"}
    save_checkpoint(
        tmp_path / "full",
        px.create_model("full-video", **given),
        ModelCard("full-video", given, ("no", "yes"), input=CONTRACT),
    )
    with pytest.raises(ArgumentError, match="too many frames"):
        explain_occlusion(tmp_path / "full", tmp_path / "clip.mp4", device="cpu")
    monkeypatch.setattr("praxiscope.inference.inputs.LONG_FRAMES", 6)
    facts = explain_occlusion(tmp_path / "full", tmp_path / "clip.mp4", Occlusion(16, 16), device="cpu").facts
    assert facts["size"] == [32, 43]  # it sees whole frames
    assert np.array(facts["classes"][0]["drop"]).shape == (2, 3)


def test_arguments_are_checked(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ((0.0,), (1.5,), (0.5, -1.0), (0.5, 0.5, "red")):
        with pytest.raises(ArgumentError):
            Occlusion(*given)
    model = planted(Patch(slice(0, 8), slice(0, 8)))
    with pytest.raises(ArgumentError, match="33 pixels"):
        explained(monkeypatch, model, video, Occlusion(33))
    with pytest.raises(ArgumentError, match="top"):
        explained(monkeypatch, model, video, top=0)
    with pytest.raises(UnknownNameError, match="'perhaps'"):
        explained(monkeypatch, model, video, label="perhaps")


def test_the_command_writes_the_picture_and_its_numbers(
    call: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"num_classes": 2, "backbone": "resnet10"}
    save_checkpoint(
        tmp_path / "model",
        px.create_model("tsn", **given),
        ModelCard("tsn", given, ("no", "yes"), input=CONTRACT),
    )
    path = tmp_path / "hidden.png"
    words = ("--square", 16, "--stride", 0.5, "--protocol", "1x1", "--device", "cpu", "--out", path)
    code, out, err = call("explain", "occlusion", tmp_path / "model", video, *words, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["square"], facts["tops"]) == (16, [0, 16])
    assert path.read_bytes().startswith(b"\x89PNG")
    code, _, err = call("explain", "occlusion", tmp_path / "model", video, "--fill", "red")
    assert (code, err.count("\n")) == (2, 1)
    assert "red" in err
