"""Checkpoints: what is written comes back, and a kill at any moment leaves the last one usable."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from praxiscope.checkpoint import (
    InputContract,
    ModelCard,
    find_checkpoint,
    kept_checkpoints,
    load_card,
    load_model_weights,
    load_optimizer,
    load_state,
    point_to,
    read_pointer,
    save_checkpoint,
)
from praxiscope.errors import CheckpointError

CARD = ModelCard(
    "tsn",
    {"backbone": "resnet18", "num_classes": 2, "dropout": 0.5},
    ("köpfen", "a b"),
    multi_label=True,
    input=InputContract(size=32, mean=(0.1, 0.2, 0.3), snippets=3),
    metrics={"top1": 0.25},
    training={"step": 4},
    calibration={
        "temperature": 1.5,
        "none_below": 0.4,
        "false_refusals": 0.05,
        "videos": 39,
        "source": "folds",
    },
)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    return model.to(memory_format=torch.channels_last)


def optimizer_of(model: nn.Module, name: str, *, turned: bool = False) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    parameters = parameters[::-1] if turned else parameters
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    return torch.optim.AdamW(parameters, lr=0.01)


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        model(x.to(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_card_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", network(), CARD)
    assert load_card(tmp_path / "model") == CARD


def test_a_card_of_an_earlier_version_has_no_calibration(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", network(), CARD)
    path = tmp_path / "c" / "model.json"
    content = json.loads(path.read_text())
    del content["calibration"]
    path.write_text(json.dumps(content))
    card = load_card(tmp_path / "c")
    assert card.calibration == {}
    assert card.temperature == 1.0


def test_sigmoids_have_no_temperature() -> None:
    assert CARD.temperature == 1.0
    assert replace(CARD, multi_label=False).temperature == 1.5


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "2"},
        {"temperature": True},
        {"temperature": math.inf},
        {"temperature": math.nan},
        {"none_below": 1.5},
        {"none_below": None},
        {"false_refusals": -0.1},
    ],
)
def test_a_calibration_that_cannot_be_is_a_clear_error(tmp_path: Path, change: dict[str, Any]) -> None:
    save_checkpoint(tmp_path / "c", network(), replace(CARD, calibration={**CARD.calibration, **change}))
    with pytest.raises(CheckpointError, match="calibration"):
        load_card(tmp_path / "c")


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path: Path, name: str) -> None:
    model = network()
    optimizer = optimizer_of(model, name)
    learn(model, optimizer, 3)
    state = {"step": 3, "best": 0.1, "skipped": {"a": "b"}}
    save_checkpoint(tmp_path / "c", model, CARD, optimizer=optimizer, state=state)
    learn(model, optimizer, 2)

    # The state goes by the parameters' names: another order of the parameters does not mix them up.
    again = network(seed=9)
    fresh = optimizer_of(again, name, turned=True)
    load_model_weights(tmp_path / "c", again)
    load_optimizer(tmp_path / "c", again, fresh)
    assert load_state(tmp_path / "c") == state
    for parameter in again.parameters():
        for value in fresh.state[parameter].values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride()
    learn(again, fresh, 2)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_kill_before_a_rename_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "checkpoints" / "step-1", network(1), CARD)
    point_to(tmp_path, last="step-1", best=None, prefer="last")
    real = os.replace
    for allowed in range(4):
        left = [allowed]

        def replace(source: Any, target: Any, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        try:
            save_checkpoint(tmp_path / "checkpoints" / "step-2", network(2), CARD)
            point_to(tmp_path, last="step-2", best=None, prefer="last")
            finished = True
        except Killed:
            finished = False
        monkeypatch.setattr(os, "replace", real)
        # The renames: the card, the folder, the pointer.
        assert finished == (allowed == 3)
        folder = find_checkpoint(tmp_path)
        assert folder.name == ("step-2" if finished else "step-1")
        load_model_weights(folder, network())
        load_card(folder)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-2"]


def test_what_a_kill_left_behind_is_written_over(tmp_path: Path) -> None:
    half = tmp_path / "c.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    (half / "rest").write_text("x")
    save_checkpoint(tmp_path / "c", network(), CARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["model.json", "model.safetensors"]


def test_checkpoints_that_nothing_names_are_deleted(tmp_path: Path) -> None:
    for number in range(4):
        save_checkpoint(tmp_path / "checkpoints" / f"step-{number}", network(), CARD)
    point_to(tmp_path, last="step-3", best="step-1", prefer="best")
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-1", "step-3"]
    assert read_pointer(tmp_path) == {"last": "step-3", "best": "step-1", "prefer": "best"}
    assert find_checkpoint(tmp_path).name == "step-1"


def test_kept_checkpoints_stay_whatever_is_named_later(tmp_path: Path) -> None:
    for number in range(5):
        save_checkpoint(tmp_path / "checkpoints" / f"step-{number}", network(), CARD)
        point_to(tmp_path, last=f"step-{number}", best=None, prefer="last", keep=number in (1, 3))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-1",
        "step-3",
        "step-4",
    ]
    assert [path.name for path in kept_checkpoints(tmp_path)] == ["step-1", "step-3", "step-4"]
    with pytest.raises(CheckpointError, match="checkpoint"):
        kept_checkpoints(tmp_path / "checkpoints")


def test_a_model_without_training_state_says_that_training_cannot_go_on(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", network(), CARD)
    with pytest.raises(CheckpointError, match="--weights"):
        load_state(tmp_path / "c")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"optimizer": 3}', "\udcff"])
def test_a_damaged_training_state_is_a_clear_error(tmp_path: Path, text: str) -> None:
    model = network()
    optimizer = optimizer_of(model, "sgd")
    learn(model, optimizer, 1)
    save_checkpoint(tmp_path / "c", model, CARD, optimizer=optimizer, state={"step": 1})
    (tmp_path / "c" / "state.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    for load in (
        lambda: load_state(tmp_path / "c"),
        lambda: load_optimizer(tmp_path / "c", model, optimizer),
    ):
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "c"))):
            load()


def test_a_truncated_optimizer_file_and_one_of_another_model_are_clear_errors(tmp_path: Path) -> None:
    model = network()
    optimizer = optimizer_of(model, "adamw")
    learn(model, optimizer, 1)
    save_checkpoint(tmp_path / "c", model, CARD, optimizer=optimizer, state={})
    other = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"'0\.\w+'"):
        load_optimizer(tmp_path / "c", other, optimizer_of(other, "adamw"))
    path = tmp_path / "c" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="safetensors"):
        load_optimizer(tmp_path / "c", model, optimizer)


def test_shared_and_strided_weights_are_written_whole(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[0].bias.data = torch.arange(6.0)[::2]
    save_checkpoint(tmp_path / "c", model, CARD)
    again = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_model_weights(tmp_path / "c", again)
    assert torch.equal(again[1].weight, model[0].weight)
    assert again[0].bias.tolist() == [0, 2, 4]


def test_the_pointer_survives_a_missing_or_foreign_file(tmp_path: Path) -> None:
    assert read_pointer(tmp_path) == {}
    (tmp_path / "run.json").write_text("[1, 2]")
    assert read_pointer(tmp_path) == {}
    with pytest.raises(CheckpointError, match="checkpoint"):
        find_checkpoint(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"last": "gone"}))
    shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
    with pytest.raises(CheckpointError, match=r"gone: .*model\.json"):
        load_card(find_checkpoint(tmp_path))
