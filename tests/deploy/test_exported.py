"""Exported networks: the scores of the network itself, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from exported_models import LABELS, dis, expected, predicted_without_torch, saved
from praxiscope import deploy
from praxiscope.commands.export import export
from praxiscope.deploy.description import DESCRIPTION
from praxiscope.deploy.runner import Runner, _mean
from praxiscope.errors import ArgumentError, CheckpointError, UnknownNameError
from praxiscope.evaluation.views import ViewMean
from support import Call, write_moving


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_moving(path, 1, 0, frames=21)
    return path


@pytest.mark.parametrize(
    ("name", "words", "contract", "snippets"),
    [
        ("tsn", {}, {}, 1),
        ("tsn", {}, {"length": 2, "channels": 6}, 1),
        ("tsm", {"snippets": 4}, {}, 4),
        ("probe", {"frames": 6}, {}, None),
        ("late-pool", {"width": 8}, {}, None),
        ("late-pool", {"width": 8}, {"fps": 4.0}, None),
        ("late-pool", {"width": 8}, {"fps": 6.0, "sampling": "window", "max_seconds": 1.5}, None),
        ("time-conv", {"width": 8}, {}, 30),
        ("vlad-svm", {"layer": "layer2", "words": 4, "dims": 8, "frames": 5}, {}, None),
    ],
)
def test_the_scores_are_those_of_the_network(
    tmp_path: Path,
    clip: Path,
    name: str,
    words: dict[str, Any],
    contract: dict[str, Any],
    snippets: int | None,
) -> None:
    if "channels" in contract:
        words = {**words, "in_channels": contract["channels"]}
    folder = saved(tmp_path / "model", name, contract=contract, **words)
    made = export(folder, tmp_path / "out", clips=[clip])
    assert made.description.snippets == snippets
    assert made.description.checked["noise"] < 1e-4
    assert made.description.checked["clips"]["largest"] < 1e-4
    runner = deploy.load(tmp_path / "out")
    found = runner.logits(clip)
    assert found.dtype == np.float32
    assert np.allclose(found, expected(folder, clip), atol=1e-4)
    assert np.ptp(found) > 1e-3


@pytest.mark.parametrize("protocol", ["1x1", "7x1", "3x1", "dense2x1", "allx1"])
@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_other_views_of_crops_at_the_centre(
    tmp_path_factory: pytest.TempPathFactory, clip: Path, protocol: str, average: str
) -> None:
    root = tmp_path_factory.mktemp("views")
    folder = saved(root / "model")
    export(folder, root / "out")
    found = deploy.load(root / "out").logits(clip, protocol, average)
    assert np.allclose(found, expected(folder, clip, protocol, average), atol=1e-4)


def test_all_frames_of_a_network_of_several_snippets_are_refused(tmp_path: Path, clip: Path) -> None:
    export(saved(tmp_path / "model", "tsm", snippets=4), tmp_path / "out")
    with pytest.raises(ArgumentError, match="allx1"):
        deploy.load(tmp_path / "out").logits(clip, "allx1")


@pytest.mark.parametrize("protocol", ["3xfull", "2xfull-mirrored"])
def test_whole_frames_of_any_size(tmp_path: Path, clip: Path, protocol: str) -> None:
    folder = saved(tmp_path / "model")
    export(folder, tmp_path / "out", protocol=protocol)
    runner = deploy.load(tmp_path / "out")
    assert np.allclose(runner.logits(clip), expected(folder, clip, protocol), atol=1e-4)
    with pytest.raises(ArgumentError, match="3x1"):
        runner.logits(clip, "3x1")


def test_predictions_have_the_calibration_of_the_run(tmp_path: Path, clip: Path) -> None:
    calibration = {
        "temperature": 2.5, "none_below": 0.9, "false_refusals": 0.05, "videos": 9, "source": "made"
    }  # fmt: skip
    folder = saved(tmp_path / "model", calibration=calibration)
    export(folder, tmp_path / "out")
    found, wanted = deploy.load(tmp_path / "out").predict(clip, top=2), px.load(folder).predict(clip, top=2)
    assert found.labels == wanted.labels
    assert np.allclose(found.scores, wanted.scores, atol=0.01)  # that network may run in bfloat16
    exact = torch.from_numpy(expected(folder, clip)).div(2.5).softmax(0).sort(descending=True).values[:2]
    assert np.allclose(found.scores, exact.numpy(), atol=1e-4)
    assert (found.none_of_these, found.none_below) == (wanted.none_of_these, wanted.none_below)


def test_several_labels_are_sigmoids(tmp_path: Path, clip: Path) -> None:
    folder = saved(tmp_path / "model", multi_label=True)
    export(folder, tmp_path / "out")
    found = deploy.load(tmp_path / "out").predict(clip, top=3)
    wanted = torch.from_numpy(expected(folder, clip)).sigmoid().sort(descending=True).values
    assert np.allclose(found.scores, wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_the_mean_over_views_is_that_of_the_tests(average: Any, multi_label: bool) -> None:
    rows = (
        np.random.default_rng(0).normal(scale=30, size=(5, 3)).astype(np.float32)
    )  # probabilities that underflow
    mean = ViewMean(average, multi_label)
    for row in rows:
        mean.add(torch.from_numpy(row))
    assert np.allclose(_mean(rows, average, multi_label), mean.logits().numpy(), atol=1e-4)


def test_a_network_predicts_where_torch_is_not_installed(tmp_path: Path, clip: Path) -> None:
    folder = saved(tmp_path / "model")
    export(folder, tmp_path / "out")
    found = predicted_without_torch(tmp_path / "out", clip)
    wanted = torch.from_numpy(expected(folder, clip)).softmax(0).sort(descending=True)
    assert found["labels"] == [LABELS[number] for number in wanted.indices.tolist()]
    assert np.allclose(found["scores"], wanted.values.numpy(), atol=1e-4)


def test_openvino_and_programs_of_pytorch_have_the_same_scores(tmp_path: Path, clip: Path) -> None:
    folder = saved(tmp_path / "model")
    for to in ("onnx", "openvino", "pt2"):
        made = export(folder, tmp_path / to, to=to, clips=[clip])
        assert made.description.checked["clips"]["largest"] < 1e-4
    wanted = expected(folder, clip)
    for path, runtime in (("onnx", "openvino"), ("openvino", "auto")):
        found = deploy.load(tmp_path / path, runtime=runtime, threads=1).logits(clip)
        assert np.allclose(found, wanted, atol=1e-4)
    with pytest.raises(ArgumentError, match="torch"):
        deploy.load(tmp_path / "pt2")
    with pytest.raises(ArgumentError, match="OpenVINO"):
        deploy.load(tmp_path / "openvino", runtime="onnxruntime")
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        deploy.load(tmp_path / "onnx", runtime="onnxruntim")


@pytest.mark.parametrize("name", ["tsn", "probe"])
def test_eight_bits_are_smaller_and_nearly_the_same(tmp_path: Path, clip: Path, name: str) -> None:
    folder = saved(tmp_path / "model", name)
    whole = export(folder, tmp_path / "whole")
    small = export(folder, tmp_path / "small", int8=[clip], clips=[clip])
    file = whole.description.frames or whole.description.file
    assert (tmp_path / "small" / file).stat().st_size < 0.7 * (tmp_path / "whole" / file).stat().st_size
    wanted, found = (deploy.load(tmp_path / one).logits(clip) for one in ("whole", "small"))
    assert 0 < np.abs(found - wanted).max() < 0.3 * np.ptp(wanted)
    assert small.description.checked["int8"] == {"clips": 1}
    with pytest.raises(ArgumentError, match="onnxruntime"):
        deploy.load(tmp_path / "small", runtime="openvino")


def test_the_command_writes_and_predicts(tmp_path: Path, clip: Path, call: Call) -> None:
    folder = saved(tmp_path / "model")
    made = call("export", folder, "--out", tmp_path / "out", "--check", clip, "--json")
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert told["checked"]["clips"]["count"] == 1
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    shown = call("predict", tmp_path / "out", clip, "--csv")
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[1].startswith(f"{clip},1,")
    for words in (("--window", "1s"), ("--flow-weights", "x")):
        refused = call("predict", tmp_path / "out", clip, *words)
        assert refused.code == 2
        assert words[0] in refused.err
    again = call("export", folder, "--out", tmp_path / "out")
    assert again.code == 2
    assert "exists" in again.err


def test_what_cannot_be_exported_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    everything = saved(tmp_path / "all", "full-video", backbone="resnet18", early_shift=True)
    with pytest.raises(ArgumentError, match="first stage"):
        export(everything, tmp_path / "out")
    slow = saved(tmp_path / "flow", flow=dis(method="tvl1"))
    with pytest.raises(ArgumentError, match="tvl1"):
        export(slow, tmp_path / "out")
    along = saved(tmp_path / "along", flow=dis(kind="trajectory"))
    with pytest.raises(ArgumentError, match="trajectories"):
        export(along, tmp_path / "out")
    with pytest.raises(ArgumentError, match="int8"):
        export(everything, tmp_path / "out", to="pt2", int8=["clip.mp4"])
    with pytest.raises(ArgumentError, match="tflite"):
        export(everything, tmp_path / "out", to="tflite")
    with pytest.raises(ArgumentError, match="25x10"):
        export(saved(tmp_path / "tsn"), tmp_path / "out", protocol="25x10")
    assert {path.name for path in tmp_path.iterdir()} == {"all", "along", "flow", "tsn"}


def test_damaged_folders_are_named(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(CheckpointError, match="praxiscope export"):
        deploy.load(tmp_path)
    export(saved(tmp_path / "model"), tmp_path / "out")
    about, file = tmp_path / "out" / DESCRIPTION, tmp_path / "out" / "network.onnx"
    content = json.loads(about.read_text())
    for wrong in ({**content, "version": 9}, {"version": 1}, {**content, "more": 1}):
        about.write_text(json.dumps(wrong))
        with pytest.raises(CheckpointError, match=DESCRIPTION):
            deploy.load(tmp_path / "out")
    for name, value in (
        *(("size", 0), ("short_side", "32"), ("length", True), ("together", -1), ("fps", float("inf"))),
        *(("labels", []), ("labels", [1, 2]), ("multi_label", "no"), ("calibration", None), ("model", 3)),
        *(("labels", "walk"), ("labels", 5), ("streams", "rgb"), ("streams", ["sound"]), ("streams", None)),
        *(("calibration", {"temperature": 0}), ("calibration", {"temperature": "x"}), ("snippets", 1.5)),
        *(("file", "../network.onnx"), ("file", ""), ("frames", "/x.onnx"), ("file", "C:x"), ("join", [])),
    ):
        about.write_text(json.dumps({**content, name: value}))
        with pytest.raises(CheckpointError, match=f"{DESCRIPTION}.*{name} is"):
            deploy.load(tmp_path / "out")
    about.write_text(json.dumps(content))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"network\.onnx"):
        deploy.load(tmp_path / "out")
    file.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        deploy.load(tmp_path / "out")
    broken = Runner(
        deploy.read_description(tmp_path / "out"), lambda inputs: [np.full((1, 3), np.nan, np.float32)]
    )
    with pytest.raises(CheckpointError, match="finite"):
        broken.logits(clip, "1x1")


def test_videos_that_cannot_be_read_are_left_out(tmp_path: Path, clip: Path, call: Call) -> None:
    folder = saved(tmp_path / "model")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    lines = tmp_path / "clips.txt"
    lines.write_text(f"{clip}\n{broken}\nmissing.mp4\n")
    made = call("export", folder, "--out", tmp_path / "out", "--check", lines, "--int8", lines, "--json")
    assert made.code == 0, made.err
    checked = json.loads(made.out)["checked"]
    assert (checked["clips"]["count"], checked["int8"]["clips"]) == (1, 1)
    assert made.err.count("missing.mp4") == 2
    assert made.err.count(f"Left out: {broken}") == 2
    for option in ("--check", "--int8"):
        none = call("export", folder, "--out", tmp_path / "none", option, broken)
        assert none.code == 1, none.err
        assert str(broken) in none.err
        assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("test",), ("predict", "--segments")])
def test_commands_that_need_the_run_say_so(
    tmp_path: Path, clip: Path, call: Call, command: tuple[str, ...]
) -> None:
    export(saved(tmp_path / "model"), tmp_path / "out")
    refused = call(command[0], tmp_path / "out", clip, *command[1:])
    assert refused.code != 0
    assert "exported network" in refused.err
    assert "checkpoint" not in refused.err
