"""All registered models exported: differences, sizes, and seconds for a clip. The rows of `benchmarks/export.py`."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import praxiscope as px
from praxiscope import deploy
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, save_checkpoint, write_json
from praxiscope.commands.export import export
from praxiscope.errors import PraxiscopeError
from praxiscope.flow.contract import FlowContract
from praxiscope.inference.flow_network import NetworkFlow
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.names import learns_of
from praxiscope.models.registered import FILES
from praxiscope.trajectories.result import joined
from praxiscope.trajectories.videos import extract_frames
from praxiscope.units import counted
from praxiscope.video.opening import open_video

__all__ = ["HEADER", "MODELS", "make", "measure", "quantise", "row"]

CLASSES = 9
LIMIT_S = 25.0  # of a system; after it, no more than LEAST clips are timed
LEAST = 3
FLOW_FRAMES = 17  # of a clip, of networks that estimate flow
SYSTEMS = ("PyTorch", "onnxruntime", "OpenVINO", "int8")
HEADER = (
    "model",
    "views",
    "difference",
    "int8",
    "MB",
    "MB, int8",
    *(f"s, {name}" for name in SYSTEMS),
    "clips",
)

MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in sorted(FILES)},
    "tsn of flow": ("tsn", {"stream": "flow", "in_channels": 10}),
}
"""The model of each row, and its keywords."""


def saved(folder: Path, name: str, words: Mapping[str, Any]) -> Path:
    """The model folder of a network with random weights, as large as it is by default; flow is that of DIS."""
    torch.manual_seed(0)
    model: Any = px.create_model(name, num_classes=CLASSES, **words)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.05)
    channels, own = model.channels, model.normalisation
    contract: dict[str, Any] = {"channels": channels[model.streams[0]]}
    if "rgb" in channels:
        contract |= {**own["rgb"], "length": channels["rgb"] // 3}
    if "flow" in channels:
        made = FlowContract("dis", {"preset": "medium"}).to_dict()
        contract |= {
            "flow": FlowInput(channels["flow"] // 2, made=made),
            "pictures": "rgb" in channels,
            **{f"flow_{key}": value for key, value in own["flow"].items()},
        }
    labels = tuple(f"class {number}" for number in range(CLASSES))
    card = ModelCard(name, {"num_classes": CLASSES, **words}, labels, input=InputContract(**contract))
    Recogniser(model, card).save(folder)
    return folder


def fitted(folder: Path, name: str, words: Mapping[str, Any], training: Sequence[Path]) -> Path:
    """The model folder of an encoder of the trajectories of some videos, with random weights of the classes."""
    torch.manual_seed(0)
    words = {"num_classes": CLASSES, **words}
    model: Any = px.create_model(name, **words)
    model.learn(joined([extract_frames(open_video(path), model.extraction) for path in training]))
    torch.nn.init.normal_(model.svm.weight)
    labels = tuple(f"class {number}" for number in range(CLASSES))
    save_checkpoint(folder, model, ModelCard(name, words, labels, input=InputContract()))
    return folder


def flow_network(folder: Path, name: str, words: Mapping[str, Any]) -> Path:
    """The model folder of a network that estimates flow, with random weights, also where they would begin near 0."""
    torch.manual_seed(0)
    model: Any = px.create_model(name, **words)
    for prediction in model.decoder.predictions:
        torch.nn.init.normal_(prediction.weight, std=0.01)
    own = model.normalisation["rgb"]
    save_checkpoint(folder, model, ModelCard(name, dict(words), (), input=InputContract(**own)))
    return folder


def make(row_name: str, out: Path, training: Sequence[Path]) -> dict[str, Any]:
    """Export a model, or say why it is not exported. What was made before is not made again.

    Args:
        row_name: a name in `MODELS`.
        training: videos whose trajectories an encoder of them is fitted to.
        out: folder of the results.
    """
    done = out / "made.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    name, words = MODELS[row_name]
    found: dict[str, Any] = {}
    try:
        if learns_of(name) == "flow":
            folder = flow_network(out / "model", name, words)
        elif learns_of(name) == "trajectories":
            folder = fitted(out / "model", name, words, training)
        else:
            folder = saved(out / "model", name, words)
        made = export(folder, out / "onnx")
        about = made.description
        views = (
            f"{FLOW_FRAMES} frames" if learns_of(name) == "flow" else getattr(about, "protocol", "all frames")
        )
        found = {"bytes": made.bytes, "views": views}
        if getattr(about, "snippets", None) is not None:
            found["views"] += f", {counted(about.snippets, 'snippet')}"
    except PraxiscopeError as error:
        found["reason"] = str(error).splitlines()[0].rpartition(f"{name}: ")[2].partition(". Predict")[0]
    write_json(done, found)
    return found


def quantise(training: Sequence[Path], out: Path) -> None:
    """Export what `make` exported in 8 bits, too, unless it was before, or is no network.

    Args:
        training: clips for the ranges of activations.
        out: folder of the results.
    """
    networks = isinstance(deploy.read_description(out / "onnx"), deploy.Description)
    if networks and not (out / "int8").is_dir():
        export(out / "model", out / "int8", int8=training)


def measure(clips: Sequence[Path], out: Path) -> dict[str, dict[str, Any]]:
    """By system, the ``seconds`` of each clip, and the largest ``difference`` of its scores before softmax from
    PyTorch's. What was measured before is not measured again."""
    done = out / "seconds.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    found, first = {}, None
    flow = isinstance(deploy.read_description(out / "onnx"), deploy.FlowDescription)
    for name, logits in (flow_systems(out) if flow else systems(out)).items():
        seconds, scores = _timed(logits, clips)
        first = scores if first is None else first
        largest = max(float(np.abs(x - y).max()) for x, y in zip(scores, first, strict=False))
        found[name] = {"seconds": seconds, "difference": largest}
    write_json(done, found)
    return found


