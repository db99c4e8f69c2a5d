"""Systems of other packages: registered by a decorator, used by every command, with no edit to the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.models.contract import Normalisation, Sees
from praxiscope.models.registered import models
from support import SMALL, Call, sets

pytestmark = pytest.mark.usefixtures("_narrow")


class Scores(NamedTuple):
    logits: Tensor


class FeatureDifferences(nn.Module):
    """Scores of each snippet by its features and by how they differ from those of the snippet before."""

    streams = ("rgb",)
    consensus = staticmethod(lambda scores: scores.mean(1))

    def __init__(self, frame: Any, num_classes: int, snippets: int) -> None:
        super().__init__()
        self.sees = Sees(together=snippets)
        self.num_classes = num_classes
        self.frame = frame
        self.head = nn.Linear(2 * frame.classifiers[0].weight.shape[1], num_classes)
        self.classifiers = [self.head]
        self.channels, self.normalisation = frame.channels, frame.normalisation
        self.stream_networks, self.first_convolutions = frame.stream_networks, frame.first_convolutions

    def default_protocol(self, flip: bool) -> str:
        return "1x1"

    def forward(self, frames: Tensor) -> px.SnippetOutput:
        now = self.frame(frames).features  # [B, S, D]
        before = torch.cat([now[:, :1], now[:, :-1]], 1)
        scores = self.head(torch.cat([now, now - before], 2))
        return px.SnippetOutput(self.consensus(scores), scores)


class MeanColours(nn.Module):
    """Scores of a video by the mean features of all of its frames. It has what `VideoModel` declares, and no more."""

    sees = Sees(frames="all", together=None)
    streams = ("rgb",)
    consensus = None

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.convolution = nn.Conv2d(3, 8, 5, stride=4)
        self.head = nn.Linear(8, num_classes)
        self.channels = {"rgb": 3}
        self.normalisation = {"rgb": Normalisation(mean=(0.4,) * 3, std=(0.2,) * 3)}
        self.classifiers, self.first_convolutions = [self.head], [self.convolution]
        self.stream_networks: dict[str, nn.Module] = {}

    def default_protocol(self, flip: bool) -> str:
        return "allxfull"

    def forward(self, frames: Tensor, offsets: Tensor | None = None) -> Scores:
        if frames.dim() == 5:
            lengths = [frames.shape[1]] * len(frames) if offsets is None else offsets.diff().tolist()
            videos = [video[:length] for video, length in zip(frames, lengths, strict=True)]
        else:
            assert offsets is not None
            videos = list(frames.split(offsets.diff().tolist()))
        means = [self.convolution(video).relu().mean((0, 2, 3)) for video in videos]
        return Scores(self.head(torch.stack(means)))


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    @px.register_model("differences")
    def differences(
        *, num_classes: int, snippets: int = 8, backbone: str = "resnet10", width: float = 0.1
    ) -> FeatureDifferences:
        frame = px.create_model("frame", num_classes=num_classes, backbone=backbone)
        model = FeatureDifferences(frame, num_classes, snippets)
        nn.init.normal_(model.head.weight, std=width)
        return model

    @px.register_model("mean-colours", frames="all")
    def mean_colours(*, num_classes: int) -> MeanColours:
        return MeanColours(num_classes)

    yield
    del models._entries["differences"], models._entries["mean-colours"]


def test_every_command_takes_a_registered_model(call: Call, colour_set: Path, tmp_path: Path) -> None:
    options = [*SMALL[3:], "optim.epochs=1", "run.validate_epochs=0", "input.snippets=3", "model.width=0.2"]
    done = call("train", colour_set, "--model", "differences", "--out", "run", *sets(tuple(options)))
    assert done.code == 0, done.err
    card = json.loads(next((tmp_path / "run").rglob("model.json")).read_text())
    assert card["name"] == "differences"
    assert card["kwargs"]["snippets"] == 3  # the run offers its number to a builder that declares it
    assert card["kwargs"]["width"] == 0.2

    done = call("test", "run", colour_set, "--json", "--workers", "0")
    assert done.code == 0, done.err
    assert 0 <= json.loads(done.out)["top1"] <= 1

    clip = sorted(colour_set.rglob("*.mp4"))[0]
    done = call("predict", "run", clip, "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)[0]["labels"]) == 3

    done = call("explain", "filters", "run", "--out", "filters.png")
    assert done.code == 0, done.err
    assert (tmp_path / "filters.png").stat().st_size
    done = call("explain", "clusters", "run", clip, "--out", "clusters.png")
    assert done.code == 2
    assert "differences" in done.err


def test_principal_backpropagation_takes_a_registered_model(call: Call, colour_set: Path) -> None:
    options = sets((*SMALL[3:], "optim.epochs=1", "run.validate_epochs=0", "input.snippets=4"))
    done = call("train", colour_set, "--model", "differences", "--out", "run", "--choose", "2", *options)
    assert done.code == 0, done.err
    assert "learns from 2" in done.err
    clip = sorted(colour_set.rglob("*.mp4"))[0]
    done = call("explain", "principal", "run", clip, "--snippets", "4", "--out", "principal.png")
    assert done.code == 0, done.err


def test_what_a_model_declares_fits_the_run(call: Call, colour_set: Path) -> None:
    common = ("train", colour_set, "--model", "differences", "--out", "run", *sets(SMALL[3:]))
    for words, names in (
        (("--set", "model.depth=2"), ("'differences'", "'depth'", "'width'")),
        (("--set", "input.frames=2"), ("'differences'", "in_channels", "input.frames")),
        (("--set", "input.padded=true"), ("differences", "input.padded")),
    ):
        done = call(*common, *words)
        assert done.code != 0
        assert all(name in done.err for name in names), done.err


OWN = tuple(one for one in SMALL[3:] if not one.startswith("input.snippets"))


@pytest.mark.parametrize("padded", ["false", "true"])
def test_every_command_takes_a_registered_model_of_all_frames(
    call: Call, colour_set: Path, padded: str
) -> None:
    options = sets((*OWN, "optim.epochs=1", f"input.padded={padded}"))
    done = call("train", colour_set, "--model", "mean-colours", "--out", "run", *options)
    assert done.code == 0, done.err
    assert "GiB" in done.err

    done = call("test", "run", colour_set, "--json", "--workers", "0")
    assert done.code == 0, done.err
    assert json.loads(done.out)["protocol"] == "allxfull"

    clip = sorted(colour_set.rglob("*.mp4"))[0]
    done = call("predict", "run", clip, "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)[0]["labels"]) == 3

    done = call("predict", "run", clip, "--window", "0.5s", "--json")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) >= 2


def test_weights_need_a_network_to_load_into(call: Call, colour_set: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "weights.pt")
    command = ("train", colour_set, "--model", "mean-colours", "--weights", "weights.pt", "--out", "run")
    done = call(*command, *sets(OWN))
    assert done.code != 0
    assert "stream_networks" in done.err
    assert "--from" not in done.err
