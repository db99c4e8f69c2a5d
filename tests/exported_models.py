"""Model folders with random weights, for tests of exported networks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard
from praxiscope.flow.contract import FlowContract
from praxiscope.inference.recogniser import Recogniser

LABELS = ("a", "b", "c")


def dis(
    length: int = 5,
    kind: str = "stack",
    *,
    short_side: int | None = None,
    range: float | str = 20.0,
    subtract_mean: bool = True,
    method: str = "dis",
) -> FlowInput:
    """Stacks of flow by OpenCV."""
    parameters = {"preset": "medium"} if method == "dis" else {}
    made = FlowContract(method, parameters, range=range, short_side=short_side).to_dict()
    return FlowInput(length, kind, subtract_mean, made)


def saved(
    folder: Path,
    name: str = "tsn",
    *,
    contract: dict[str, Any] | None = None,
    flow: FlowInput | None = None,
    **words: Any,
) -> Path:
    """The model folder of a network with random weights."""
    torch.manual_seed(0)
    card_words = {key: words.pop(key) for key in ("multi_label", "calibration") if key in words}
    if flow is not None:
        words = {"stream": "flow", "in_channels": flow.channels, **words}
    kwargs = {"num_classes": 3, "backbone": "resnet10", **words}
    model: Any = px.create_model(name, **kwargs)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
    given = InputContract(size=32, short_side=36, channels=model.channels[model.streams[0]], snippets=4)
    if flow is not None:
        own = model.normalisation["flow"]
        pictures = "rgb" in model.streams
        given = replace(given, flow=flow, pictures=pictures, flow_mean=own["mean"], flow_std=own["std"])
    card = ModelCard(name, kwargs, LABELS, input=replace(given, **(contract or {})), **card_words)
    Recogniser(model, card, precision="32").save(folder)
    return folder


def expected(folder: Path, clip: Path, protocol: str | None = None, average: str | None = None) -> Any:
    """Scores of a video by PyTorch, in float32."""
    loaded: Any = px.load(folder, device="cpu")
    return Recogniser(loaded.model, loaded.card, precision="32").video_logits(clip, protocol, average).numpy()


_WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "torchvision", "lightning_fabric", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
from praxiscope.cli.main import main
main()
"""


def predicted_without_torch(folder: Path, clip: Path) -> dict[str, Any]:
    """What ``praxiscope predict --json`` says of a clip in a process that cannot import torch."""
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, "predict", folder, clip, "--json", "--top", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout)
    return dict(found)