def systems(out: Path) -> dict[str, Callable[[Path], Any]]:
    """What scores a clip, by system."""
    loaded: Any = px.load(out / "model", device="cpu")
    eager = loaded
    if loaded.streams != ("trajectories",):
        eager = Recogniser(loaded.model, loaded.card, precision="32")
    found: dict[str, Callable[[Path], Any]] = {
        "PyTorch": lambda clip: eager.video_logits(clip).numpy(),
        "onnxruntime": deploy.load(out / "onnx", runtime="onnxruntime").logits,
        "OpenVINO": deploy.load(out / "onnx", runtime="openvino").logits,
    }
    if (out / "int8").is_dir():
        found["int8"] = deploy.load(out / "int8").logits
    return found


def flow_systems(out: Path) -> dict[str, Callable[[Path], Any]]:
    """What estimates the flow of the first frames of a clip, by system."""
    eager: Any = NetworkFlow(str(out / "model"))
    runners = {name: deploy.load_flow(out / "onnx", runtime=name.lower()) for name in SYSTEMS[1:3]}

    def frames(clip: Path) -> Any:
        video = open_video(clip)
        return video.arrays(np.arange(min(FLOW_FRAMES, len(video))))

    return {
        "PyTorch": lambda clip: eager(torch.from_numpy(frames(clip)).permute(0, 3, 1, 2)).numpy(),
        **{name: lambda clip, run=run: run.arrays(frames(clip)) for name, run in runners.items()},
    }


def _timed(logits: Callable[[Path], Any], clips: Sequence[Path]) -> tuple[list[float], list[Any]]:
    """The time of each clip and its scores, after one that is not measured."""
    logits(clips[0])
    times: list[float] = []
    scores = []
    for clip in clips:
        started = time.perf_counter()
        scores.append(logits(clip))
        times.append(time.perf_counter() - started)
        if len(times) >= LEAST and sum(times) > LIMIT_S:
            break
    return times, scores


def size_of(folder: Path) -> int:
    """Bytes of the files of an exported network."""
    return sum(path.stat().st_size for path in folder.iterdir())


def row(
    row_name: str, made: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]], out: Path
) -> list[str]:
    """A row of the table."""
    if not measured:
        return [row_name, f"not exported: {made['reason']}", *[""] * (len(HEADER) - 2)]
    times = {name: of["seconds"] for name, of in measured.items()}
    counts = sorted({len(of) for of in times.values()})
    return [
        row_name,
        made["views"],
        f"{max(measured[name]['difference'] for name in SYSTEMS[:3]):.1g}",
        f"{measured['int8']['difference']:.1g}" if "int8" in measured else "",
        f"{made['bytes'] / 1e6:.1f}",
        f"{size_of(out / 'int8') / 1e6:.1f}" if "int8" in measured else "",
        *(
            f"{statistics.mean(times[name]):.2f} ± {statistics.stdev(times[name]):.2f}"
            if name in times
            else ""
            for name in SYSTEMS
        ),
        " to ".join(map(str, counts)),
    ]
