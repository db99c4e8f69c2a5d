"""Random examples of videos: what is drawn, and the hits of single examples and of their average."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.clip_hits import ClipHits
from praxiscope.evaluation.metrics import hit_at_k, shown_figures, summarise
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference import examples
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.models.contract import Sees
from praxiscope.types import SnippetOutput, VideoRecord
from support import write_clip

SIZE, ROWS, COLUMNS = 16, 20, 30
CONTRACT = InputContract(size=SIZE, short_side=ROWS, mean=(0.0,), std=(1.0,), snippets=4, sampling="window")


def frames(count: int) -> np.ndarray:
    """Frame k, row y and column x have the colour (k, y, x)."""
    k, y, x = np.mgrid[:count, :ROWS, :COLUMNS]
    return np.stack([k, y, x], axis=-1).astype(np.uint8)


class Places(nn.Module):
    """Writes down (frame, top row, left column, whether it is flipped) of all snippets of each view."""

    streams = ("rgb",)
    sees = Sees(together=None)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[tuple[int, int, int, bool]]] = []

    def default_protocol(self, flip: bool) -> str:
        return "25x1"

    def forward(self, views: Tensor) -> SnippetOutput:
        assert views.shape[2:] == (3, SIZE, SIZE)
        pixels = (views * 255).round().int()
        for view in pixels:
            left, right = view[:, 2, 0, 0], view[:, 2, 0, -1]
            assert ((right - left).abs() == SIZE - 1).all()
            columns, flipped = torch.minimum(left, right).tolist(), (right < left).tolist()
            self.seen.append(
                list(zip(view[:, 0, 0, 0].tolist(), view[:, 1, 0, 0].tolist(), columns, flipped, strict=True))
            )
        means = views.mean((1, 3, 4))
        return SnippetOutput(means * torch.tensor([9.0, 5.0, -7.0]), means[:, None])


def places(**changes: object) -> Recogniser:
    card = ModelCard("places", {}, ("a", "b", "c"), input=replace(CONTRACT, **changes))  # type: ignore[arg-type]
    return Recogniser(Places(), card, precision="32")


def seen(model: Recogniser, video: Any, protocol: str) -> list[list[tuple[int, int, int, bool]]]:
    model.model.seen = []
    model.predict(video, protocol=protocol)
    return list(model.model.seen)


def test_an_example_has_a_random_start_and_one_crop_and_one_flip() -> None:
    found = seen(places(), frames(9), "random400x1")
    assert len(found) == 400
    for example in found:
        numbers, *crop = zip(*example, strict=True)
        assert np.diff(numbers).tolist() == [1, 1, 1]
        assert all(len(set(values)) == 1 for values in crop)
    starts, tops, lefts, flips = zip(*(example[0] for example in found), strict=True)
    # All places occur, about equally often (within five standard deviations), and each part is drawn by itself.
    for values, count in ((starts, 6), (tops, ROWS - SIZE + 1), (lefts, COLUMNS - SIZE + 1), (flips, 2)):
        share, found_each = 1 / count, np.unique(values, return_counts=True)[1]
        assert len(found_each) == count
        assert abs(found_each / 400 - share).max() < 5 * (share * (1 - share) / 400) ** 0.5
    correlations = np.corrcoef(np.array([starts, tops, lefts, flips], dtype=float))
    assert abs(correlations - np.eye(4)).max() < 5 / 400**0.5


def test_short_videos_repeat_and_other_models_draw_segments() -> None:
    short = {tuple(at[0] for at in example) for example in seen(places(), frames(3), "random5x1")}
    assert short == {(0, 1, 2, 0)}
    for example in seen(places(sampling="segments"), frames(12), "random20x1"):
        assert [at[0] // 3 for at in example] == [0, 1, 2, 3]
    assert not any(example[0][3] for example in seen(places(flip=False), frames(9), "random50x1"))


def test_the_seed_fixes_the_examples() -> None:
    model = places()
    first = seen(model, frames(9), "random30x1")
    assert seen(model, frames(9), "random30x1@0") == first
    assert seen(model, frames(9), "random10x1") == first[:10]
    assert seen(model, frames(9), "random30x1@1") != first
    crops = [at[1:3] for (at, *_) in seen(places(flip=False), frames(9), "random30x1")]
    assert crops == [at[1:3] for (at, *_) in first]


def test_ten_crops_are_taken_of_the_snippets_of_each_draw() -> None:
    model = places(flip=False)
    starts = [[at[0] for at in example] for example in seen(model, frames(40), "random3x1@5")]
    found = seen(model, frames(40), "random3x10@5")
    assert [[at[0] for at in example] for example in found] == [row for row in starts for _ in range(10)]
    down, right = ROWS - SIZE, COLUMNS - SIZE
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    ten = [(*corner, flipped) for flipped in (False, True) for corner in corners]
    assert [example[0][1:] for example in found] == 3 * ten
    assert all(len({at[1:] for at in example}) == 1 for example in found)
    protocol = parse_protocol("random25x10@3")
    assert (protocol.views, protocol.seed, protocol.average) == (250, 3, "softmax")
    with pytest.raises(ArgumentError, match="random25x3"):
        parse_protocol("random25x3")


def test_videos_of_many_frames_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = places()
    expected, logits = seen(model, frames(60), "random30x1"), model.video_logits(frames(60), "random30x1")
    read = examples.ExampleReader._read
    sizes = []

    def measured(self: Any, *given: Any) -> Any:
        clip = read(self, *given)
        sizes.append(0 if clip.long else len(clip.streams["rgb"]))
        return clip

    monkeypatch.setattr(examples, "LONG_FRAMES", 10)
    monkeypatch.setattr(examples.ExampleReader, "_read", measured)
    assert seen(model, frames(60), "random30x1") == expected
    assert 0 < max(sizes) <= 10
    assert torch.allclose(model.video_logits(frames(60), "random30x1"), logits, atol=1e-6)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kwargs = {"backbone": "squeezenet1_1", "num_classes": 3}
    torch.manual_seed(3)
    contract = InputContract(size=32, short_side=36, snippets=2)
    folder = tmp_path_factory.mktemp("model") / "run"
    save_checkpoint(
        folder,
        create_model("tsn", **kwargs),
        ModelCard("tsn", kwargs, ("red", "green", "blue"), input=contract),
    )
    return folder


def test_scores_do_not_depend_on_processes_or_the_order_of_videos(
    model_folder: Path, tmp_path: Path, watched_rows: list[tuple[int, Tensor]]
) -> None:
    records = []
    for number in range(3):
        write_clip(tmp_path / f"{number}.mp4", number, seed=number)
        records.append(VideoRecord(f"v{number}", tmp_path / f"{number}.mp4", ("red",)))
    targets = [torch.tensor(0), torch.tensor(-1), torch.tensor(2)]
    model = px.load(model_folder, device="cpu")
    plain, _ = model.score(records, targets, "random4x1@7", workers=0)
    assert plain.protocol["seed"] == 7
    assert "seed" not in parse_protocol("25x1").as_dict()
    rows = list(watched_rows)
    again, _ = model.score(records[::-1], targets[::-1], "random4x1@7", workers=2)
    np.testing.assert_allclose(again.reordered(plain.ids).logits, plain.logits, atol=1e-6)
    chances = [
        torch.stack([row.softmax(0) for target, row in rows if target == number]).mean(0)
        for number in (0, -1, 2)
    ]
    np.testing.assert_allclose(torch.from_numpy(plain.logits).softmax(1), torch.stack(chances), atol=1e-5)
    # Hits of the examples, and of the videos, counted by the metric of many rows.
    known = [(number, row) for number, row in rows if number >= 0]
    one_hot = np.eye(3)[[number for number, _ in known]]
    clip_hit = hit_at_k(torch.stack([row for _, row in known]), one_hot, 1)
    figures = summarise(plain)
    assert figures["clip_hit1"] == pytest.approx(clip_hit)
    assert figures["video_hit1"] == hit_at_k(plain.logits[[0, 2]], np.eye(3)[[0, 2]], 1)
    assert figures["clip_hit5"] == figures["video_hit5"] == 1
    assert {"clip_hit1", "video_hit1"} <= set(shown_figures(figures))
    assert not {"clip_hit5", "video_hit5"} & set(shown_figures(figures))  # of three classes


@pytest.fixture
def watched_rows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Tensor]]:
    """The target and the scores of every example that is counted."""
    rows: list[tuple[int, Tensor]] = []
    add: Callable[..., None] = ClipHits.add

    def noted(self: ClipHits, target: Tensor, logits: Tensor) -> None:
        rows.append((int(target), logits))
        add(self, target, logits)

    monkeypatch.setattr(ClipHits, "add", noted)
    return rows


def test_hits_are_those_of_any_label_in_the_best_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(5, (50, 8), generator=generator).float()  # many are equal
    positives = (torch.rand(50, 8, generator=generator) < 0.2).int()
    hits = ClipHits()
    for row, labels in zip(logits, positives, strict=True):
        hits.add(labels, row)
    assert hits.figures() == {f"clip_hit{k}": pytest.approx(hit_at_k(logits, positives, k)) for k in (1, 5)}
    assert ClipHits().figures() == {}


def test_a_test_reports_hits_of_clips_and_of_videos(model_folder: Path, colour_set: Path, call: Any) -> None:
    result = call("test", model_folder, colour_set, "--protocol", "random3x1", "--workers", "0", "--json")
    content = json.loads(result.out)
    assert content["protocol"] == "random3x1"
    assert content["video_hit1"] == content["top1"]
    assert 0 <= content["clip_hit1"] <= 1
    assert "Clip Hit@1" in Path(content["report"]).read_text()


def test_models_of_every_frame_have_no_examples() -> None:
    model = places()
    model.model.sees = Sees(frames="all", together=2)
    with pytest.raises(ArgumentError, match="random3x1"):
        model.predict(frames(4), protocol="random3x1")
