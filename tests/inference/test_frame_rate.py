"""Models at a frame rate: which frames training, tests and timelines show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, find_checkpoint, load_card
from praxiscope.data.dataset import ClipReader, RgbReader
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.inference.inputs import frame_grid, on_grid
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.timeline import default_window, snippet_times
from praxiscope.models import create_model
from praxiscope.models.contract import Sees
from praxiscope.recipes.input_section import InputSettings
from praxiscope.training.loader import sample_snippets
from praxiscope.types import SnippetOutput, VideoRecord
from praxiscope.units import describe_rate
from video_files import write_levels

CONTRACT = InputContract(
    size=32, short_side=32, mean=(0.0,), std=(1.0,), snippets=10, fps=1.0, sampling="window"
)


class Recording(nn.Module):
    """Writes down the frames of each view that it is shown, by the numbers that `write_levels` gave them."""

    streams = ("rgb",)

    def __init__(self, sees: Sees) -> None:
        super().__init__()
        self.sees = sees
        self.seen: list[list[int]] = []

    def default_protocol(self, flip: bool) -> str:
        return "25x1"

    def forward(self, frames: Tensor) -> SnippetOutput:
        numbers = ((frames.mean((2, 3, 4)) * 255 - 10) / 5).round().int()
        self.seen += numbers.tolist()
        return SnippetOutput(numbers[:, :2].float(), numbers[..., None].float())


def recogniser(together: int | None, **changes: object) -> Recogniser:
    card = ModelCard("recording", {}, ("a", "b"), input=replace(CONTRACT, **changes))  # type: ignore[arg-type]
    return Recogniser(Recording(Sees(together=together)), card, precision="32")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 frames at 2 per second: 7 s."""
    return write_levels(tmp_path_factory.mktemp("video") / "a.mp4", range(14), 2)


def seen(model: Recogniser, video: Any, **options: Any) -> list[list[int]]:
    model.predict(video, **options)
    found: list[list[int]] = model.model.seen
    model.model.seen = []
    return found


def test_all_frames_of_the_grid_are_the_default_of_models_that_take_any_number(video: Path) -> None:
    model = recogniser(None)
    assert model.default_protocol() == "allx1"
    assert seen(model, video) == [[0, 2, 4, 6, 8, 10, 12]]
    assert recogniser(None, fps=None).default_protocol() == "1x1"
    assert recogniser(None, fps=None, sampling="segments").default_protocol() == "25x1"
    with pytest.raises(ArgumentError, match="allx1"):
        recogniser(None, fps=None).predict(video, protocol="allx1")
    assert seen(recogniser(1), video, protocol="allx1") == [[number] for number in range(0, 14, 2)]
    assert seen(recogniser(None, max_seconds=3.0), video) == [[0, 2, 4]]
    assert seen(recogniser(None, fps=4.0, max_seconds=1.5), video) == [[0, 0, 1, 1, 2, 2]]


def test_models_of_a_fixed_number_take_windows_of_it(video: Path) -> None:
    model = recogniser(None, snippets=4)
    model.model.sees = Sees(together=None, fixed_number=True)
    assert model.default_protocol() == "1x1"
    assert seen(model, video) == [[2, 4, 6, 8]]
    with pytest.raises(ArgumentError, match="4 snippets"):
        model.predict(video, protocol="allx1")
    assert windows_of(model, video, 6.0, 6.0)[0] == (0, 6, [2, 4, 6, 8])
    with pytest.raises(ArgumentError, match="together"):
        Sees(together=3, fixed_number=True)
    assert [Sees(together=n).any_number for n in (None, 1, 3)] == [True, True, False]
    assert create_model(
        "local-pool", num_classes=2, backbone="squeezenet1_1", snippets=10, width=8
    ).sees.fixed_number


def test_views_are_windows_and_short_videos_repeat(video: Path) -> None:
    model = recogniser(None)
    assert seen(model, video, protocol="1x1") == [[0, 2, 4, 6, 8, 10, 12, 0, 2, 4]]
    # Of the seven positions, windows of four start at 0 to 3: at 1 in the middle, else equally spaced.
    model = recogniser(None, snippets=4)
    assert seen(model, video, protocol="1x1") == [[2, 4, 6, 8]]
    assert seen(model, video, protocol="3x1") == [[0, 2, 4, 6], [2, 4, 6, 8], [6, 8, 10, 12]]
    assert seen(model, video, protocol="dense3x1") == seen(model, video, protocol="3x1")
    assert seen(recogniser(4, snippets=4), video, protocol="1x1") == [[2, 4, 6, 8]]
    # Times that are scored one by one are of the whole video, and so are the segments of other models.
    assert seen(recogniser(1, snippets=4), video, protocol="3x1") == [[2], [6], [10]]
    assert seen(recogniser(None, snippets=4, sampling="segments"), video, protocol="3x1") == [[2, 6, 10]]


@pytest.mark.parametrize("fps", [1.0, None])
def test_training_takes_consecutive_frames_from_a_random_start(video: Path, fps: float | None) -> None:
    contract = replace(CONTRACT, fps=fps)
    grid, length = frame_grid(contract, 1)
    reader = ClipReader(
        [VideoRecord("a", video, ("a",))],
        [torch.tensor(0)],
        sampler=on_grid(partial(sample_snippets, snippets=4, length=length, window=True), grid),
        readers={"rgb": RgbReader(32)},
    )
    step, last = (2, 4) if fps else (1, 11)
    starts = set()
    for seed in range(60):
        frames = reader.read(0, seed).streams["rgb"].float()
        numbers = ((frames.mean((1, 2, 3)) - 10) / 5).round().int().tolist()
        assert np.diff(numbers).tolist() == [step] * 3
        starts.add(numbers[0])
    assert starts == set(range(0, step * last, step))


