"""Exported networks beside the networks themselves: differences, sizes, seconds for a clip, and 8 bits.

`python benchmarks/export.py CLIP --ucf UCF101`. All registered models have random weights here; the accuracy in 8 bits
is that of a probe that is fitted to the training split of UCF-101, quantised by some of its training videos.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Table, parser, run_command, write_tables
from paired import mcnemar

import praxiscope as px
from praxiscope import deploy
from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.commands.export import export
from praxiscope.data.manifest import load_records
from praxiscope.deploy.runtimes import open_network
from praxiscope.errors import PraxiscopeError
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.names import learns_of
from praxiscope.models.registered import FILES
from praxiscope.progress import ConsoleReporter
from praxiscope.units import counted

CLASSES = 9
RUNTIMES = ("onnxruntime", "openvino")


def saved(folder: Path, name: str) -> Path:
    """The model folder of a network with random weights, as large as it is by default."""
    torch.manual_seed(0)
    model: Any = px.create_model(name, num_classes=CLASSES)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.05)
    channels = model.channels["rgb"]
    contract = InputContract(channels=channels, length=channels // 3, **model.normalisation["rgb"])
    labels = tuple(f"class {number}" for number in range(CLASSES))
    card = ModelCard(name, {"num_classes": CLASSES}, labels, input=contract)
    Recogniser(model, card).save(folder)
    return folder


def seconds(work: Callable[[], object], turns: int) -> float:
    """The median time of a call, after one that is not measured."""
    work()
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def model_row(name: str, clip: Path, out: Path, turns: int) -> list[str]:
    """Export a model and time it; or the reason why it is not exported."""
    shutil.rmtree(out / name, ignore_errors=True)
    try:
        if learns_of(name) in ("flow", "trajectories"):
            return [name, f"not exported: learns {learns_of(name)}", *[""] * 6]
        folder = saved(out / name / "model", name)
        started = time.perf_counter()
        made = export(folder, out / name / "onnx", clips=[clip])
        exporting = time.perf_counter() - started
    except (PraxiscopeError, KeyError) as error:
        said = str(error).splitlines()[0].rpartition(f"{name}: ")[2].partition(". Predict")[0]
        return [name, f"not exported: {said}", *[""] * 6]
    loaded: Any = px.load(folder, device="cpu")
    eager = Recogniser(loaded.model, loaded.card, precision="32")
    about = made.description
    runners = [deploy.load(out / name / "onnx", runtime=runtime) for runtime in RUNTIMES]
    times = [seconds(lambda: eager.video_logits(clip), turns)]
    times += [seconds(lambda runner=runner: runner.logits(clip), turns) for runner in runners]  # type: ignore[misc]
    return [
        name,
        about.protocol + ("" if about.snippets is None else f", {counted(about.snippets, 'snippet')}"),
        f"{about.checked['clips']['largest']:.1g}",
        f"{made.bytes / 1e6:.1f}",
        f"{exporting:.0f}",
        *(f"{one:.2f}" for one in times),
    ]


def with_openvino(folder: Path) -> deploy.Runner:
    """A quantised network, run by OpenVINO, which `praxiscope.deploy.load` refuses."""
    about = deploy.read_description(folder)
    frames, head = (
        open_network(folder / file, output, "openvino")
        for file, output in ((about.frames, "features"), (about.file, "logits"))
    )
    return deploy.Runner(about, head, frames)


def eight_bits(ucf: str, out: Path) -> Table:
    """Accuracy and time of a probe on the test clips: itself, exported, and quantised."""
    manifest = load_records(ucf, split="1")
    run = out / "probe"
    if not (run / "run.json").is_file():
        px.train(ucf, out=run, model="probe", progress=ConsoleReporter(), **{"data.split": "1"})
    training = [record.path for record in manifest.of("train")][::9]
    for folder, clips in (("float32", []), ("int8", training)):
        shutil.rmtree(out / folder, ignore_errors=True)
        export(run, out / folder, int8=clips, reporter=ConsoleReporter())
    loaded: Any = px.load(run, device="cpu")
    eager = Recogniser(loaded.model, loaded.card, precision="32")
    systems: dict[str, Callable[[Path], Any]] = {
        "PyTorch, float32": lambda path: eager.video_logits(path).numpy(),
        "onnxruntime, float32": deploy.load(out / "float32", runtime="onnxruntime").logits,
        "onnxruntime, int8": deploy.load(out / "int8", runtime="onnxruntime").logits,
        "OpenVINO, float32": deploy.load(out / "float32", runtime="openvino").logits,
        "OpenVINO, int8": with_openvino(out / "int8").logits,
    }
    tests = list(manifest.of("test"))
    targets = np.array([manifest.classes.index(record.labels[0]) for record in tests])
    right, first, rows = {}, {}, []
    for name, logits in systems.items():
        logits(tests[0].path)
        started = time.perf_counter()
        found = np.stack([logits(record.path) for record in tests])
        each = (time.perf_counter() - started) / len(tests)
        right[name] = (found.argmax(1) == targets).astype(float)
        first.setdefault("scores", found)
        base = right["PyTorch, float32"]
        alone = int((base * (1 - right[name])).sum()), int((right[name] * (1 - base)).sum())
        size = sum(
            path.stat().st_size for path in (out / ("int8" if "int8" in name else "float32")).iterdir()
        )
        rows.append(
            [
                name,
                "" if "PyTorch" in name else f"{size / 1e6:.1f}",
                f"{each:.2f}",
                f"{right[name].mean():.3f}",
                f"{right[name].mean() - base.mean():+.3f}",
                f"{mcnemar(*alone):.2g}",
                f"{np.abs(found - first['scores']).max():.2g}",
            ]
        )
    header = ("probe", "MB", "s per clip", "top-1", "difference", "p", "largest difference of scores")
    heading = (
        f"UCF-101, nine classes, split 1: {len(tests)} test clips; ranges by {len(training)} training clips"
    )
    return Table(heading, header, rows)


def main() -> None:
    """Measure all models, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("clip", type=Path, help="a video")
    arguments.add_argument("--ucf", required=True, metavar="UCF101", help="folder of UCF-101")
    arguments.add_argument("--models", nargs="+", default=sorted(FILES), help="of the first table")
    arguments.add_argument(
        "--turns", type=int, default=3, help="measurements of a model; their median counts"
    )
    options = arguments.parse_args()
    rows = []
    for name in options.models:
        rows.append(model_row(name, options.clip, options.out / "models", options.turns))
        print(*rows[-1], sep=" | ", flush=True)
    header = (
        "model",
        "views",
        "largest difference",
        "MB",
        "s to export",
        "s, PyTorch",
        "s, onnxruntime",
        "s, OpenVINO",
    )
    tables = [Table("All models, one clip", header, rows), eight_bits(f"ucf101:{options.ucf}", options.out)]
    note = (
        "Random weights in the first table; backbones and sizes are the defaults of the models. Seconds for one clip, "
        "from the file to its scores: medians of "
        f"{options.turns} in the first table, means over the clips in the second; PyTorch, onnxruntime and OpenVINO in "
        "float32 with their own numbers of threads. Differences are of scores before softmax, from PyTorch. p: exact "
        "McNemar test against PyTorch."
    )
    write_tables(options, __file__, "Exported networks", tables, note)


if __name__ == "__main__":
    run_command(main)
