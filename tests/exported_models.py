"""Model folders with random weights, and an exporter that runs once for each: for tests of exported networks."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard
from praxiscope.flow.contract import FlowContract
from praxiscope.inference import graphs
from praxiscope.inference.recogniser import Recogniser

LABELS = ("a", "b", "c")

_PROGRAMS: dict[str, Any] = {}
"""What the exporter made of a part of a network, or the error it raised."""


@contextmanager
def each_exported_once() -> Iterator[None]:
    """Within, PyTorch's exporter, which takes seconds, runs once for each network of a process.

    What it made is written, opened and compared with the network as often as tests ask for it, so that one that was
    taken for another fails them.
    """
    real = graphs._program

    def program(graph: graphs.Graph, example: tuple[torch.Tensor, ...]) -> Any:
        key = _digest(graph, example)
        if key not in _PROGRAMS:
            try:
                _PROGRAMS[key] = real(graph, example)
            except Exception as error:
                _PROGRAMS[key] = error
        if isinstance(_PROGRAMS[key], Exception):
            raise _PROGRAMS[key]
        return _PROGRAMS[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "_program", program)
        # It asks for the same table of operators each time, and making that takes most of a second.
        with suppress(ImportError, AttributeError):  # a private name of PyTorch
            apis = import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
            patch.setattr(apis, "get_torchlib_ops", cache(apis.get_torchlib_ops))
        yield


def _digest(graph: graphs.Graph, example: tuple[torch.Tensor, ...]) -> str:
    """Of what a part makes of the example, and of the numbers and words that its modules hold."""
    with torch.inference_mode():
        made = graph.module(*example)
    found = hashlib.sha256(repr((graph.inputs, graph.outputs, graph.free)).encode())
    for x in (*example, *(made if isinstance(made, tuple) else (made,))):
        found.update(repr((x.shape, x.dtype)).encode() + x.numpy().tobytes())
    # What follows the frames is no part of their network, although its module holds it.
    for name, module in () if graph.name == "frames" else graph.module.named_modules():
        plain = {key: x for key, x in vars(module).items() if isinstance(x, (int, float, str, tuple))}
        found.update(repr((name, type(module), plain)).encode())
    return found.hexdigest()


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


_MAIN = "from praxiscope.cli.main import main; main()"

WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "torchvision", "lightning_fabric", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
"""
"""The begin of a program in which torch and what needs it cannot be imported."""


def predicted_without_torch(folder: Path, clip: Path) -> dict[str, Any]:
    """What ``praxiscope predict --json`` says of a clip in a process that cannot import torch."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_TORCH}\n{_MAIN}", "predict", folder, clip, "--json", "--top", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout)
    return dict(found)
