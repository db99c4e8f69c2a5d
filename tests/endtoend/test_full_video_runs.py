"""Runs that see every frame: what a batch holds, what a test sees, and that long videos do not fill the memory."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint
from praxiscope.cli.main import app
from praxiscope.commands.train import train
from praxiscope.data.batch import collate_packed, collate_padded
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.loader import example_inputs
from praxiscope.training.log import read_log
from praxiscope.training.summary import describe_model, measure
from praxiscope.types import Batch, Clip, VideoRecord
from praxiscope.video.transforms import BatchAugment
from runs import assert_same, run_test, weights
from support import SMALL, spread_scores, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LENGTHS = {"red": (9, 14, 11, 6), "green": (12, 5, 17, 8)}
FULL = ("model.name=full-video", "model.backbone=squeezenet1_1", "model.clusters=3")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four clips, no two of a length."""
    root = tmp_path_factory.mktemp("lengths")
    for colour, (name, lengths) in enumerate(LENGTHS.items()):
        for number, length in enumerate(lengths):
            write_clip(root / name / f"{number}.mp4", colour, frames=length, seed=10 * colour + number)
    return root


def settings(data: Path, *assignments: str) -> TrainSettings:
    return override(
        get_recipe("default"), [*SMALL, *FULL, "optim.batch=3", f"data.source={data}", *assignments]
    )


@pytest.fixture(scope="module")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "run"
    assert train(settings(videos), folder)
    return folder


@pytest.fixture(scope="module")
def recogniser(run: Path) -> Recogniser:
    loaded = px.load(run, device="cpu")
    return Recogniser(loaded.model, loaded.card, precision="32", chunk_snippets=4)


# ------------------------------------------------------------------------------------------------ training


def seen_batches(monkeypatch: pytest.MonkeyPatch, wanted: TrainSettings, run: Path) -> list[Batch]:
    """The batches of a run, as the step is given them."""
    from praxiscope.steps import ordinary

    real, seen = ordinary.call_model, []

    def watched(model: torch.nn.Module, batch: Batch) -> object:
        seen.append(batch)
        return real(model, batch)

    monkeypatch.setattr(ordinary, "call_model", watched)
    assert train(wanted, run)
    return seen


