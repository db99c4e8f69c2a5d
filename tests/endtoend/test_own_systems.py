"""Systems of other packages: registered by a decorator, used by every command, with no edit to the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.layers.consensus import average
from praxiscope.models.contract import Sees
from praxiscope.models.registered import models
from support import SMALL, Call, sets


class FeatureDifferences(nn.Module):
    """Scores of each snippet by its features and by how they differ from those of the snippet before."""

    streams = ("rgb",)
    consensus = staticmethod(average)

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

    yield
    del models._entries["differences"]


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
