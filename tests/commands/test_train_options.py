"""From options to the settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from praxiscope.commands.train_options import SETTINGS, DataOptions, TrainOptions, resolve
from praxiscope.errors import ArgumentError
from praxiscope.recipes.settings import TrainSettings
from support import write_clip


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