def test_a_batch_holds_every_frame_of_its_videos(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in seen_batches(monkeypatch, settings(videos), tmp_path / "run"):
        assert batch.offsets is not None
        frames = [LENGTHS[Path(name).parent.name][int(Path(name).stem)] for name in batch.ids]
        assert batch.offsets.diff().tolist() == frames
        assert batch.streams["rgb"].shape == (sum(frames), 3, 32, 32)


def test_first_epochs_may_see_as_many_sampled_frames_as_there_are_clusters(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(videos, "input.sampled_epochs=1", "input.snippets=7")
    batches = seen_batches(monkeypatch, wanted, tmp_path / "run")
    half = len(batches) // 2
    assert {tuple(b.offsets.diff().tolist()) for b in batches[:half]} == {(3, 3, 3)}  # type: ignore[union-attr]
    assert all(int(b.offsets.diff().max()) > 3 for b in batches[half:])  # type: ignore[union-attr]


def test_longer_videos_are_sampled_where_a_limit_is_set(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = seen_batches(monkeypatch, settings(videos, "input.max_frames=8"), tmp_path / "run")
    for batch in batches:
        frames = [LENGTHS[Path(name).parent.name][int(Path(name).stem)] for name in batch.ids]
        assert batch.offsets.diff().tolist() == [min(8, count) for count in frames]  # type: ignore[union-attr]


def test_padded_batches_train_as_packed_ones(videos: Path, tmp_path: Path) -> None:
    # With BatchNorm that learns, and shifts between frames: neither may see the frames that fill a batch up.
    for name in ("packed", "padded"):
        more = (
            f"input.padded={name == 'padded'}".lower(),
            "model.backbone=resnet10",
            "model.early_shift=true",
        )
        assert train(settings(videos, *more), tmp_path / name)
    losses = [
        [row["loss"] for row in read_log(tmp_path / n / "log.csv") if "loss" in row]
        for n in ("packed", "padded")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    packed, padded = weights(tmp_path / "packed"), weights(tmp_path / "padded")
    for name, value in packed.items():
        torch.testing.assert_close(padded[name], value, rtol=0, atol=2e-3)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(videos: Path, tmp_path: Path, stop_after) -> None:
    wanted = settings(videos, "input.sampled_epochs=1")
    assert train(wanted, tmp_path / "whole")
    stop_after(3)
    assert not train(wanted, tmp_path / "cut")
    stop_after(None)
    assert train(wanted, tmp_path / "cut", resume=True)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_broken_videos_are_skipped(videos: Path, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "videos"
    shutil.copytree(videos, data)
    (data / "red" / "broken.mp4").write_bytes(b"no video")
    assert train(settings(data), tmp_path / "run")
    with (tmp_path / "run" / "skipped.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["red/broken.mp4"]


def test_choosing_among_snippets_is_refused_where_there_are_none(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(px.ArgumentError, match=r"backprop\.name = principal.*full-video"):
        train(settings(videos, "backprop.name=principal", "backprop.choose=1"), tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["model.name=tsm", "input.sampled_epochs=1"], r"input\.sampled_epochs = 1.*tsm"),
        (["model.name=tsn", "input.max_frames=9"], r"input\.max_frames = 9.*tsn"),
        ([*FULL, "input.sampled_epochs=2"], r"sampled_epochs = 2.*2 epochs"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(
    videos: Path, tmp_path: Path, values: list[str], told: str
) -> None:
    wanted = override(get_recipe("default"), [*SMALL, *values, f"data.source={videos}"])
    with pytest.raises(px.ArgumentError, match=told):
        train(wanted, tmp_path / "run")


def test_what_a_clip_takes_is_said_for_all_of_its_frames(run: Path) -> None:
    loaded = px.load(run, device="cpu")
    said = describe_model(loaded.model, loaded.card, batch=2, optimizer="sgd", frames=150)
    costs = measure(loaded.model, example_inputs(loaded.model, loaded.card.input, 1, 150))
    found = re.search(r"([\d.]+) GFLOPs per clip of 150 frames .* about ([\d.]+) GiB", said)
    assert found is not None
    assert float(found[1]) == pytest.approx(costs["flops"] / 1e9, abs=0.02)
    # 32-pixel frames: a step on two clips of a minute is small, one on two of five hours is its pixels and no less.
    hours = describe_model(loaded.model, loaded.card, batch=2, optimizer="sgd", frames=450_000)
    pixels = 2 * 450_000 * 3 * 32 * 32 * 4 / 2**30
    assert float(re.search(r"about ([\d.]+) GiB", hours)[1]) == pytest.approx(1.25 * pixels, rel=0.1)  # type: ignore[index]


@pytest.mark.parametrize("clusters", ["0", "-1", "auto", "2.5"])
def test_the_option_takes_a_number(videos: Path, tmp_path: Path, clusters: str) -> None:
    arguments = [
        "train",
        str(videos),
        "--model",
        "full-video",
        "--clusters",
        clusters,
        "--out",
        str(tmp_path / "r"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert "--clusters" in str(result.exception) + result.output


# ------------------------------------------------------------------------------------------------- batches


def clips() -> list[Clip]:
    generator = torch.Generator().manual_seed(0)
    return [
        Clip(
            {"rgb": torch.randint(0, 256, (count, 3, 8, 10), generator=generator, dtype=torch.uint8)},
            torch.tensor(1),
            f"{count}",
            count,
        )
        for count in (4, 1, 6)
    ]


def test_a_padded_batch_repeats_the_last_frame_and_says_which_are_real() -> None:
    batch = collate_padded(clips())
    assert batch.offsets is not None
    assert batch.offsets.tolist() == [0, 4, 5, 11]
    for row, clip in zip(batch.streams["rgb"], clips(), strict=True):
        frames = clip.streams["rgb"]
        assert torch.equal(row[: len(frames)], frames)
        assert all(torch.equal(filled, frames[-1]) for filled in row[len(frames) :])


def test_padded_frames_are_augmented_as_packed_ones() -> None:
    augment = BatchAugment(flip=True, mean=(0.5,), std=(0.25,))
    packed, padded = augment(collate_packed(clips())), augment(collate_padded(clips()))
    parts = packed.streams["rgb"].split([4, 1, 6])
    for row, part in zip(padded.streams["rgb"], parts, strict=True):
        assert torch.equal(row[: len(part)], part)


# ------------------------------------------------------------------------------------- tests, predictions


def whole_video(recogniser: Recogniser, path: Path) -> torch.Tensor:
    """Scores of all frames at once, whole, by the model itself."""
    pixels = torch.stack([frame.rgb(short_side=36) for frame in px.open_video(path).decode()])
    with torch.inference_mode():
        return recogniser.model(recogniser.prepare(pixels[None])).logits[0]


@pytest.mark.parametrize("long", [5, 1000])
def test_a_prediction_sees_every_frame_whole(
    recogniser: Recogniser, videos: Path, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    import praxiscope.inference.inputs as module

    path = videos / "green" / "2.mp4"
    monkeypatch.setattr(module, "LONG_FRAMES", long)  # a long one is streamed
    assert recogniser.default_protocol() == "allxfull"
    torch.testing.assert_close(
        recogniser.video_logits(path), whole_video(recogniser, path), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("protocol", ["allx1", "allx3", "allx10", "allxfull", "1x1", "2x3"])
def test_streams_and_tests_agree_by_every_protocol(
    recogniser: Recogniser, videos: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    import praxiscope.inference.inputs as module

    record = VideoRecord("red/1.mp4", videos / "red" / "1.mp4", ("red",))
    scores, _ = recogniser.score([record], [torch.tensor(0)], protocol, workers=0)
    monkeypatch.setattr(module, "LONG_FRAMES", 5)
    logits = recogniser.video_logits(record.path, protocol)
    torch.testing.assert_close(torch.from_numpy(scores.logits[0]), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_crops_of_a_streamed_video_are_averaged_as_asked_for(
    recogniser: Recogniser, videos: Path, monkeypatch: pytest.MonkeyPatch, average: str
) -> None:
    import praxiscope.inference.inputs as module

    record = VideoRecord("red/1.mp4", videos / "red" / "1.mp4", ("red",))
    protocol = parse_protocol("allx3", average)

    def scores() -> np.ndarray:
        outputs = [recogniser.stream_output(record, protocol, crop).logits[0] for crop in range(3)]
        return torch.stack(outputs).double().numpy()

    for layer in recogniser.model.classifiers:
        for parameter in (layer.weight, layer.bias):
            monkeypatch.setattr(parameter, "data", parameter.data.clone())
    spread_scores(recogniser.model.classifiers, scores())
    rows = scores()

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    means = {"logits": softmax(rows.mean(0)), "softmax": softmax(rows).mean(0)}
    assert np.abs(means["logits"] - means["softmax"]).max() > 5e-3
    for longest in (5, 1000):  # in parts, and at once
        monkeypatch.setattr(module, "LONG_FRAMES", longest)
        logits = recogniser.video_logits(record.path, "allx3", average).double().numpy()
        np.testing.assert_allclose(softmax(logits), means[average], atol=1e-3)


class Counting(Reporter):
    """Remembers what the bar was told."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.at_first_long = 0

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Counting]:
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        if note.startswith("long") and not self.at_first_long:
            self.at_first_long = len(self.done)
        if count:
            self.done.append(count)


def test_long_videos_of_a_test_go_through_in_parts(
    recogniser: Recogniser, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import praxiscope.inference.inputs as module

    records = [VideoRecord(f"green/{i}.mp4", videos / "green" / f"{i}.mp4", ("green",)) for i in range(4)]
    targets = [torch.tensor(1)] * 4
    expected, _ = recogniser.score(records, targets, workers=0)
    streamed: list[str] = []
    real = Recogniser.stream_logits

    def watched(self: Recogniser, record: VideoRecord, *rest: object, **more: object) -> torch.Tensor:
        streamed.append(record.id)
        return real(self, record, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Recogniser, "stream_logits", watched)
    monkeypatch.setattr(module, "LONG_FRAMES", 10)
    reporter = Counting()
    scores, skipped = recogniser.score(records, targets, workers=0, reporter=reporter)
    # What is done before the long ones is all that the bar shows until then.
    assert reporter.done[: reporter.at_first_long] == [1, 1]
    assert sum(reporter.done) == 4
    assert streamed == ["green/0.mp4", "green/2.mp4"]
    assert skipped == []
    found = dict(zip(scores.ids, scores.logits, strict=True))
    for name, row in zip(expected.ids, expected.logits, strict=True):
        assert found[name] == pytest.approx(row, rel=1e-4, abs=1e-5)


def test_a_part_of_a_video_is_all_that_is_streamed(recogniser: Recogniser, videos: Path) -> None:
    path = videos / "green" / "2.mp4"  # 17 frames, 12 per second
    record = VideoRecord("part", path, ("green",), start_s=0.5, end_s=1.0)
    protocol = parse_protocol("allxfull")
    output = recogniser.stream_output(record, protocol)
    assert len(output.ids) == 6
    scores, _ = recogniser.score([record], [torch.tensor(1)], "allxfull", workers=0)
    assert scores.logits[0] == pytest.approx(output.logits[0].numpy(), rel=1e-4, abs=1e-5)


def test_sampled_frames_are_another_test(recogniser: Recogniser, videos: Path) -> None:
    path = videos / "green" / "2.mp4"
    all_frames, sampled = (recogniser.video_logits(path, name) for name in ("allx1", "1x1"))
    assert not torch.allclose(all_frames, sampled, rtol=1e-4)


def test_a_window_of_a_timeline_has_every_frame_on_screen(recogniser: Recogniser, videos: Path) -> None:
    path = videos / "green" / "2.mp4"
    (first, *_) = recogniser.window_logits(path, 0.5, 0.25)
    pixels = torch.stack([frame.rgb(short_side=36) for frame in px.open_video(path).decode()])[:6]
    crop = pixels[..., 2:34, :]
    crop = crop[..., (crop.shape[-1] - 32) // 2 :][..., :32]
    with torch.inference_mode():
        expected = recogniser.model(recogniser.prepare(crop[None])).logits[0]
    torch.testing.assert_close(first[2], expected, rtol=1e-4, atol=1e-5)


def test_models_that_average_may_see_every_frame_and_those_that_mix_may_not(
    videos: Path, tmp_path: Path
) -> None:
    data = settings(videos, "optim.epochs=1")
    for name in ("tsn", "tsm"):
        own = data.model_copy(
            update={"model": data.model.model_validate({"name": name, "backbone": "squeezenet1_1"})}
        )
        assert train(own, tmp_path / name)
    path = videos / "red" / "0.mp4"
    tsn = px.load(tmp_path / "tsn", device="cpu")
    torch.testing.assert_close(tsn.video_logits(path, "allx1"), tsn.video_logits(path, "9x1"))
    with pytest.raises(px.ArgumentError, match=r"allx1\b.*\btsm\b.*\b2\b"):
        px.load(tmp_path / "tsm", device="cpu").video_logits(path, "allx1")


def test_the_command_line_of_the_guide_works(videos: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        str(videos),
        "--model",
        "full-video",
        "--clusters",
        "2",
        "--out",
        str(tmp_path / "full"),
    ]
    small = [x for value in SMALL if not value.startswith("model.name") for x in ("--set", value)]
    result = CliRunner().invoke(app, [*arguments, *small])
    assert result.exit_code == 0, result.output
    card = json.loads((find_checkpoint(tmp_path / "full") / "model.json").read_text())
    assert card["name"] == "full-video"
    assert card["input"]["snippets"] == 2
    figures = run_test(tmp_path / "full", videos, workers=0).figures
    assert figures["videos"] == 2
