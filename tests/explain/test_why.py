"""The page of an answer: it is made for every model, and its numbers are those of predictions and of formulas."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard
from praxiscope.errors import PraxiscopeError, UnknownNameError, VideoError
from praxiscope.explain.hiding import Hidden, SeenFrames
from praxiscope.explain.why import Why, explain_video
from praxiscope.flow.contract import FlowContract
from praxiscope.inference.fused import FusedRecogniser
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.trajectories import TrajectoryRecogniser
from praxiscope.models import names
from praxiscope.models.contract import Sees
from praxiscope.trajectories.videos import extract_frames
from praxiscope.types import SnippetOutput
from praxiscope.video.opening import open_video
from support import Page, encode, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("a<b", "b", "c")
DIS = FlowContract("dis", {"preset": "fast"}, 20.0).to_dict()
SMALL = {"backbone": "resnet10", "dropout": 0.0, "width": 256, "hidden": 16, "layers": 2, "snippets": 4}
KEYWORDS: dict[str, dict[str, Any]] = {
    "actionflownet": {"in_channels": 12},
    "full-video": {"backbone": "resnet10", "clusters": 3},
    "multiplier": {"backbone": "resnet18", "in_channels": 4},
    "temporal-difference": {"backbone": "resnet10"},
}
for _name in names.list_models():  # a new model needs no line here
    if names.learns_of(_name) not in ("flow", "trajectories"):
        KEYWORDS.setdefault(_name, {key: SMALL[key] for key in SMALL if key in names.keywords_of(_name)})


def recogniser(name: str, seed: int = 0, **keywords: Any) -> Recogniser:
    torch.manual_seed(seed)
    given = {"num_classes": 3, **KEYWORDS[name], **keywords}
    model: Any = px.create_model(name, **given)
    for layer in model.classifiers:
        nn.init.normal_(layer.weight, std=0.5)
    contract = InputContract(size=48, short_side=48, snippets=4)
    if "flow" in model.streams:
        flow = FlowInput(length=model.channels["flow"] // 2, made=DIS)
        contract = replace(contract, flow=flow, pictures="rgb" in model.streams, channels=3)
    if model.streams == ("flow",):
        contract = replace(contract, channels=model.channels["flow"])
    if model.streams == ("rgb",):
        contract = replace(contract, channels=model.channels["rgb"], length=model.channels["rgb"] // 3)
    return Recogniser(model, ModelCard(name, given, LABELS, input=contract), precision="32")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 frames of 48 x 64 pixels."""
    path = tmp_path_factory.mktemp("clips") / "clip & co.mp4"
    write_clip(path, 0, frames=23)
    return path


def check(why: Why, found: Any, clip: Path) -> dict[str, Any]:
    """The facts of a page, which is whole, has nothing outside of it, and agrees with the prediction."""
    html = why.html()
    page = Page(re.sub("<script>.*?</script>", "<script></script>", html, flags=re.DOTALL))
    assert "<b<" not in html
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset"):
            assert value is not None
            assert value.startswith(("data:", "#")), (tag, value[:80])
        if name == "alt":
            assert value
    facts = json.loads(json.dumps(why.facts, allow_nan=False))
    answer = found.predict(clip, top=3)
    assert facts["what"]["label"] == answer.labels[0]
    assert facts["what"]["probability"] == pytest.approx(answer.scores[0], abs=1e-5)
    assert [one["label"] for one in facts["what"]["classes"]] == answer.labels
    for name in set(facts) - {"video", "duration_s", "left_out"}:
        assert f'<section id="{name}">' in html
    assert all(one["reason"] in page.text for one in facts["left_out"])
    return facts


OWN = {
    "full-video": {"clusters", "blocks"},
    "multiplier": {"gates"},
    "lstm": {"confidence"},
    "conv-pool": {"confidence", "winners"},
    "tsn": {"principal"},
}


