"""`praxiscope train` without options about weights: from installed ImageNet weights, without a network connection."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint
from praxiscope.models.backbones import create_backbone
from praxiscope.models.installed_weights import INSTALLED, has_installed_weights
from praxiscope.recipes.settings import load_yaml
from support import Call, sets

ONE_STEP = sets(
    (
        *("input.size=32", "input.short_side=36", "input.snippets=2", "optim.steps=1", "optim.lr=1e-9"),
        *("optim.warmup_epochs=0", "data.workers=0", "run.precision=32", "run.tensorboard=false"),
        "run.validate_epochs=0",
    )
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a network connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of EfficientNet-Lite0 are not installed."""
    known = INSTALLED["efficientnet_lite0"]
    monkeypatch.setitem(INSTALLED, "efficientnet_lite0", known._replace(module="no_such_package"))


def trained(run: Path) -> dict[str, torch.Tensor]:
    return load_file(find_checkpoint(run, "last") / "model.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(
    not has_installed_weights("efficientnet_lite0"), reason="the extra praxiscope[weights] is not installed"
)
def test_the_first_command_starts_from_imagenet_weights(
    call: Call, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("train", colour_set, "--out", "run", *ONE_STEP)
    assert done.code == 0, done.err
    assert "pretrained weights of efficientnet_lite0" in done.err
    run = tmp_path / "run"
    assert load_yaml(run / "settings.yaml").model.pretrained is True
    start = create_backbone("efficientnet_lite0", num_classes=3, pretrained=True).state_dict()
    for name in ("conv_stem.weight", "blocks.4.2.conv_dw.weight", "conv_head.weight"):
        torch.testing.assert_close(trained(run)[f"backbone.{name}"], start[name], rtol=0, atol=1e-5)
    # A trained network needs the package no more.
    known = INSTALLED["efficientnet_lite0"]
    monkeypatch.setitem(INSTALLED, "efficientnet_lite0", known._replace(module="no_such_package"))
    recogniser = px.load(run)
    assert sorted(recogniser.labels) == ["blue", "green", "red"]
    assert len(recogniser.predict(colour_set / "red" / "0.mp4").scores) == 3
    # A run starts from its weights.
    done = call("train", colour_set, "--weights", "run", "--out", "next", *ONE_STEP)
    assert done.code == 0, done.err
    assert load_yaml(tmp_path / "next" / "settings.yaml").model.pretrained is False
    torch.testing.assert_close(
        trained(tmp_path / "next")["backbone.classifier.weight"], trained(run)["backbone.classifier.weight"]
    )


@pytest.mark.slow
def test_without_the_package_training_says_so_and_works(
    call: Call, colour_set: Path, tmp_path: Path, without: None
) -> None:
    done = call("train", colour_set, "--out", "run", *ONE_STEP)
    assert done.code == 0, done.err
    assert "praxiscope[weights]" in done.err
    assert load_yaml(tmp_path / "run" / "settings.yaml").model.pretrained is False


def test_weights_that_are_asked_for_and_missing_are_an_error(
    call: Call, colour_set: Path, without: None
) -> None:
    done = call("train", colour_set, "--pretrained", "--out", "run", *ONE_STEP)
    assert done.code != 0
    assert "praxiscope[weights]" in done.err
    assert len(done.err.strip().splitlines()) < 6


@pytest.mark.slow
def test_no_pretrained_starts_from_random_weights(call: Call, colour_set: Path, tmp_path: Path) -> None:
    done = call("train", colour_set, "--no-pretrained", "--out", "run", *ONE_STEP)
    assert done.code == 0, done.err
    assert load_yaml(tmp_path / "run" / "settings.yaml").model.pretrained is False
    assert "pretrained weights of" not in done.err


def test_a_model_that_needs_a_resnet_says_so(call: Call, moving: tuple[Path, Path]) -> None:
    words = ("--flow", moving[1], "--model", "multiplier", "--backbone", "efficientnet_lite0")
    done = call("train", moving[0], *words, "--out", "run", *ONE_STEP)
    assert done.code != 0
    assert "efficientnet_lite0" in done.err
    assert "resnet18" in done.err
