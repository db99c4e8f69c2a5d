"""The picture of who has won a maximum over time: against numpy, on planted frames, and of models of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.evaluation.views import Precision
from praxiscope.explain.winners import _Maximum, _Won, explain_winners
from praxiscope.explain.winners_draw import _binned
from praxiscope.inference import seen
from praxiscope.models.contract import TakesMaximum
from praxiscope.models.frames_then_time import FramesThenTime
from support import encode, write_clip

LABELS = ("a", "b", "c")
BY_MAXIMUM = ("conv-pool", "late-pool", "pool", "slow-pool", "time-conv")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in float32 on every machine."""
    monkeypatch.setattr("praxiscope.inference.network.inference_precision", lambda *_: Precision())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 frames at 12 per second."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=23)
    return path


def created(name: str, **keywords: Any) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    small = {"hidden": 8, "layers": 1} if name == "lstm" else {"width": 16}
    given = {**small, "backbone": "resnet10", "num_classes": 3, "snippets": 8, **keywords}
    model: Any = px.create_model(name, **given)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
    return model.eval(), given


def saved(folder: Path, name: str, fps: float | None = None, **keywords: Any) -> Path:
    model, given = created(name, **keywords)
    sampling = "segments" if fps is None else "window"
    contract = InputContract(size=32, short_side=32, snippets=8, fps=fps, sampling=sampling)
    save_checkpoint(folder / "model", model, ModelCard(name, given, LABELS, input=contract))
    return folder / "model"


def features(run: Path, video: Path) -> tuple[Any, torch.Tensor]:
    """The model, and the features of all frames, [1, T, ...]."""
    recogniser: Any = px.load(run, device="cpu")
    frames = px.open_video(video)
    pixels = frames.frames(range(len(frames)), short_side=32)
    left = (pixels.shape[-1] - 32) // 2
    with torch.inference_mode():
        found = recogniser.model.features(recogniser.prepare(pixels[None, ..., left : left + 32]))
    return recogniser.model, found.clone()


