"""A step of another package: registered by a decorator, trained by ``--backprop NAME``, with no edit to the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import Field
from torch import nn

import praxiscope as px
from praxiscope.recipes.settings import TrainSettings, load_yaml, override
from praxiscope.steps import (
    Step,
    StepInput,
    StepOutput,
    StepParts,
    StepSettings,
    call_model,
    list_steps,
    register_step,
    registered,
)
from praxiscope.training.log import read_log
from praxiscope.types import Batch
from support import SMALL, Call, sets


class HardestSettings(StepSettings):
    """Learn from the videos of a batch that have the largest losses."""

    name: Literal["hardest"] = "hardest"
    keep: int = Field(1, ge=1, description="videos of a batch to learn from")

    def check_input(self, given: StepInput) -> None:
        if self.keep > given.batch:
            raise ValueError(
                f"backprop.keep = {self.keep} must not be larger than optim.batch = {given.batch}"
            )

    def describe(self, given: StepInput, at_once: int | None, batchnorm_learns: bool) -> str | None:
        return f"Learns from {self.keep} of {given.batch} videos."

    def build(self, parts: StepParts) -> Step:
        def step(model: nn.Module, batch: Batch, backward: Callable[[torch.Tensor], Any]) -> StepOutput:
            batch = parts.prepare(batch)
            logits = call_model(model, batch).logits
            each = torch.stack(
                [parts.loss(logits[i : i + 1], batch.targets[i : i + 1]) for i in range(len(batch))]
            )
            loss = each.topk(min(self.keep, len(batch))).values.mean()
            backward(loss)
            return StepOutput(loss.detach(), {"loss_all": each.detach().mean()})

        return step


@pytest.fixture
def hardest() -> Iterator[None]:
    register_step(HardestSettings)
    yield
    registered._steps._entries.pop("hardest")


@pytest.mark.usefixtures("hardest")
def test_a_registered_step_trains_by_its_name(call: Call, colour_set: Path, tmp_path: Path) -> None:
    options = sets((*SMALL, "optim.epochs=1", "backprop.keep=2", "run.validate_epochs=0"))
    done = call("train", colour_set, "--out", "run", "--backprop", "hardest", *options)
    assert done.code == 0, done.err
    assert "Learns from 2 of 4 videos." in done.err
    rows = read_log(tmp_path / "run" / "log.csv")
    assert rows
    assert all(row["loss_all"] < row["loss"] for row in rows)
    assert load_yaml(tmp_path / "run" / "settings.yaml").backprop == HardestSettings(keep=2)


@pytest.mark.usefixtures("hardest")
def test_the_settings_of_a_registered_step_are_checked() -> None:
    assert "hardest" in list_steps()
    for assignment, name in (
        ("backprop.keep=0", r"backprop\.keep"),
        ("backprop.keep=9", r"backprop\.keep = 9.*optim\.batch = 8"),
        ("backprop.kep=2", r"backprop\.kep.*backprop\.keep"),
        ("backprop.choose=2", r"choose = 2.*principal.*hardest"),
    ):
        with pytest.raises(px.ArgumentError, match=name):
            override(TrainSettings(), ["backprop.name=hardest", assignment])
    with pytest.raises(px.ArgumentError, match=r"keep = 2.*hardest.*full"):
        override(TrainSettings(), ["backprop.keep=2"])
    with pytest.raises(px.ArgumentError, match="hardest"):
        register_step(HardestSettings)


def test_an_unknown_step_is_named_with_the_nearest() -> None:
    with pytest.raises(px.ArgumentError, match=r"backprop\.name = 'cahced'.*'cached'"):
        override(TrainSettings(), ["backprop.name=cahced"])


def test_a_step_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def load(group: str) -> None:
        if not found:
            found.append(group)
            register_step(HardestSettings)

    monkeypatch.setattr(registered, "offered", lambda group: {"hardest": group})
    monkeypatch.setattr(registered, "load_offer", load)
    try:
        settings = override(TrainSettings(), ["backprop.name=hardest", "backprop.keep=3"])
        assert settings.backprop == HardestSettings(keep=3)
    finally:
        registered._steps._entries.pop("hardest")
    assert found == ["praxiscope.steps"]


def test_settings_that_earlier_versions_wrote_are_read() -> None:
    written = {
        "choose": None,
        "rule": None,
        "candidates": 100,
        "memory": None,
        "chunk": None,
        "watch_statistics": "running",
        "watch_size": None,
        "watch_precision": "same",
    }
    full = TrainSettings.model_validate({"backprop": {"name": "full", **written}})
    assert full == TrainSettings()
    cached = TrainSettings.model_validate({"backprop": {"name": "cached", **written, "chunk": 4}})
    assert cached.backprop.model_dump() == {"name": "cached", "memory": None, "chunk": 4}
    principal = TrainSettings.model_validate({"backprop": {"name": "principal", **written, "choose": 2}})
    assert principal.backprop.learned_snippets(8) == 2
    assert principal.learned_snippets == 2


def test_another_step_replaces_the_settings_of_the_one_before() -> None:
    chosen = override(TrainSettings(), ["backprop.name=principal", "backprop.choose=2", "backprop.chunk=4"])
    cached = override(chosen, ["backprop.name=cached"])
    assert cached.backprop.model_dump() == {"name": "cached", "memory": None, "chunk": 4}
    with pytest.raises(px.ArgumentError, match=r"choose = 2.*principal"):
        override(chosen, ["backprop.name=cached", "backprop.choose=2"])
