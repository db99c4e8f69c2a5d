"""Networks of timm by its names, and by repositories of the Hugging Face Hub that the tests make."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import praxiscope as px
from praxiscope._compat import import_torchvision
from praxiscope.errors import ArgumentError, CheckpointError, UnknownNameError
from praxiscope.models import create_model
from praxiscope.models.backbones import create_backbone, native_input_size, published_normalisation
from praxiscope.models.names import check_backbone
from praxiscope.models.timm_backbones import portable_name, timm_network
from support import SMALL, Call, sets

import_torchvision()  # before timm, which imports it
timm = pytest.importorskip("timm", reason="the extra praxiscope[timm] is not installed")
hub: Any = pytest.importorskip("huggingface_hub")

TINY = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 56, "init_values": 1e-5}
DINO = "timm/vit_small_patch14_dinov2?depth=2&embed_dim=32&num_heads=2"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A folder like a repository of the hub: a small DINOv2 with its description, and its weights."""
    torch.manual_seed(0)
    state = timm.create_model("vit_small_patch14_dinov2", num_classes=3, **TINY).state_dict()
    folder = tmp_path / "repository"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 56, 56]}
    more = {
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    description = {
        "architecture": "vit_small_patch14_dinov2",
        "num_classes": 3,
        "model_args": {**TINY, "num_classes": 3},
        "pretrained_cfg": {**own, **more},
    }
    (folder / "config.json").write_text(json.dumps(description))
    return folder, state


@pytest.fixture
def cached(
    repository: tuple[Path, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The same as a repository that has been downloaded before."""
    root = tmp_path / "hub" / "models--lab--dino"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots").mkdir()
    (root / "snapshots" / "abc").symlink_to(repository[0])
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    return "hf-hub:lab/dino"


def test_arguments_of_timms_builder_follow_the_name() -> None:
    network = create_backbone(DINO, num_classes=4, input_size=42).eval()
    assert len(network.blocks) == 2
    assert network(torch.randn(1, 3, 42, 42)).shape == (1, 4)
    assert timm_network(f"{DINO}&init_values=null&act_layer=relu").arguments == {
        **{"depth": 2, "embed_dim": 32, "num_heads": 2},
        **{"init_values": None, "act_layer": "relu"},
    }
    assert native_input_size(DINO) == 518
    with pytest.raises(ArgumentError, match="deptth"):
        create_backbone("timm/test_vit?deptth=2", num_classes=2)


def test_features_of_a_transformer_are_of_each_frame() -> None:
    model = create_model("frame", backbone=DINO, num_classes=4, input_size=28).eval()
    output = model(torch.randn(2, 3, 3, 28, 28))
    assert output.features.shape == (2, 3, 32)
    assert output.logits.shape == (2, 4)


@pytest.mark.parametrize(("size", "named"), [(64, ("56", "70")), (8, ("14", "28"))])
def test_a_size_that_is_not_a_multiple_of_the_patches_is_refused(size: int, named: tuple[str, str]) -> None:
    with pytest.raises(ArgumentError) as error:
        create_model("frame", backbone=DINO, num_classes=2, input_size=size)
    assert all(word in str(error.value) for word in ("14", str(size), *named))


def test_names_with_tags_and_wrong_tags() -> None:
    assert timm_network("timm/vit_small_patch14_dinov2.lvd142m").architecture == "vit_small_patch14_dinov2"
    with pytest.raises(ArgumentError, match="lvd143"):
        timm_network("timm/vit_small_patch14_dinov2.lvd143")
    with pytest.raises(UnknownNameError, match="vit_small_patch14_dinov2"):
        timm_network("timm/vit_small_patch14_dinov22")
    for name in ("hf-hub:lab/dino", "timm/hf-hub:lab/dino", "local-dir:folder"):
        check_backbone(name)


@pytest.mark.parametrize("prefix", ["", "timm/"])
@pytest.mark.parametrize("source", ["folder", "hub"])
def test_a_repository_gives_its_network_weights_and_normalisation(
    repository: tuple[Path, dict[str, Tensor]], cached: str, prefix: str, source: str
) -> None:
    folder, state = repository
    name = prefix + (cached if source == "hub" else f"local-dir:{folder}")
    started = create_backbone(name, num_classes=3, pretrained=True).state_dict()
    assert started.keys() == state.keys()
    assert all(torch.equal(started[key], value) for key, value in state.items())
    fresh = create_backbone(name, num_classes=5, pretrained=True).state_dict()
    assert torch.equal(fresh["blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.weight"])
    assert fresh["head.weight"].shape == (5, 32)
    random = create_backbone(name, num_classes=3).state_dict()
    assert not torch.equal(random["blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.weight"])
    assert published_normalisation(name) == {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    assert native_input_size(name) == 56


def test_the_portable_name_needs_no_repository(repository: tuple[Path, dict[str, Tensor]]) -> None:
    folder, state = repository
    name = portable_name(f"local-dir:{folder}")
    (folder / "config.json").unlink()
    again = create_backbone(name, num_classes=3).state_dict()
    assert {key: value.shape for key, value in again.items()} == {k: v.shape for k, v in state.items()}
    assert dict(timm_network(name).arguments) == TINY
    for plain in ("resnet18", "timm/resnet18", DINO):
        assert portable_name(plain) == plain


@pytest.mark.usefixtures("cached")
def test_a_repository_that_is_not_there_is_told() -> None:
    with pytest.raises(CheckpointError, match=r"--pretrained.*features.*--weights download"):
        create_backbone("hf-hub:lab/other", num_classes=2)
    with pytest.raises(CheckpointError, match="hf-hub:lab/other"):
        create_backbone("hf-hub:lab/other", num_classes=2, pretrained=True)
    with pytest.raises(ArgumentError, match="hf-hub:a/b/c"):
        create_backbone("hf-hub:a/b/c", num_classes=2)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "config.json"),
        ("{", "config.json"),
        ("[]", "config.json"),
        ('{"architecture": "no_such_vit", "mean": [0], "std": [1], "input_size": [3, 8, 8]}', "no_such_vit"),
    ],
)
def test_a_wrong_description_is_told(tmp_path: Path, content: str | None, named: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=named):
        create_backbone(f"local-dir:{tmp_path}", num_classes=2)


@pytest.mark.slow
def test_a_run_trains_from_a_repository_and_loads_without_it(
    call: Call, colour_set: Path, repository: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    folder, _ = repository
    short = (
        "input.size=28",
        "input.short_side=32",
        "optim.epochs=null",
        "optim.steps=1",
        "optim.warmup_epochs=0",
        "run.validate_epochs=0",
    )
    options = sets((*SMALL[3:], *short))
    words = ("--model", "tsm", "--backbone", f"local-dir:{folder}", "--pretrained", *options)
    done = call("train", colour_set, *words, "--out", "run")
    assert done.code == 0, done.err
    (folder / "config.json").unlink()
    recogniser = px.load(tmp_path / "run")
    assert recogniser.card.input.mean == (0.1, 0.2, 0.3)
    assert len(recogniser.predict(colour_set / "red" / "0.mp4").scores) == 3
    wrong = call("train", colour_set, *words, "--out", "next")
    assert wrong.code != 0
    assert "config.json" in wrong.err
