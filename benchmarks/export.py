"""Exported networks beside the networks themselves: differences, sizes, seconds for a clip, and 8 bits.

`python benchmarks/export.py UCF101`. All registered models have random weights here; the accuracy in 8 bits is that of
a probe that is fitted to the training split of UCF-101, quantised by some of its training videos. Models that were
measured by an earlier call are not measured again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, parser, run_command, write_tables

import praxiscope as px
from exported_models import HEADER, MODELS, make, measure, quantise, row
from praxiscope import deploy
from praxiscope.commands.export import export
from praxiscope.data.manifest import load_records
from praxiscope.deploy.runtimes import open_network, open_outputs
from praxiscope.evaluation.comparison import mcnemar
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import ConsoleReporter

STAGES = ("make", "quantise", "measure", "write")


def with_openvino(folder: Path) -> deploy.Runner:
    """A quantised network, run by OpenVINO, which `praxiscope.deploy.load` refuses."""
    about = deploy.read_description(folder)
    frames = open_network(folder / about.frames, "features", "openvino")
    return deploy.Runner(about, open_outputs(folder / about.file, ["logits"], "openvino"), frames)


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
    arguments.add_argument("ucf", metavar="UCF101", help="folder of UCF-101")
    arguments.add_argument("--models", nargs="+", default=list(MODELS), help="of the first table")
    arguments.add_argument("--clips", type=int, default=5, help="test clips of the first table")
    arguments.add_argument("--until", choices=STAGES, default="write", help="last stage of this call")
    options = arguments.parse_args()
    manifest = load_records(f"ucf101:{options.ucf}", split="1")
    tests = [record.path for record in manifest.of("test")]
    clips = tests[:: len(tests) // options.clips][: options.clips]
    training = [record.path for record in manifest.of("train")][:: len(tests)][:2]
    rows = []
    folders = {name: options.out / "models" / name for name in options.models}
    made = {name: make(name, folder, training) for name, folder in folders.items()}
    exported = [folder for name, folder in folders.items() if "bytes" in made[name]]
    if options.until != "make":
        for folder in exported:
            quantise(training, folder)
    if options.until in ("make", "quantise"):
        return
    for name, folder in folders.items():
        measured = measure(clips, folder) if folder in exported else {}
        rows.append(row(name, made[name], measured, folder))
        print(*rows[-1], sep=" | ", flush=True)
    if options.until != "write":
        return
    heading = f"All models, {len(clips)} clips of UCF-101"
    tables = [Table(heading, HEADER, rows), eight_bits(f"ucf101:{options.ucf}", options.out)]
    note = (
        "Random weights in the first table; backbones and sizes are the defaults of the models; flow by DIS. 8 bits: "
        f"ranges by {len(training)} training clips. Seconds for one clip, from the file to its scores: mean and sample "
        "standard deviation over the clips in the first table (the clips differ in length), means in the second; "
        "PyTorch, onnxruntime and OpenVINO in float32, int8 in onnxruntime, with their own numbers of threads. "
        "Differences are the largest of the scores before softmax, from PyTorch: of onnxruntime and OpenVINO in "
        "float32, and of int8; of flownet and flownet-3d, which have no classes, those of the flow, in pixels. p: "
        "exact McNemar test against PyTorch."
    )
    write_tables(options, __file__, "Exported networks", tables, note)


if __name__ == "__main__":
    run_command(main)
