"""Networks of pictures and flow together: training from two trained streams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from praxiscope.checkpoint import find_checkpoint, load_card, load_tensors
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.train import train
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.store import FlowStore
from praxiscope.progress import Reporter
from praxiscope.training.build_model import build_model
from praxiscope.training.log import read_log
from praxiscope.training.warm_start import settings_of_runs
from runs import run_test
from support import FLOW_PARAMETERS, write_moving
from two_streams import Moving, Streams, joint, single

pytestmark = pytest.mark.usefixtures("_narrow")


def test_a_joint_network_starts_as_its_streams_ended(moving: Moving, streams: Streams) -> None:
    from praxiscope.training.run_data import load_data

    settings = joint(moving, streams[::-1])  # in any order
    lines: list[str] = []

    class Said(Reporter):
        def line(self, text: str) -> None:
            lines.append(text)

    store = FlowStore(moving[1])
    model, card = build_model(settings, load_data(settings), Said(), store)
    for network, folder in ((model.appearance, streams[0]), (model.motion, streams[1])):  # type: ignore[union-attr]
        saved = load_tensors(find_checkpoint(folder))
        own = network.state_dict()  # type: ignore[union-attr]
        assert {f"backbone.{key}" for key in own} == set(saved)
        assert all(own[key].equal(saved[f"backbone.{key}"]) for key in own)
    assert len(lines) == 2
    assert all("all." in line for line in lines)
    assert card.input.streams == ("rgb", "flow")
    assert card.input.stream_channels == {"rgb": 3, "flow": 8}
    assert card.input.flow == load_card(find_checkpoint(streams[1])).input.flow
    assert (card.input.size, card.input.short_side) == (32, 36)


def test_classifiers_of_other_classes_are_made_anew(moving: Moving, streams: Streams, tmp_path: Path) -> None:
    for number, name in enumerate(("down", "up")):
        for clip in range(4):
            write_moving(tmp_path / "videos" / name / f"{clip}.mp4", 2 * number - 1, clip)
    extract_flow(
        tmp_path / "videos",
        tmp_path / "flow",
        StoreOptions(parameters=FLOW_PARAMETERS, backward=True, workers=1),
    )
    settings = joint((tmp_path / "videos", tmp_path / "flow"), streams)
    assert train(settings, tmp_path / "run")
    assert load_card(find_checkpoint(tmp_path / "run")).labels == ("down", "up")


def test_the_joint_network_learns_and_tests_with_stored_and_estimated_flow(
    joint_run: Path, moving: Moving
) -> None:
    stored = run_test(joint_run, moving[0], flow=moving[1], workers=0)
    assert (
        stored.scores.protocol["name"] == "25xfull"
    )  # left is not right here: the streams were trained without flips
    assert stored.scores.protocol["streams"] == ["rgb", "flow"]
    assert stored.figures["videos"] == 4
    rows = (joint_run / "log.csv").read_text().splitlines()
    place = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[place]) for row in rows[1:] if row.split(",")[place]]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    steps = [row for row in read_log(joint_run / "log.csv") if "loss" in row]
    assert [row["loss_rgb"] + row["loss_flow"] for row in steps] == pytest.approx(losses, rel=1e-5)
    estimated = run_test(joint_run, moving[0], workers=2).scores
    np.testing.assert_allclose(
        estimated.reordered(stored.scores.ids).logits, stored.scores.logits, rtol=1e-4, atol=1e-4
    )
    other = run_test(joint_run, moving[0], flow=moving[1], protocol="3x10", workers=0)
    assert other.figures["videos"] == 4


def test_a_resumed_joint_run_ends_as_an_uninterrupted_one(
    moving: Moving, streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = joint(moving, streams, "model.motion_dropout=0.5")
    assert train(settings, tmp_path / "whole")
    shorter = settings.updated({"run.checkpoint_steps": 3})

    class Stop(Exception):
        pass

    import praxiscope.commands.train as module

    saved = module.save
    count = 0

    def stop(*args: Any, **options: Any) -> None:
        nonlocal count
        saved(*args, **options)
        count += 1
        if count == 1:
            raise Stop

    monkeypatch.setattr(module, "save", stop)
    with pytest.raises(Stop):
        train(shorter, tmp_path / "parts")
    monkeypatch.setattr(module, "save", saved)
    assert train(shorter, tmp_path / "parts", resume=True)
    one, other = (load_tensors(find_checkpoint(tmp_path / name)) for name in ("whole", "parts"))
    assert all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["backprop.name=principal", "backprop.choose=1"], r"backprop\.name = principal.*multiplier"),
        (["backprop.name=cached"], r"backprop\.name = cached.*multiplier"),
        (["model.weights=w.npz"], r"--weights w\.npz.*--from"),
        (
            ["model.weights=w.npz", "model.start=null"],
            r"--weights w\.npz.*multiplier.*--from",
        ),
        (["input.flow_length=[2,4]"], r"in_channels.*\[4, 8\]"),
        (["model.stream=rgb"], r"--flow.*multiplier.*--stream"),
        (["data.flow=null"], r"multiplier.*--flow"),
        (["model.motion_backbone=resnet34"], r"--from.*model\.motion_backbone"),
        (["model.backbone=resnet50"], r"resnet50\b.*resnet18\b"),
        (["model.name=tsn", "data.flow=null", "model.start=[a,b]"], "'motion_backbone'"),
        (["model.gate=sideways"], "'sideways'"),
        (["model.pool_window=2.5"], r"pool_window.*2\.5"),
        (["model.pretrained=true"], r"--pretrained.*--from"),
    ],
)
def test_what_a_joint_training_cannot_use_is_said(
    assignments: list[str],
    message: str,
    moving: Moving,
    streams: Streams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", weight=np.zeros(1, np.float32))  # a file that is there; it is not read
    with pytest.raises((ArgumentError, CheckpointError)) as caught:
        train(joint(moving, streams, *assignments), tmp_path / "run")
    assert re.search(message, str(caught.value))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_runs_that_make_no_pair_are_refused(
    moving: Moving, streams: Streams, joint_run: Path, tmp_path: Path
) -> None:
    rgb, motion = (str(folder) for folder in streams)
    with pytest.raises(ArgumentError, match="--from"):
        settings_of_runs([rgb])
    with pytest.raises(ArgumentError, match=r"--from: .*rgb"):
        settings_of_runs([rgb, rgb])
    with pytest.raises(ArgumentError, match=r"--from .*multiplier"):
        settings_of_runs([str(joint_run), motion])
    assert train(single(moving[0], None, "input.size=24"), tmp_path / "smaller")
    with pytest.raises(ArgumentError, match=r"24.*36"):
        settings_of_runs([str(tmp_path / "smaller"), motion])
    extract_flow(
        moving[0], tmp_path / "other", StoreOptions(parameters={"warps": 1, "iterations": 3}, workers=1)
    )
    with pytest.raises(DataError, match=r"other.*(warps|iterations)"):
        train(joint((moving[0], tmp_path / "other"), streams), tmp_path / "run")
    plain = single(moving[0], None, f"model.start=[{rgb},{motion}]")
    with pytest.raises(ArgumentError, match="--model multiplier"):
        train(plain, tmp_path / "plain")


def test_the_streams_decide_on_mirror_images_and_normalisation(
    moving: Moving, streams: Streams, tmp_path: Path
) -> None:
    from praxiscope.training.run_data import load_data

    def contract(*changes: str) -> Any:
        settings = joint(moving, (tmp_path / "grey", streams[1]), *changes)
        return build_model(settings, load_data(settings), Reporter(), FlowStore(moving[1]))[1].input

    assert train(single(moving[0], None, "input.mean=[0.5]", "input.std=[0.25]"), tmp_path / "grey")
    found = contract()
    assert (found.mean, found.std, found.channels) == ((0.5,), (0.25,), 3)
    assert not found.flip
    assert contract("input.flip=true").flip
    assert settings_of_runs([str(run) for run in streams])["input.flip"] is False
