"""Runs that learn classes and flow together: targets, resuming, predictions without the decoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.commands.train import train
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.store import FlowStore
from praxiscope.inference.flow_network import load_flow_network
from praxiscope.models.contract import EstimatesFlow
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.checks import flow_folders
from praxiscope.training.log import read_log
from runs import Stop, assert_same, run_test
from support import Call

pytestmark = pytest.mark.usefixtures("_narrow")

SMALL = (
    *("input.size=32", "input.short_side=36", "optim.epochs=2", "optim.batch=4", "data.workers=0"),
    *("run.precision=32", "run.tensorboard=false", "run.protocol=1x1", "model.dropout=0.2"),
)


def settings(moving: tuple[Path, Path], *assignments: str, model: str = "actionflownet-2f") -> TrainSettings:
    given = [*SMALL, f"data.source={moving[0]}", f"data.flow={moving[1]}"]
    return override(get_recipe(f"default-{model}"), [*given, *assignments])


@pytest.fixture(scope="module")
def run(_narrow: None, moving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow-targets") / "run"
    assert train(settings(moving, "optim.lr=0.003", "optim.epochs=6", "run.validate_epochs=6"), folder)
    return folder


def test_a_run_learns_flow_beside_classes_and_says_from_what(run: Path, moving: tuple[Path, Path]) -> None:
    rows = [row for row in read_log(run / "log.csv") if "epe" in row]
    first, errors = rows[0], [row["epe"] for row in rows]
    assert first["loss"] == pytest.approx(first["loss_action"] + 10 * first["loss_flow"], rel=1e-5)
    assert 0 < sum(errors[-6:]) < sum(errors[:6])
    card = load_card(find_checkpoint(run))
    assert card.teacher == FlowStore(moving[1]).contract.to_dict()
    assert (card.input.flow, card.input.channels, card.input.streams) == (None, 6, ("rgb",))


def test_tests_and_predictions_need_no_flow(run: Path, moving: tuple[Path, Path]) -> None:
    result = run_test(run, moving[0], protocol="2x1", workers=0)
    assert result.figures["videos"] == 4
    with pytest.raises(ArgumentError, match="does not use flow"):
        run_test(run, moving[0], flow=moving[1], workers=0)


def test_predictions_do_not_read_the_decoder(
    run: Path, moving: tuple[Path, Path], tmp_path: Path, call: Call
) -> None:
    video = next(moving[0].rglob("*.mp4"))
    expected = px.load(run, device="cpu").predict(video)
    bare = tmp_path / "bare"
    shutil.copytree(find_checkpoint(run), bare)
    tensors = load_file(bare / "model.safetensors")
    kept = {name: x for name, x in tensors.items() if not name.startswith("decoder.")}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, bare / "model.safetensors")
    loaded: Any = px.load(bare, device="cpu")
    assert loaded.model.decoder is None
    assert loaded.predict(video).scores == expected.scores
    done = call("predict", bare, video, "--device", "cpu")
    assert done.code == 0, done.err
    with pytest.raises(CheckpointError, match=r"decoder\."):
        load_flow_network(bare)
    whole = load_flow_network(run).model
    assert isinstance(whole, EstimatesFlow)
    assert whole.estimate(torch.zeros(1, 6, 32, 32))[0].shape == (1, 1, 2, 8, 8)
    done = call("features", moving[0], "--backbone", bare, "--out", tmp_path / "features", "--workers", 1)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    moving: tuple[Path, Path], tmp_path: Path, stop_after: Stop
) -> None:
    learned = settings(moving, "run.checkpoint_steps=1")
    assert train(learned, tmp_path / "whole")
    stop_after(1)
    assert not train(learned, tmp_path / "parts")
    stop_after(None)
    other = tmp_path / "other"
    shutil.copytree(moving[1], other)
    contract = json.loads((other / "flow.json").read_text())
    contract["contract"]["parameters"]["iterations"] = 99
    (other / "flow.json").write_text(json.dumps(contract))
    with pytest.raises(ArgumentError, match=r"data\.flow"):
        train(settings((moving[0], other), "run.checkpoint_steps=1"), tmp_path / "parts", resume=True)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "parts", moved)
    text = (moved / "settings.yaml").read_text()
    (moved / "settings.yaml").write_text(text.replace(str(moving[1]), str(other)))
    with pytest.raises(DataError, match="iterations"):
        train(settings((moving[0], other), "run.checkpoint_steps=1"), moved, resume=True)
    assert train(learned, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_sixteen_frames_of_shorter_videos_learn_by_workers(moving: tuple[Path, Path], tmp_path: Path) -> None:
    learned = settings(moving, "optim.epochs=1", "optim.batch=2", "data.workers=1", model="actionflownet")
    assert train(learned, tmp_path / "run")  # the videos have 14 frames
    assert read_log(tmp_path / "run" / "log.csv")[0]["epe"] > 0


def test_several_data_sets_each_have_flow_to_learn(moving: tuple[Path, Path], tmp_path: Path) -> None:
    videos, flow = moving
    tasks = {name: {"source": str(videos), "flow": str(flow)} for name in ("one", "two")}
    alone = settings(moving, "data.flow=null", "data.source=''", "optim.epochs=1", "run.validate_epochs=0")
    assert train(alone.updated({"data.tasks": tasks}), tmp_path / "run")
    assert read_log(tmp_path / "run" / "log.csv")[0]["epe"] > 0
    tasks["two"]["flow"] = None  # type: ignore[assignment]
    with pytest.raises(ArgumentError, match=r"of two\..*--flow two=flow/"):
        flow_folders(alone.updated({"data.tasks": tasks}))


def test_training_without_flow_needs_none(moving: tuple[Path, Path], tmp_path: Path) -> None:
    alone = settings(moving, "data.flow=null", "backprop.flow_weight=0", "optim.epochs=1")
    assert train(alone, tmp_path / "alone")
    plain = settings(moving, "data.flow=null", "backprop.name=full", "optim.epochs=1")
    assert train(plain, tmp_path / "plain")
    assert_same(tmp_path / "alone", tmp_path / "plain")
    assert load_card(find_checkpoint(tmp_path / "alone")).teacher == {}
    assert "teacher" not in json.loads((find_checkpoint(tmp_path / "alone") / "model.json").read_text())


@pytest.mark.parametrize(
    ("model", "assignments", "told"),
    [
        ("actionflownet-2f", ["data.flow=null"], r"actionflownet-2f.*--flow flow/.*flow_weight=0"),
        ("actionflownet-2f", ["backprop.flow_weight=0"], r"--flow .*flow_weight"),
        ("actionflownet", ["backprop.name=full"], r"--flow .*action-flow"),
        ("flow-stacked", ["backprop.name=action-flow"], r"action-flow.*flow-stacked.*actionflownet"),
        ("flow-stacked", [], r"--flow .*'rgb'"),
    ],
)
def test_flow_that_is_missing_or_not_learned_is_named(
    moving: tuple[Path, Path], model: str, assignments: list[str], told: str
) -> None:
    with pytest.raises(ArgumentError, match=told) as caught:
        flow_folders(settings(moving, *assignments, model=model))
    assert "\n" not in str(caught.value)


def test_features_of_sixteen_frames_are_refused(
    moving: tuple[Path, Path], tmp_path: Path, call: Call
) -> None:
    alone = settings(
        moving, "data.flow=null", "backprop.flow_weight=0", "optim.epochs=1", "run.validate_epochs=0",
        model="actionflownet",
    )  # fmt: skip
    assert train(alone, tmp_path / "run")
    done = call("features", moving[0], "--backbone", tmp_path / "run", "--out", tmp_path / "features")
    assert done.code != 0
    assert "single frames" in done.err