@pytest.mark.parametrize("frames", [4, 10, 23])
@pytest.mark.parametrize("name", BY_MAXIMUM)
def test_scores_follow_from_the_maximum_of_the_candidates(name: str, frames: int) -> None:
    model, _ = created(name)
    assert isinstance(model, TakesMaximum)
    wide = 512 if name in ("late-pool", "pool") else (512, 1, 1)
    x = torch.rand(2, frames, *np.atleast_1d(wide))
    with torch.inference_mode():
        values = model.candidates(x)
        length, step = model.window
        assert values.shape[:2] == (2, max(1, (frames - length) // step + 1))
        torch.testing.assert_close(model.classify(values.amax(1)), model.score(x).logits)


@pytest.mark.parametrize("name", ["conv-pool", "late-pool", "slow-pool"])
def test_units_are_won_as_numpy_says(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "_READ", 4)  # read in several parts
    run = saved(tmp_path, name)
    facts = explain_winners(run, clip, protocol="allx1", label="b", device="cpu").facts
    model, x = features(run, clip)
    with torch.inference_mode():
        values = model.candidates(x)[0].flatten(1).numpy()
    place = values.argmax(0)
    counts = np.bincount(place, minlength=len(values))
    assert sum(one["units"] for one in facts["winners"]) == facts["units"] == values.shape[1]
    assert [one["units"] for one in facts["winners"]] == counts[counts > 0].tolist()
    assert [one["share"] for one in facts["winners"]] == pytest.approx(counts[counts > 0] / values.shape[1])
    assert facts["alike"] == (values.min(0) == values.max(0)).sum()
    at = np.flatnonzero(counts)
    if name == "slow-pool":  # windows of 10 frames, 5 apart
        assert [(one["start_frame"], one["end_frame"]) for one in facts["winners"]] == [
            (5 * k, 5 * k + 9) for k in at
        ]
    else:
        assert [one["frame"] for one in facts["winners"]] == at.tolist()
    best = torch.from_numpy(values.max(0))
    if name == "late-pool":  # the classifier alone follows
        each = best * model.over_time.classifier.weight[1].detach()
    else:
        op = model.over_time
        best.requires_grad_()
        vector = best if name == "slow-pool" else op.fc.first(best)  # maps of one place
        op.classifier(op.fc.second(vector))[1].backward()
        each = (best * best.grad).detach()
    expected = np.bincount(place, each.numpy(), minlength=len(values))[at]
    assert [one["contribution"] for one in facts["winners"]] == pytest.approx(expected, abs=1e-5)
    assert facts["contribution"] == pytest.approx(float(each.sum()), abs=1e-4)
    assert facts["score"] == pytest.approx(float(model.score(x).logits[0, 1].detach()), abs=1e-4)
    answer = px.load(run, device="cpu").predict(clip, protocol="allx1", top=1)
    assert (facts["label"], facts["probability"]) == (
        answer.labels[0],
        pytest.approx(answer.scores[0], abs=1e-4),
    )


def test_the_only_frame_with_features_wins_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def brightness(self: Any, frames: torch.Tensor) -> torch.Tensor:
        bright = frames.mean((2, 3, 4)).clamp(min=0)  # of a black frame 0
        return bright[..., None].expand(-1, -1, 512)

    monkeypatch.setattr(FramesThenTime, "features", brightness)
    run, images = saved(tmp_path, "pool"), np.zeros((20, 48, 64, 3), np.uint8)
    encode(tmp_path / "black.mp4", images)
    images[13] = 255
    encode(tmp_path / "planted.mp4", images)
    facts = explain_winners(run, tmp_path / "planted.mp4", protocol="allx1", device="cpu").facts
    assert [(one["frame"], one["units"], one["share"]) for one in facts["winners"]] == [(13, 512, 1.0)]
    assert (facts["units"], facts["alike"]) == (512, 0)
    facts = explain_winners(run, tmp_path / "black.mp4", protocol="allx1", device="cpu").facts
    assert [(one["frame"], one["units"], one["contribution"]) for one in facts["winners"]] == [(0, 512, 0.0)]
    assert facts["alike"] == 512


def test_frames_that_are_seen_again_count_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "short.mp4", 0, frames=12)
    run = saved(tmp_path, "conv-pool", fps=4.0)
    again = explain_winners(run, tmp_path / "short.mp4", protocol="1x1", device="cpu").facts  # 8 frames of 4
    once = explain_winners(run, tmp_path / "short.mp4", protocol="allx1", device="cpu").facts
    assert again["winners"] == once["winners"]
    assert again["frames"] == 4
    assert {one["frame"] for one in again["winners"]} <= {0, 3, 6, 9}


@pytest.mark.parametrize("parts", [(9,), (1, 1, 7), (4, 5)])
def test_of_equal_values_the_first_wins_whatever_the_parts(parts: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    values = draw.integers(0, 3, (9, 6, 2, 2)).astype(np.float32)
    values[:, 0] = 1
    maximum = _Maximum()
    for part in torch.from_numpy(values).split(parts):
        maximum.add(part)
    assert (maximum.place.numpy() == values.argmax(0)).all()
    assert (maximum.best.numpy() == values.max(0)).all()
    assert (maximum.alike.numpy() == (values.min(0) == values.max(0))).all()
    assert len(maximum) == 9


def test_a_frame_is_coloured_where_its_units_speak_for_the_class(clip: Path, tmp_path: Path) -> None:
    view = seen.SeenView(px.load(saved(tmp_path, "conv-pool"), device="cpu"), clip, "2x1")  # type: ignore[arg-type]
    maximum = _Maximum()
    maximum.add(
        torch.tensor([[[[1.0, 5.0]], [[1.0, 0.0]]], [[[2.0, 1.0]], [[0.0, 7.0]]]])
    )  # [2, D = 2, 1, 2]
    won = _Won(maximum, torch.tensor([[[3.0, 1.0]], [[-8.0, 1.0]]]), view, (1, 1))
    assert won.units.tolist() == [2, 2]
    assert won.contributions.tolist() == [1 - 8, 3 + 1]
    heat = won.heat([0, 1])
    assert heat is not None
    assert heat * 3 == pytest.approx(np.array([[[0.0, 1.0]], [[3.0, 1.0]]]))


def test_bars_of_many_frames_are_joined_and_none_is_lost() -> None:
    values = np.arange(1000.0)
    edges, sums, shown = _binned(np.arange(1001.0), values, [0, 999])
    assert len(edges) == len(sums) + 1 <= 401
    assert sums.sum() == values.sum()
    assert shown.tolist() == [0, len(sums) - 1]


def test_models_without_a_maximum_over_time_are_refused(clip: Path, tmp_path: Path) -> None:
    for name, keywords in (("lstm", {}), ("local-pool", {}), ("late-pool", {"reduce": "mean"})):
        run = saved(tmp_path / name, name, **keywords)
        with pytest.raises(ArgumentError, match=f"{name} .*conv-pool"):
            explain_winners(run, clip, device="cpu")
    run = saved(tmp_path / "pool", "pool")
    with pytest.raises(ArgumentError, match="top"):
        explain_winners(run, clip, top=10, device="cpu")
    with pytest.raises(UnknownNameError, match="'d'"):
        explain_winners(run, clip, label="d", device="cpu")


def test_the_command_writes_the_picture_and_its_numbers(call: Any, clip: Path, tmp_path: Path) -> None:
    run, path = saved(tmp_path, "conv-pool"), tmp_path / "won.png"
    code, out, err = call(
        "explain", "winners", run, clip, "--top", 2, "--device", "cpu", "--out", path, "--json"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert facts["units"] == sum(one["units"] for one in facts["winners"]) == 512
    assert path.read_bytes().startswith(b"\x89PNG")