@pytest.mark.parametrize("name", KEYWORDS)
def test_every_model_has_a_page(name: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxiscope.explain.why_parts._STRIDE", 0.375)  # 3 x 3 squares
    found = recogniser(name)
    facts = check(explain_video(found, clip), found, clip)
    assert {"when", "where"} <= set(facts)
    assert np.isfinite(facts["where"]["drop"]).all()
    assert OWN.get(name, set()) <= set(facts)
    if name in ("tsn", "full-video", "multiplier", "temporal-difference", "lstm", "probe"):
        assert facts["grad_cam"]["maps"]


class Patch(nn.Module):
    """Scores (0, weight x brightness of a patch): the mean over its pixels and the snippets."""

    sees = Sees()
    streams = ("rgb",)
    classifiers = ()
    consensus = None

    def __init__(self, rows: slice, columns: slice, weight: float = 4.0) -> None:
        super().__init__()
        self.place, self.weight = (..., rows, columns), weight

    def default_protocol(self, flip: bool) -> str:
        return "6x1"

    def forward(self, x: Tensor) -> SnippetOutput:
        value = self.weight * x[self.place].mean((2, 3, 4))
        scores = torch.stack([torch.zeros_like(value), value], -1)
        return SnippetOutput(scores.mean(1), scores)


def patched(rows: slice = slice(8, 16), columns: slice = slice(16, 24), **changes: Any) -> Recogniser:
    contract = InputContract(size=32, short_side=32, mean=(0.0,) * 3, std=(1.0,) * 3, snippets=6)
    card = ModelCard("patch", {}, ("no", "yes"), input=contract, **changes)
    return Recogniser(Patch(rows, columns), card, precision="32")


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 32 x 32 as PNGs, 1 / 12 s each: brightness 51, and 204 in the fourth."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("videos") / "lit"
    folder.mkdir()
    for number in range(6):
        pixels = np.full((32, 32, 3), 204 if number == 3 else 51, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_the_time_that_is_needed_has_the_drop_of_the_formula(lit: Path) -> None:
    facts = explain_video(patched(), lit, label="yes").facts
    whole, without = sigmoid(4 * (5 * 0.2 + 0.8) / 6), sigmoid(4 * 0.2)
    windows = facts["when"]["windows"]
    assert [one["start_s"] for one in windows] == pytest.approx([n / 12 for n in range(6)], abs=1e-6)
    assert facts["when"]["strongest"] == 3
    brighter = sigmoid(4 * (4 * 0.2 + 2 * 0.8) / 6)  # of two equally near frames the one before is taken
    drops = [0.0, 0.0, 0.0, (whole - without) / whole, (whole - brighter) / whole, 0.0]
    assert [one["drop"] for one in windows] == pytest.approx(drops, abs=1e-6)
    assert facts["what"]["probability"] == pytest.approx(whole, abs=1e-6)


def test_a_part_of_the_time_is_replaced_by_the_nearest_frames(lit: Path) -> None:
    network = patched()
    seen = SeenFrames(network, open_video(lit))
    frames = seen._without("rgb", Hidden(span_s=(1.9 / 12, 3.9 / 12)))  # frames 2 and 3
    assert frames[:, 0, 0, 0].tolist() == [51, 51, 51, 51, 51, 51]
    frames = seen._without("rgb", Hidden(span_s=(3.9 / 12, 6 / 12)))  # frames 4 and 5: the fourth stays
    assert frames[:, 0, 0, 0].tolist() == [51, 51, 51, 204, 204, 204]


def test_the_square_over_the_patch_has_the_drop_of_the_formula(lit: Path) -> None:
    facts = explain_video(patched(), lit, label="yes").facts
    whole, hidden = sigmoid(4 * 0.3), 0.5
    drops = np.array(facts["where"]["drop"])
    assert drops.shape == (7, 7)  # squares of 8 pixels, 4 apart
    assert drops[2, 4] == pytest.approx((whole - hidden) / whole, abs=1e-6)
    assert drops[2, 3] == pytest.approx((whole - sigmoid(4 * 0.15)) / whole, abs=1e-6)  # covers half of it
    away = np.delete(np.delete(drops, [1, 2, 3], 0), [3, 4, 5], 1)
    assert (away == 0).all()
    assert facts["where"]["strongest"] == pytest.approx([8 / 32, 16 / 32, 16 / 32, 24 / 32])


def test_the_answer_tells_its_threshold_calibration_and_spread(lit: Path) -> None:
    calibration = {"temperature": 2.0, "none_below": 0.9, "false_refusals": 0.05, "videos": 40, "source": "x"}
    facts = explain_video(patched(calibration=calibration), lit).facts["what"]
    assert facts["probability"] == pytest.approx(sigmoid(4 * 0.3 / 2), abs=1e-6)
    assert (facts["none_below"], facts["none_of_these"], facts["temperature"]) == (0.9, True, 2.0)
    (part,) = facts["parts"]
    views = [sigmoid(4 * (0.8 if number == 3 else 0.2) / 2) for number in range(6)]
    assert (part["views"], part["best"]) == (6, 1.0)
    assert part["mean"] == pytest.approx(np.mean(views), abs=1e-6)
    assert part["deviation"] == pytest.approx(np.std(views, ddof=1), abs=1e-6)


def test_a_fused_recogniser_needs_what_one_of_its_parts_needs(lit: Path) -> None:
    found = FusedRecogniser([patched(), patched(slice(24, 32), slice(0, 8))], weights=[3.0, 1.0])
    facts = explain_video(found, lit, label="yes").facts
    assert facts["what"]["probability"] == pytest.approx(found.predict(lit).scores[0], abs=1e-6)
    drops = np.array(facts["where"]["drop"])
    assert facts["where"]["strongest"] == pytest.approx([8 / 32, 16 / 32, 16 / 32, 24 / 32])
    assert drops[2, 4] > drops[6, 0] > 0
    assert len(facts["what"]["parts"]) == 2


def test_a_model_of_trajectories_needs_those_of_the_moving_square(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    draw = np.random.default_rng(0)
    images = np.repeat(draw.integers(0, 90, (1, 96, 128, 3), dtype=np.uint8), 20, 0)
    pattern = np.kron(draw.integers(60, 255, (12, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    for number, image in enumerate(images):  # at the left and in the upper half, always
        image[4:52, 2 + 2 * number : 50 + 2 * number] = pattern
    encode(tmp_path / "moving.mp4", images, crf="10")
    video = open_video(tmp_path / "moving.mp4")
    torch.manual_seed(0)
    model: Any = px.create_model("fisher-svm", num_classes=3, gaussians=2)
    found = extract_frames(video, model.extraction)
    model.learn(found)
    described = model.describe(found)
    model.fit(torch.stack([described, -described, 0 * described]), torch.arange(3), ["x", "y", "z"], 0)
    one = TrajectoryRecogniser(model, ModelCard("fisher-svm", {}, LABELS))
    why = explain_video(one, tmp_path / "moving.mp4")
    facts = why.facts
    assert facts["what"]["probability"] == pytest.approx(
        one.predict(tmp_path / "moving.mp4").scores[0], abs=1e-6
    )
    assert "trajectories" in facts
    assert "Grad-CAM" in [one["section"] for one in facts["left_out"]]
    drops = np.array(facts["where"]["drop"])
    assert drops[:4, :6].min() > 0.1
    assert (drops[:, -2:] == 0).all()  # nothing moves at the right, and below
    assert (drops[-1] == 0).all()


def test_the_player_has_the_video_its_address_or_its_frames(clip: Path, lit: Path) -> None:
    why = explain_video(patched(), clip)
    assert 'src="data:video/mp4;base64,' in why.html()
    linked = why.html(video_src="/videos/1?a=1&b=2")
    assert "data:video" not in linked
    assert 'src="/videos/1?a=1&amp;b=2"' in linked
    assert "media-src 'self' data: blob:;" in linked
    assert "media-src https://example.org;" in why.html(video_src="https://example.org/a.mp4")
    frames = explain_video(patched(), lit).html()
    assert "<video" not in frames
    assert "a folder of frames" in frames


def test_progress_grows_to_one_and_may_end_the_work(lit: Path) -> None:
    shares: list[float] = []
    explain_video(patched(), lit, progress=lambda share, text: shares.append(share))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)

    def stop(share: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_video(patched(), lit, progress=stop)


def test_bad_input_is_an_error_of_ours(lit: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="'maybe'"):
        explain_video(patched(), lit, label="maybe")
    with pytest.raises(VideoError):
        explain_video(patched(), tmp_path / "none.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(PraxiscopeError):
        explain_video(patched(), tmp_path / "broken.mp4")


def test_one_frame_has_no_time_to_hide(lit: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "0.png").write_bytes((lit / "00.png").read_bytes())
    facts = explain_video(patched(), tmp_path / "one").facts
    assert facts["when"]["windows"] == []
