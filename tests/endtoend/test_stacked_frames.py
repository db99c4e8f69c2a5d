"""Networks on stacks of RGB frames (Simonyan and Zisserman 2014, section 6: "slow fusion")."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, find_checkpoint, load_card, save_checkpoint
from praxiscope.cli.main import app
from praxiscope.commands.train import train
from praxiscope.explain.filters import explain_filters
from praxiscope.explain.principal import explain_principal
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.timeline import windows
from praxiscope.models import create_model
from praxiscope.models.backbones import create_backbone
from praxiscope.models.network_ends import first_convolution
from praxiscope.models.weights import load_weights
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from runs import run_test
from support import SMALL, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LENGTH = 3
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def settings(data: Path, *assignments: str) -> TrainSettings:
    return override(
        get_recipe("default"), [*SMALL, f"data.source={data}", f"input.frames={LENGTH}", *assignments]
    )


@pytest.fixture(scope="module")
def run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacked") / "run"
    noise = ("input.colour_jitter=0.1", "input.lighting=0.1", "run.validate_epochs=1")
    assert train(settings(colour_set, "optim.epochs=12", *noise), folder)
    return folder


def test_a_run_on_stacks_learns_tests_and_predicts(run: Path, colour_set: Path) -> None:
    contract = load_card(find_checkpoint(run)).input
    assert (contract.length, contract.channels, contract.stream_channels) == (LENGTH, 9, {"rgb": 9})
    recogniser = px.load(run, device="cpu")
    assert recogniser.span == LENGTH  # type: ignore[union-attr]
    for protocol in ("1x1", "2x3", "1x10", "dense2x3", "allx1", "1xfull-mirrored"):
        result = run_test(run, colour_set, protocol=protocol, workers=0)
        assert result.figures["videos"] == 6
        assert result.figures["top1"] > 0.6 or "full" in protocol, protocol  # never trained on whole frames
    scores = run_test(run, colour_set, workers=0).scores
    assert scores.protocol["name"] == "25x1"
    found = [recogniser.predict(colour_set / video).labels[0] for video in scores.ids]
    assert found == [scores.classes[best] for best in scores.logits.argmax(1)]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    kwargs = {"backbone": "squeezenet1_1", "num_classes": 3, "in_channels": 3 * LENGTH}
    torch.manual_seed(3)
    contract = InputContract(32, 32, 3 * LENGTH, MEAN, STD, snippets=2, length=LENGTH)
    folder = tmp_path_factory.mktemp("model") / "model"
    save_checkpoint(
        folder, create_model("tsn", **kwargs), ModelCard("tsn", kwargs, ("a", "b", "c"), input=contract)
    )
    loaded = px.load(folder, device="cpu")
    return Recogniser(loaded.model, loaded.card, precision="32")  # type: ignore[union-attr]


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def by_hand(recogniser: Recogniser, path: Path, starts: list[int]) -> torch.Tensor:
    """Scores [S, K] of snippets that begin at these frames: PyAV, slicing, one forward pass each."""
    frames, rows = decoded(path), []
    for start in starts:
        stack = [frames[min(start + k, len(frames) - 1)][:, 8:40] for k in range(LENGTH)]
        planes = [
            (plane / 255 - m) / s
            for x in stack
            for plane, m, s in zip(np.moveaxis(x, -1, 0), MEAN, STD, strict=True)
        ]
        with torch.no_grad():
            rows.append(recogniser.model(torch.from_numpy(np.stack(planes)).float()[None, None]).logits[0])
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("frames", "protocol", "starts"),
    [
        # Of 14 frames 12 can begin a stack of 3.
        (14, "4x1", [1, 4, 7, 10]),
        (14, "1x1", [6]),
        (14, "allx1", list(range(12))),
        (3, "4x1", [0, 0, 0, 0]),
        (2, "1x1", [0]),  # shorter than a stack: its last frame is repeated
        (1, "1x1", [0]),
    ],
)
def test_a_prediction_is_that_of_stacks_made_by_hand(
    untrained: Recogniser, tmp_path: Path, frames: int, protocol: str, starts: list[int]
) -> None:
    write_clip(tmp_path / "clip.mp4", 1, frames=frames, size=(32, 48))
    found = untrained.video_logits(tmp_path / "clip.mp4", protocol)
    torch.testing.assert_close(
        found, by_hand(untrained, tmp_path / "clip.mp4", starts).mean(0), rtol=1e-4, atol=1e-5
    )
    if len(starts) > 1:
        snippets = untrained.snippet_logits(tmp_path / "clip.mp4", torch.tensor(starts))
        expected = by_hand(untrained, tmp_path / "clip.mp4", starts)
        torch.testing.assert_close(snippets, expected, rtol=1e-4, atol=1e-5)


def test_a_timeline_shows_the_frames_from_each_look_on(untrained: Recogniser, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, 1, frames=14, size=(32, 48))  # 12 frames a second
    # Looks at 1/4 and 3/4 of each window of half a second: 6 frames.
    looks = [(1, 4), (7, 10), (13, 13)]  # behind the end the last frame stays
    found = list(windows(path, 0.5, 0.5, untrained.card.input))
    frames = decoded(path)
    assert len(found) == len(looks)
    for window, starts in zip(found, looks, strict=True):
        assert window.streams["rgb"].shape == (2, 9, 32, 32)
        for snippet, start in zip(window.streams["rgb"], starts, strict=True):
            for k, shown in enumerate(snippet.split(3)):
                expected = frames[min(start + k, 13)][:, 8:40].transpose(2, 0, 1)
                np.testing.assert_array_equal(shown.numpy(), expected)
    segments = list(untrained.timeline(path, window_s=0.5, stride_s=0.5, top=3))
    for segment, starts in zip(segments, looks, strict=True):
        expected = by_hand(untrained, path, list(starts)).mean(0).softmax(0)
        scores = [segment.scores[segment.labels.index(label)] for label in "abc"]
        assert scores == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("name", ["resnet10", "squeezenet1_1"])
def test_rgb_filters_are_inflated_so_that_still_frames_score_as_one(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    single = create_backbone(name, num_classes=4, dropout=0)
    save_file(
        {key: value.contiguous() for key, value in single.state_dict().items()}, tmp_path / "w.safetensors"
    )
    stacked = create_model("frame", num_classes=4, backbone=name, in_channels=15, dropout=0)
    report = load_weights(stacked, tmp_path / "w.safetensors")
    assert report.cross_modality
    frame = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        one = single.eval()(frame[:, 0])
        five = stacked.eval()(frame.repeat(1, 1, 5, 1, 1)).logits
    torch.testing.assert_close(five, one, rtol=1e-4, atol=1e-5)
    assert stacked.normalisation == create_model("frame", num_classes=4, backbone=name).normalisation
    # A network of flow with as many channels averages over the colours, as before.
    flow = create_model("frame", num_classes=4, backbone=name, stream="flow", in_channels=30, dropout=0)
    load_weights(flow, tmp_path / "w.safetensors")
    weight = first_convolution(flow.backbone).weight
    torch.testing.assert_close(weight[:, 3:4], first_convolution(single).weight.mean(1, keepdim=True))


def test_pictures_of_a_network_on_stacks_are_drawn(run: Path, colour_set: Path) -> None:
    assert explain_filters(run).facts["streams"][0]["shape"] == [64, 9, 3, 3]
    drawn = explain_principal(run, colour_set / "red" / "0.mp4", snippets=20, choose=2, device="cpu")
    assert drawn.facts["frames"] == list(range(10))  # the last two frames begin no stack


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "full-video"], r"input\.frames = 3\b.*full-video"),
        (["--flow", "FLOW"], r"input\.frames = 3\b.*\btsn\b.*\bflow\b"),
        (
            ["--model", "multiplier", "--set", "model.backbone=resnet18", "--flow", "FLOW"],
            r"input\.frames = 3\b.*\bmultiplier\b.*\brgb\b.*\bflow\b",
        ),
        (["--set", "input.frames=0"], r"input\.frames = 0: .*\b1\b"),
    ],
)
def test_networks_that_see_no_stacks_of_frames_say_so(
    moving: tuple[Path, Path], tmp_path: Path, words: list[str], told: str
) -> None:
    small = [word for text in SMALL if not text.startswith("model.name") for word in ("--set", text)]
    given = [str(moving[1]) if word == "FLOW" else word for word in words]
    more = ["--set", "input.frames=3", "--set", "input.flow_length=4"]
    done = CliRunner().invoke(
        app, ["train", str(moving[0]), "--out", str(tmp_path / "run"), *small, *more, *given]
    )
    text = done.output + str(done.exception or "")
    assert done.exit_code != 0
    assert re.search(told, " ".join(text.split()))
    assert not (tmp_path / "run").exists()


def test_a_joint_network_takes_no_appearance_stream_of_stacks(run: Path, tmp_path: Path) -> None:
    from praxiscope.training.warm_start import settings_of_runs

    flow = tmp_path / "flow"
    kwargs = {"backbone": "squeezenet1_1", "num_classes": 3, "stream": "flow", "in_channels": 10}
    contract = InputContract(32, 36, 10, snippets=2, flow=px.checkpoint.FlowInput())  # type: ignore[attr-defined]
    save_checkpoint(
        flow, create_model("tsn", **kwargs), ModelCard("tsn", kwargs, ("a", "b", "c"), input=contract)
    )
    with pytest.raises(px.ArgumentError, match=r"\b3 RGB frames\b"):
        settings_of_runs([str(run), str(flow)])


def test_the_papers_baseline_is_a_recipe() -> None:
    recipe = get_recipe("two-stream-slow-fusion")
    assert (recipe.input.frames, recipe.optim.steps, recipe.optim.milestone_steps) == (
        11,
        80_000,
        (50_000, 70_000),
    )
    same = recipe.updated({"input.frames": 1})
    assert same == get_recipe("two-stream-spatial-scratch")
