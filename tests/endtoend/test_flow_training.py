"""Flow networks from data to run folder: resuming, videos with stored flow, what starts from them, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.moving_shapes import Design, ShapeSet, make_moving_shapes
from praxiscope.commands.train import train
from praxiscope.data.flow_samples import load_flow_samples
from praxiscope.data.splitlist import SplitList, trained_on
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.store import FlowStore
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.log import read_log
from runs import assert_same_weights, weights
from support import Call, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")
TINY = (
    "model.backbone=resnet10",
    "input.size=32",
    "input.short_side=32",
    "optim.batch=2",
    "optim.milestone_steps=[]",
    "optim.schedule=constant",
    "data.workers=0",
    "run.precision=32",
    "run.tensorboard=false",
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = ShapeSet(pairs=(4, 2), clips=(2, 1), frames=5, design=Design(size=48))
    return make_moving_shapes(tmp_path_factory.mktemp("shapes") / "set", made, workers=1)


def settings(data: object, model: str = "flownet", *assignments: str) -> TrainSettings:
    recipe = get_recipe(f"default-{model}")
    return override(recipe, [*TINY, f"data.source={data}", f"model.name={model}", *assignments])


@pytest.fixture(scope="module")
def run(_narrow: None, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "flownet"
    assert train(settings(shapes, "flownet", "optim.steps=4"), folder)
    return folder


def test_a_run_of_known_flow_has_an_error_and_a_card(run: Path) -> None:
    log = read_log(run / "log.csv")
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3, 4]
    last = [row for row in log if "val_epe" in row][-1]
    assert 0 < last["val_epe"] < 30
    assert 0 < last["val_epe_zero"] < 20
    card = load_card(find_checkpoint(run))
    assert (card.name, card.labels, card.input.length, card.input.channels) == ("flownet", (), 2, 6)
    assert (run / "report.html").is_file()


def test_an_interrupted_run_ends_as_an_uninterrupted_one(run: Path, shapes: Path, tmp_path: Path) -> None:
    assert train(settings(shapes, "flownet", "optim.steps=3"), tmp_path / "run")
    assert train(settings(shapes, "flownet", "optim.steps=4"), tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")


def test_a_run_lists_its_samples_and_is_resumed_on_them_only(run: Path, shapes: Path, tmp_path: Path) -> None:
    sides = SplitList(run).sides()
    assert sorted(sides.values()) == ["test"] * 3 + ["train"] * 6
    assert {sample.id for sample in load_flow_samples(shapes, "test")} == {
        key for key, side in sides.items() if side == "test"
    }
    copy = shutil.copytree(shapes, tmp_path / "set")
    assert train(settings(copy, "flownet", "optim.steps=1"), tmp_path / "run")
    more = ShapeSet(pairs=(6, 2), clips=(2, 1), frames=5, design=Design(size=48))
    shutil.rmtree(copy)
    make_moving_shapes(copy, more, workers=1)
    with pytest.raises(DataError, match="--resume"):
        train(settings(copy, "flownet", "optim.steps=2"), tmp_path / "run", resume=True)


def test_a_run_starts_networks_that_standardise_clips_as_it_does(
    run: Path, shapes: Path, tmp_path: Path
) -> None:
    assert load_card(find_checkpoint(run)).kwargs["standardise"] is True
    other = settings(shapes, "flownet", f"model.start=[{run}]", "model.standardise=false", "optim.steps=1")
    with pytest.raises(ArgumentError, match=r"model\.standardise=true"):
        train(other, tmp_path / "run")


def test_samples_that_were_learned_before_are_listed_and_an_old_list_of_skips_is_not_kept(
    run: Path, shapes: Path, tmp_path: Path
) -> None:
    assert len(trained_on(run)) == 6
    started = settings(shapes, "flownet", f"model.start=[{run}]", "optim.steps=1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "skipped.0.csv").write_text("id,problem\nold,damaged\n", encoding="utf-8")
    assert train(started, tmp_path / "run")
    assert len(SplitList(tmp_path / "run").before()) == 6
    assert not list((tmp_path / "run").glob("skipped*"))


def test_networks_over_time_learn_the_field_after_the_last_frame(shapes: Path, tmp_path: Path) -> None:
    chosen = settings(shapes, "flownet-3d", "optim.steps=1", "input.frames=4")
    assert train(chosen, tmp_path / "run")
    last = [row for row in read_log(tmp_path / "run" / "log.csv") if "val_epe" in row][-1]
    assert last["val_epe_future"] > 0


def test_a_flow_network_predicts_no_classes(run: Path, tmp_path: Path, call: Call) -> None:
    with pytest.raises(CheckpointError, match="flownet"):
        px.load(run)
    write_clip(tmp_path / "clip.mp4", 0)
    ended = call("predict", run, "clip.mp4")
    assert ended.code != 0
    assert "flownet" in ended.err


def test_flow_of_videos_is_stored_and_teaches(run: Path, tmp_path: Path, call: Call) -> None:
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(tmp_path / "videos" / name, int(name[2]), frames=5, size=(48, 48))
    made = call(
        "flow", "videos", "--method", "network", "--run", run, "--out", "learned", "--json", "--workers", 1
    )
    assert made.code == 0
    assert json.loads(made.out)["clips"] == 4
    contract = FlowStore(tmp_path / "learned").contract
    assert contract.method == "network"
    assert len(str(contract.parameters["weights"])) == 16
    options = replace(StoreOptions(), method="dis", parameters={"preset": "ultrafast"}, workers=1)
    extract_flow(tmp_path / "videos", tmp_path / "teacher", options)
    ended = call(
        *("train", "videos", "--model", "flownet", "--flow", "teacher", "--out", "taught", "--allow-no-test"),
        *(word for text in (*TINY, "optim.steps=1") for word in ("--set", text)),
    )
    assert ended.code == 0, ended.err
    ended = call(
        *("train", "videos", "--model", "actionflownet-2f", "--flow", "teacher", "--from", "taught"),
        *("--out", "joint", "--allow-no-test"),
        *(word for text in (*TINY[3:], "optim.epochs=1") for word in ("--set", text)),
    )
    assert ended.code == 0, ended.err
    sides = {name: SplitList(tmp_path / name).sides() for name in ("taught", "joint")}
    assert set(sides["taught"]) == set(sides["joint"]) == {"a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"}
    assert len(SplitList(tmp_path / "joint").before()) == list(sides["taught"].values()).count("train") > 0
    start, end = weights(tmp_path / "taught"), weights(tmp_path / "joint")
    assert {key for key in start if key not in end} == set()
    assert all(start[key].shape == end[key].shape for key in start)
    assert all(
        float((end[key] - start[key]).abs().max()) < 0.01 for key in start if key.endswith("conv1.weight")
    )
    assert load_card(find_checkpoint(tmp_path / "joint")).input.size == 32
    assert px.load(tmp_path / "joint").model.decoder is None


def test_a_broken_video_is_skipped_and_listed(tmp_path: Path, call: Call) -> None:
    for number in range(5):
        (tmp_path / "videos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        write_clip(tmp_path / "videos" / "ab"[number % 2] / f"{number}.mp4", number, frames=6, size=(48, 48))
    options = replace(StoreOptions(), method="dis", parameters={"preset": "ultrafast"}, workers=1)
    extract_flow(tmp_path / "videos", tmp_path / "teacher", options)
    (tmp_path / "videos" / "a" / "0.mp4").write_bytes(b"not a video")
    ended = call(
        *("train", "videos", "--model", "flownet-3d", "--flow", "teacher", "--out", "run", "--max-skip", "1"),
        *("--set", "input.frames=4", "--set", "data.test_fraction=0.2"),
        *(word for text in (*TINY, "optim.steps=4") for word in ("--set", text)),
    )
    assert ended.code == 0, ended.err
    assert "a/0.mp4" in (tmp_path / "run" / "skipped.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", ["optim.probe=true", "optim.frozen_epochs=1", "backprop.name=cached"])
def test_settings_without_meaning_for_flow_are_refused(shapes: Path, tmp_path: Path, setting: str) -> None:
    with pytest.raises(ArgumentError, match=setting.partition("=")[0]):
        train(settings(shapes, "flownet", setting), tmp_path / "run")


def test_weights_of_resolutions_are_a_setting(run: Path, shapes: Path, tmp_path: Path) -> None:
    given = ("backprop.name=action-flow", "backprop.resolution_weights=[1, 0, 0, 0]", "optim.steps=1")
    assert train(settings(shapes, "flownet", *given), tmp_path / "run")
    one, other = (read_log(folder / "log.csv")[0] for folder in (run, tmp_path / "run"))
    assert other["epe"] == pytest.approx(one["epe"])  # the same first batch
    assert other["loss"] == pytest.approx(other["epe"] / 20, rel=1e-4)
    assert one["loss"] != pytest.approx(other["loss"])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("train", "videos", "--model", "flownet"), "--flow"),
        (("train", "nowhere", "--model", "flownet"), "nowhere"),
        (("train", "SHAPES", "--model", "flownet", "--flow", "SHAPES"), "--flow"),
        (("train", "SHAPES", "--model", "tsn"), "SHAPES"),
        (("flow", "videos", "--method", "tvl1", "--run", "RUN", "--out", "x"), "--run"),
        (("flow", "videos", "--method", "network", "--out", "x"), "--run"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    words: tuple[str, ...], named: str, shapes: Path, run: Path, tmp_path: Path, call: Call
) -> None:
    for folder in ("a", "b"):
        (tmp_path / "videos" / folder).mkdir(parents=True)
        write_clip(tmp_path / "videos" / folder / "1.mp4", 0, frames=3, size=(48, 48))
    places = {"SHAPES": str(shapes), "RUN": str(run)}
    given = [places.get(word, word) for word in words]
    ended = call(*given, *(("--out", "new") if "--out" not in words else ()))
    assert ended.code in (1, 2)
    assert places.get(named, named) in ended.err
    assert "Traceback" not in ended.err
