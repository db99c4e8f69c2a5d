"""Models over time on long videos: a few frames at a time, equal to all frames together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.timeline import windows
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

MODELS: dict[str, dict[str, Any]] = {
    "conv-pool": {"width": 16},
    "late-pool": {"width": 16},
    "slow-pool": {"width": 16},
    "time-conv": {"width": 16},
    "pool": {"width": 16},
    "googlenet-conv": {"width": 16, "backbone": "googlenet"},
    "lstm": {"hidden": 8, "layers": 2},
    "lstm, plain": {"hidden": 8, "layers": 2, "cell": "plain"},
    "tsm": {"shift": "causal"},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=33)
    return path


def recogniser(name: str, fps: float | None = None, chunk: int | None = None) -> Recogniser:
    torch.manual_seed(0)
    keywords = {"num_classes": 3, "backbone": "resnet10", "snippets": 8, **MODELS[name]}
    name = name.partition(",")[0]
    model: Any = px.create_model(name, **keywords)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
    contract = InputContract(
        size=32, short_side=36, snippets=8, fps=fps, sampling="segments" if fps is None else "window"
    )
    card = ModelCard(name, {}, ("a", "b", "c"), input=contract)
    return Recogniser(model, card, precision="32", chunk_snippets=chunk)


@pytest.mark.parametrize("fps", [None, 5.0])
@pytest.mark.parametrize("name", MODELS)
def test_a_long_video_is_scored_a_few_frames_at_a_time_as_all_together(
    name: str, fps: float | None, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = recogniser(name, fps).video_logits(clip, "allx1")
    seen: list[int] = []
    monkeypatch.setattr("praxiscope.inference.inputs.LONG_FRAMES", 4)
    few = recogniser(name, fps, chunk=5)
    model: Any = few.model
    method = next(one for one in ("advance_each", "advance_features") if one in dir(model))
    known = getattr(type(model), method)

    def watched(self: Any, frames: torch.Tensor, state: Any) -> Any:
        seen.append(len(frames))
        return known(self, frames, state)

    monkeypatch.setattr(type(model), method, watched)
    torch.testing.assert_close(few.video_logits(clip, "allx1"), together, rtol=1e-4, atol=1e-5)
    count = 33 if fps is None else 14  # 33 frames at 12 per second last 2.75 s
    assert (sum(seen), max(seen)) == (count, 5)


@pytest.mark.parametrize("stride_s", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("chunk", [2, 24])
def test_frames_that_windows_share_pass_the_network_once(
    stride_s: float, chunk: int, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recogniser("lstm", chunk=chunk)
    model: Any = one.model
    expected = []
    for window in windows(px.open_video(clip), 1.0, stride_s, one.card.input):
        with torch.inference_mode():
            expected.append(model(one.prepare(window.streams["rgb"][None])).logits[0])
    seen: list[torch.Tensor] = []
    known = type(model).features

    def watched(self: Any, given: torch.Tensor) -> torch.Tensor:
        seen.append(given.flatten(0, 1))
        return known(self, given)

    monkeypatch.setattr(type(model), "features", watched)
    found = [row for _, _, row in one.window_logits(clip, 1.0, stride_s)]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-4, atol=1e-5)
    passed = torch.cat(seen)
    assert len(passed) == len(passed.flatten(1).unique(dim=0)) == 22  # 8 a second, of 2.75 s
    assert max(map(len, seen)) <= chunk


@pytest.mark.parametrize("name", ["lstm", "conv-pool"])
def test_the_frames_of_a_view_pass_the_network_in_parts(name: str, clip: Path) -> None:
    whole, parts = recogniser(name, chunk=64), recogniser(name, chunk=3)
    assert torch.allclose(whole.video_logits(clip, "10x1"), parts.video_logits(clip, "10x1"), atol=1e-5)
    assert not torch.allclose(whole.video_logits(clip, "10x1"), whole.video_logits(clip, "3x1"), atol=1e-5)


def test_models_that_are_not_causal_still_refuse_every_frame(clip: Path) -> None:
    from praxiscope.errors import ArgumentError

    MODELS["local-pool"] = {"width": 16}
    try:
        for fps, remedy in ((None, r"\b8x1\b"), (5.0, r"\b10x1\b")):
            with pytest.raises(ArgumentError, match=f"allx1.*{remedy}"):
                recogniser("local-pool", fps).video_logits(clip, "allx1")
    finally:
        del MODELS["local-pool"]
