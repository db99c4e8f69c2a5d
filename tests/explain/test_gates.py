"""The picture of gates: they are the activations of the other stream, as torchvision computes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.views import Precision
from praxiscope.explain.gates import explain_gates
from praxiscope.explain.hiding import SeenFrames
from praxiscope.flow.contract import FlowContract
from praxiscope.video.opening import open_video
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxiscope.inference.network.inference_precision", lambda *_: Precision())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=16)
    return path


def saved(folder: Path, **keywords: Any) -> Path:
    torch.manual_seed(0)
    given = {"num_classes": 3, "backbone": "resnet18", "in_channels": 4, "pool_window": None, **keywords}
    flow = FlowInput(length=2, made=FlowContract("dis", {"preset": "fast"}, 20.0).to_dict())
    contract = InputContract(size=48, short_side=48, snippets=3, flow=flow, pictures=True)
    card = ModelCard("multiplier", given, ("a", "b", "c"), input=contract)
    save_checkpoint(folder / "model", px.create_model("multiplier", **given), card)
    return folder / "model"


@pytest.mark.parametrize(
    ("direction", "names"),
    [
        ("motion-to-appearance", ["rgb"]),
        ("appearance-to-motion", ["flow"]),
        ("both", ["rgb", "flow"]),
    ],
)
def test_the_first_gate_is_the_first_unit_of_the_other_stream(
    direction: str, names: list[str], clip: Path, tmp_path: Path
) -> None:
    run = saved(tmp_path, direction=direction)
    facts = explain_gates(run, clip, protocol="3x1", frames=3, device="cpu").facts
    assert [gate["name"] for gate in facts["gates"]] == [
        f"{name}.gate{n}" for name in names for n in range(2, 6)
    ]
    network: Any = px.load(run, device="cpu")
    seen = SeenFrames(network, open_video(clip), "3x1")
    rgb, flow = (x[0] for x in seen.inputs(slice(None)))
    for gate in facts["gates"]:
        assert gate["of"] != gate["on"]
        if not gate["name"].endswith("2"):
            continue
        other, x = (network.model.motion, flow) if gate["on"] == "rgb" else (network.model.appearance, rgb)
        with torch.inference_mode():
            expected = other.layer1[0](other.maxpool(other.relu(other.bn1(other.conv1(x)))))
        assert np.array(gate["map"]) == pytest.approx(expected.mean(1).numpy(), abs=1e-5)
        assert gate["open"] == pytest.approx(float((expected > 0).double().mean()), abs=1e-4)


def test_a_network_without_gates_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="gate"):
        explain_gates(saved(tmp_path, gate=None), clip, device="cpu")


def test_the_command_writes_the_picture_and_its_numbers(call: Any, clip: Path, tmp_path: Path) -> None:
    run, path = saved(tmp_path), tmp_path / "gates.png"
    code, out, err = call(
        "explain", "gates", run, clip, "--frames", 2, "--device", "cpu", "--out", path, "--json"
    )
    assert code == 0, err
    assert len(json.loads(out)["times_s"]) == 2
    assert path.read_bytes().startswith(b"\x89PNG")