def test_ten_of_seven_frames_repeat_from_the_start() -> None:
    for generator in (None, torch.Generator().manual_seed(1)):
        found = sample_snippets(7, generator, snippets=10, length=1, window=True)
        assert found.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert sample_snippets(10, None, snippets=4, length=1, window=True).tolist() == [3, 4, 5, 6]
    # Snippets of three frames start at 0 to 4 of seven frames.
    assert sample_snippets(7, None, snippets=6, length=3, window=True).tolist() == [0, 1, 2, 3, 4, 0]


def windows_of(model: Recogniser, video: Path, *lengths: float) -> list[tuple[float, float, list[int]]]:
    found = list(model.window_logits(video, *lengths))
    numbers = model.model.seen
    return [(start, end, shown) for (start, end, _), shown in zip(found, numbers, strict=True)]


def test_windows_of_a_timeline_have_the_frame_rate_of_training(video: Path) -> None:
    assert default_window(CONTRACT) == 10.0
    assert default_window(replace(CONTRACT, fps=None)) == 2.0
    # Two frames per second, four of them: 2 s, half a window further each.
    taken = recogniser(4, snippets=4, fps=2.0)
    assert windows_of(taken, video)[:3] == [(0, 2, [0, 1, 2, 3]), (1, 3, [2, 3, 4, 5]), (2, 4, [4, 5, 6, 7])]
    # A longer window: in its middle, or filled by a model that takes any number; the last is cut off at the end.
    assert windows_of(recogniser(4, snippets=4, fps=2.0), video, 3.0, 3.0)[0] == (0, 3, [1, 2, 3, 4])
    found = windows_of(recogniser(None, snippets=4, fps=2.0), video, 3.0, 3.0)
    assert found == [(0, 3, [0, 1, 2, 3, 4, 5]), (3, 6, [6, 7, 8, 9, 10, 11]), (6, 7, [12, 13] * 3)]
    with pytest.raises(ArgumentError, match="2 s"):
        windows_of(recogniser(4, snippets=4, fps=2.0), video, 1.0, 1.0)


def test_snippets_of_segments_are_in_the_middles_of_equal_parts() -> None:
    contract = replace(CONTRACT, fps=None, snippets=4)
    assert snippet_times(contract, 2.0) == [0.25, 0.75, 1.25, 1.75]
    assert snippet_times(replace(contract, fps=2.0, sampling="segments"), 2.0) == [0.25, 0.75, 1.25, 1.75]


def test_frames_in_memory_need_their_rate() -> None:
    frames = np.stack([np.full((32, 32, 3), 5 * number + 10, np.uint8) for number in range(6)])
    with pytest.raises(ArgumentError, match="fps"):
        recogniser(None).predict(frames)
    assert seen(recogniser(None), frames, fps=2.0) == [[0, 2, 4]]


def card_with(folder: Path, **content: object) -> ModelCard:
    folder.mkdir(exist_ok=True)
    card = {"format": 1, "name": "tsn", "kwargs": {}, "labels": ["a"], "input": content}
    (folder / "model.json").write_text(json.dumps(card))
    return load_card(folder)


def test_cards_of_models_without_a_frame_rate_are_those_of_earlier_versions(tmp_path: Path) -> None:
    old = replace(CONTRACT, fps=None, sampling="segments")
    assert not {"fps", "max_seconds", "sampling"} & set(old.to_dict())
    assert card_with(tmp_path, **old.to_dict()).input == old
    new = replace(CONTRACT, max_seconds=300.0)
    assert card_with(tmp_path, **new.to_dict()).input == new


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"fps": "1"}, {"max_seconds": True}, {"sampling": "random"}])
def test_a_card_with_a_wrong_rate_is_named(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=next(iter(wrong))):
        card_with(tmp_path, **wrong)


def test_a_frame_rate_means_windows_unless_another_choice_is_made() -> None:
    assert not InputSettings().samples_windows
    assert InputSettings(fps=2).samples_windows
    assert not InputSettings(fps=2, sampling="segments").samples_windows
    assert not InputSettings(fps=2, strides=(1, 3)).samples_windows
    with pytest.raises(ValueError, match="strides"):
        InputSettings(sampling="window", strides=(1, 3))


def test_a_rate_is_described_in_words() -> None:
    assert describe_rate(None) == ""
    assert describe_rate(1, 300) == " at 1 frame per second, of the first 300 s"
    assert describe_rate(12.5) == " at 12.5 frames per second"


def test_training_at_a_frame_rate_is_written_to_the_card(colour_set: Path, tmp_path: Path) -> None:
    small: Sequence[tuple[str, Any]] = (
        ("epochs", 1),
        ("batch", 4),
        ("size", 32),
        ("workers", 0),
        ("lr", 1e-3),
    )
    options = {"model": "tsn", "backbone": "squeezenet1_1", "pretrained": False, **dict(small)}
    run = px.train(colour_set, out=tmp_path / "run", frames=3, fps=4, **options)
    contract = load_card(find_checkpoint(run.path)).input
    assert (contract.fps, contract.sampling, contract.snippets) == (4.0, "window", 3)
    with pytest.raises(ArgumentError, match="--frames"):
        px.train(colour_set, out=tmp_path / "other", frames=3, watch=3, **options)
