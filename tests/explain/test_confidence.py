"""The picture of an answer that grows with the frames, the view that it shows, and the film below it."""

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
from praxiscope.explain import confidence
from praxiscope.explain.confidence import explain_confidence
from praxiscope.explain.film import film_places, moved_apart, seconds
from praxiscope.inference import seen
from praxiscope.inference.seen import SeenView
from praxiscope.models.contract import AnswersEachFrame
from support import encode, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("a", "b", "c")
KEYWORDS: dict[str, dict[str, Any]] = {
    "conv-pool": {"width": 16},
    "local-pool": {"width": 16},
    "lstm": {"hidden": 8, "layers": 1},
    "tsm": {"shift": "causal"},
    "tsn": {},
}


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in float32 on every machine."""
    monkeypatch.setattr("praxiscope.inference.network.inference_precision", lambda *_: Precision())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames at 12 per second."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=20)
    return path


def saved(
    folder: Path, name: str, fps: float | None = None, temperature: float = 1.0, **keywords: Any
) -> Path:
    """A small model folder with scores that differ."""
    torch.manual_seed(0)
    given = {**KEYWORDS[name], "backbone": "resnet10", "num_classes": 3, **keywords}
    if name != "tsn":
        given["snippets"] = 8
    model: Any = px.create_model(name, **given)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
    sampling = "segments" if fps is None else "window"
    contract = InputContract(size=32, short_side=36, snippets=8, fps=fps, sampling=sampling)
    calibration = {"temperature": temperature, "none_below": 0.0, "false_refusals": 0.0}
    card = ModelCard(name, given, LABELS, input=contract, calibration=calibration)
    save_checkpoint(folder / "model", model, card)
    return folder / "model"


def lines(facts: dict[str, Any], name: str = "probabilities") -> np.ndarray:
    """By frame and class, in the order of the labels."""
    found = {one["label"]: one[name] for one in facts["classes"]}
    return np.array([found[label] for label in LABELS]).T


@pytest.mark.parametrize(("name", "fps"), [("conv-pool", None), ("lstm", 5.0), ("tsm", None)])
def test_after_each_frame_the_answer_is_that_of_the_video_so_far(
    name: str, fps: float | None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "_READ", 3)  # read in several parts
    run = saved(tmp_path, name, fps, temperature=2.0)
    facts = explain_confidence(run, clip, protocol="allx1", device="cpu").facts
    video, recogniser = px.open_video(clip), px.load(run, device="cpu")
    stamps = video.timestamps()
    if fps is None:
        assert facts["frame_numbers"] == list(range(20))
        assert facts["times_s"] == pytest.approx(stamps)
    else:
        assert facts["times_s"] == pytest.approx([k / 5 for k in range(9)])  # 20 / 12 s
        assert facts["frame_numbers"] == [int(k / 5 * 12 + 1e-6) for k in range(9)]
    frames = video.frames(facts["frame_numbers"], short_side=36)
    top, left = (36 - 32) // 2, (frames.shape[-1] - 32) // 2
    crops = recogniser.prepare(frames[None, :, :, top : top + 32, left : left + 32])
    with torch.inference_mode():
        for count in (1, 7):
            expected = (recogniser.model(crops[:, :count]).logits[0].double() / 2).softmax(-1)
            assert lines(facts)[count - 1] == pytest.approx(expected.numpy(), abs=1e-4)
    answer = recogniser.predict(clip, protocol="allx1", top=1)
    assert (facts["label"], facts["probability"]) == (
        answer.labels[0],
        pytest.approx(answer.scores[0], abs=1e-4),
    )
    assert ("at_each_frame" in facts["classes"][0]) == (name != "conv-pool")


def test_the_answers_at_each_frame_are_those_that_the_model_combines(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path / "sum", "lstm", answer="sum")
    facts = explain_confidence(run, clip, device="cpu").facts
    assert facts["protocol"] == "8x1"
    assert lines(facts)[-1] == pytest.approx(lines(facts, "at_each_frame").mean(0), abs=1e-5)
    last = explain_confidence(saved(tmp_path / "last", "lstm", answer="last"), clip, device="cpu").facts
    assert lines(last) == pytest.approx(lines(facts, "at_each_frame"), abs=1e-5)
    assert "at_each_frame" not in last["classes"][0]  # nothing is combined
    shifted: Any = px.load(saved(tmp_path / "tsm", "tsm"), device="cpu").model
    assert isinstance(shifted, AnswersEachFrame)
    frames = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        grown, each, _ = shifted.advance_each(frames, shifted.begin())
        torch.testing.assert_close(each, shifted(frames[None]).snippet_logits[0])
        torch.testing.assert_close(grown, each.cumsum(0) / torch.arange(1, 6)[:, None])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a model say these probabilities after the frames, [n, 3], in two parts."""

    def tell(rows: list[list[float]]) -> None:
        scores = torch.tensor(rows).log()
        monkeypatch.setattr(
            confidence, "advance_parts", lambda *_: iter([(scores[:4], None), (scores[4:], None)])
        )

    return tell


def test_classes_that_were_ahead_come_before_more_probable_ones(
    clip: Path, tmp_path: Path, told: Any
) -> None:
    run = saved(tmp_path, "conv-pool")
    told([[0.1, 0.2, 0.7]] * 3 + [[0.1, 0.8, 0.1]] + [[0.1, 0.2, 0.7]] + [[0.6, 0.3, 0.1]] * 3)
    facts = explain_confidence(run, clip, protocol="8x1", top=2, device="cpu").facts
    assert [(one["label"], one["ahead"]) for one in facts["classes"]] == [("a", 3 / 8), ("c", 4 / 8)]
    assert facts["ahead_from_s"] == facts["times_s"][5]
    facts = explain_confidence(run, clip, protocol="8x1", top=1, label="b", device="cpu").facts
    assert [one["label"] for one in facts["classes"]] == ["a", "b"]
    assert facts["true_label"] == "b"


