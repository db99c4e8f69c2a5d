from __future__ import annotations

from pathlib import Path

import pytest
import torch

from praxiscope.commands.train import train
from praxiscope.devices import check_device, pick_device
from praxiscope.errors import ArgumentError
from praxiscope.recipes.settings import TrainSettings, override
from support import SMALL


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps"])
def test_every_command_and_setting_takes_the_same_devices(name: str) -> None:
    assert check_device(name) == name
    assert override(TrainSettings(), [f"run.accelerator={name}"]).run.accelerator == name


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "CPU", "cpu:1", "meta", "xpu"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="cuda:1"):
        check_device(name)
    with pytest.raises(ArgumentError, match="accelerator"):
        override(TrainSettings(), [], {"run.accelerator": name})


def test_one_device_is_not_several() -> None:
    with pytest.raises(ArgumentError, match="cuda:1"):
        override(TrainSettings(), ["run.accelerator=cuda:1", "run.devices=2"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_an_error_of_ours(name: str, colour_set: Path, tmp_path: Path) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ArgumentError, match=f"'{name}'"):
        pick_device(name)
    settings = override(TrainSettings(), [*SMALL, f"data.source={colour_set}", f"run.accelerator={name}"])
    with pytest.raises(ArgumentError, match=f"'{name}'"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