def test_of_a_long_video_some_frames_are_listed_and_all_are_counted(
    clip: Path, tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidence, "_MOST_POINTS", 3)
    told([[0.1, 0.2, 0.7]] * 7 + [[0.6, 0.3, 0.1]])
    facts = explain_confidence(saved(tmp_path, "conv-pool"), clip, protocol="8x1", device="cpu").facts
    whole = [int(20 / 8 * (k + 0.5)) for k in range(8)]
    assert facts["every"] == 3
    assert facts["frame_numbers"] == [whole[k] for k in (0, 3, 6, 7)]
    assert lines(facts)[:, 2] == pytest.approx([0.7, 0.7, 0.7, 0.1])
    assert [one["ahead"] for one in facts["classes"]] == [1 / 8, 7 / 8, 0]


def test_models_and_protocols_without_such_a_picture_are_refused(clip: Path, tmp_path: Path) -> None:
    for name in ("tsn", "local-pool"):
        run = saved(tmp_path / name, name)
        with pytest.raises(ArgumentError, match=f"{name} .*lstm"):
            explain_confidence(run, clip, device="cpu")
    run = saved(tmp_path / "tsm", "tsm")
    for protocol in ("8x3", "25x1", "random4x1"):  # 25 views of 8 snippets
        with pytest.raises(ArgumentError, match=f"{protocol}.*allx1"):
            explain_confidence(run, clip, protocol=protocol, device="cpu")
    with pytest.raises(UnknownNameError, match="'d'"):
        explain_confidence(run, clip, label="d", device="cpu")
    with pytest.raises(ArgumentError, match="top"):
        explain_confidence(run, clip, top=0, device="cpu")


def test_the_command_writes_the_picture_and_its_numbers(call: Any, clip: Path, tmp_path: Path) -> None:
    run, path = saved(tmp_path, "lstm"), tmp_path / "grown.png"
    words = ("explain", "confidence", run, clip, "--top", 2, "--label", "b", "--device", "cpu", "--out", path)
    code, out, err = call(*words, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["frames"] == len(facts["times_s"]) == 8
    assert facts["true_label"] == "b"
    assert path.read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------ frames and times


def test_a_short_video_that_is_repeated_goes_on_in_time(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write_clip(path, 0, frames=12)
    recogniser: Any = px.load(saved(tmp_path, "lstm", fps=4.0), device="cpu")
    view = SeenView(recogniser, path, "1x1")
    assert view.numbers.tolist() == [0, 3, 6, 9, 0, 3, 6, 9]
    assert view.times_s == pytest.approx(np.arange(8) / 4)
    assert (view.start_s, view.end_s, view.repeats_s) == (0, pytest.approx(2), [pytest.approx(1)])
    assert sum(len(part) for part in view.parts()) == 8


def test_frames_that_are_seen_several_times_share_their_time_on_screen(tmp_path: Path) -> None:
    recogniser: Any = px.load(saved(tmp_path, "lstm"), device="cpu")
    for frames, numbers in ((1, [0] * 8), (2, [0, 0, 0, 0, 1, 1, 1, 1])):
        path = tmp_path / f"{frames}.mp4"
        encode(path, np.zeros((frames, 48, 64, 3), np.uint8))
        view = SeenView(recogniser, path)
        assert view.numbers.tolist() == numbers
        assert view.times_s == pytest.approx(np.arange(8) * frames / 8 / 12)
        assert view.end_s == pytest.approx(frames / 12)


def test_a_film_shows_the_frames_nearest_to_equal_parts_of_the_time_once() -> None:
    times = np.arange(90) / 10
    assert film_places(np.arange(90), times, 0.0, 9.0) == [5, 15, 25, 35, 45, 55, 65, 75, 85]
    assert film_places(np.arange(3), np.array([1.0, 2.0, 9.0]), 0.0, 10.0) == [0, 1, 2]
    assert film_places(np.zeros(8, int), np.arange(8) / 8, 0.0, 1.0) == [0]
    assert film_places(np.array([4]), np.array([2.0]), 2.0, 2.0) == [0]


def test_places_are_moved_apart_as_little_as_they_can() -> None:
    assert moved_apart([0.9, 0.1], 0.2, 0, 1) == pytest.approx([0.9, 0.1])
    assert moved_apart([0.5, 0.5, 0.1], 0.2, 0, 1) == pytest.approx([0.6, 0.4, 0.1])  # the first is above
    assert moved_apart([0.0, 0.0], 0.2, 0, 1) == pytest.approx([0.2, 0.0])
    assert moved_apart([1.0, 1.0, 1.0], 0.2, 0, 1) == pytest.approx([1.0, 0.8, 0.6])


@pytest.mark.parametrize(
    ("time_s", "most_s", "text"),
    [(2.4, 60, "2.40 s"), (2.4, 61, "0:02"), (59.7, 600, "1:00"), (3725, 7200, "1:02:05")],
)
def test_times_are_written_for_the_length_of_the_video(time_s: float, most_s: float, text: str) -> None:
    assert seconds(time_s, most_s) == text
