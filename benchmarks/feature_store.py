"""Feature stores: speed of extraction against a plain loop, cost of a million rows, and killed runs."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Table, parser, run_command, write_tables

from praxiscope.checkpoint import write_json

FRAMES = 25
SHAPE = {"features": 256, "classes": 10}
MADE = ((1000, 100_000), (1000, 1_000_000), (40_000, 1_000_000))
"""Clips and rows of the made stores; the last has the default number of frames of a clip."""


def plain_loop(data: str, backbone: str, clips: int, threads: int, half: bool) -> float:
    """Clips per second of the obvious program: open a video, read its frames, run the network. In one process.

    Args:
        data, backbone: as for the command.
        clips: videos that are read, at equal distances in the list.
        threads: threads of the network.
        half: run the network in bfloat16, by autocast.
    """
    import torch

    from praxiscope.data.manifest import load_records
    from praxiscope.evaluation.protocols import parse_protocol, view_indices
    from praxiscope.inference.frame_network import create_frame_network
    from praxiscope.video.crops import CenterCrop
    from praxiscope.video.opening import open_video

    torch.set_num_threads(threads)
    made = create_frame_network(backbone)
    model: Any = made.model.eval()
    contract = made.card.input
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (contract.mean, contract.std))
    records = load_records(data, split="1", random_split=False).records
    records = records[:: max(1, len(records) // clips)][:clips]
    began = time.perf_counter()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for record in records:
            video = open_video(record.path)
            numbers = view_indices(parse_protocol(f"{FRAMES}x1"), len(video), 1).flatten()
            frames = video.frames(numbers, short_side=contract.short_side)
            crops = CenterCrop(contract.size)({"rgb": frames})["rgb"]
            model(((crops.float() / 255 - mean) / std)[None])
    return len(records) / (time.perf_counter() - began)


def features_command(data: str, out: Path, backbone: str, *more: str, frames: int = FRAMES) -> list[str]:
    """The command that is measured."""
    words = [
        "features",
        data,
        "--split",
        "1",
        "--backbone",
        backbone,
        "--frames",
        str(frames),
        "--out",
        str(out),
    ]
    return [sys.executable, "-m", "praxiscope", *words, *more, "--json"]


def in_process(function: str, *given: object) -> Any:
    """Call a function of this file in a process of its own."""
    script = Path(__file__)
    code = (
        f"import sys, json; sys.path.insert(0, {str(script.parent)!r}); import {script.stem} as b;"
        f"print(json.dumps(b.{function}(*json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given, default=str)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def speeds(options: argparse.Namespace) -> Table:
    """Extraction against the loop, in turns; the best of each."""
    count = os.cpu_count() or 1
    loops = {
        "float32, 1 thread": (1, False),
        "float32, all threads": (count, False),
        "bfloat16, all threads": (count, True),
    }
    found: dict[str, list[float]] = {name: [] for name in (*loops, "features", "whole")}
    for turn in range(options.turns):
        for name, given in loops.items():
            found[name].append(
                in_process("plain_loop", options.data, options.backbone, options.loop_clips, *given)
            )
        out = options.out / f"speed-{turn}"
        shutil.rmtree(out, ignore_errors=True)
        began = time.perf_counter()
        command = features_command(options.data, out, options.backbone, "--precision", options.precision)
        summary = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        found["whole"].append(time.perf_counter() - began)
        found["features"].append(summary["clips_per_s"])
    loop = max(found["float32, all threads"])
    rows: list[list[Any]] = [
        [f"plain loop, {name}", f"{max(found[name]):.2f}", f"{max(found[name]) / loop:.2f}"] for name in loops
    ]
    best = max(found["features"])
    rows.append([f"praxiscope features, precision {options.precision}", f"{best:.2f}", f"{best / loop:.2f}"])
    title = (
        f"{summary['clips']} clips ({options.loop_clips} of them by the loop), {FRAMES} frames each, "
        f"{options.backbone}: best of {options.turns} turns; whole command {min(found['whole']):.1f} s"
    )
    return Table(title, ["", "clips/s", "against the loop"], rows)


def make(folder: str, clips: int, rows: int) -> None:
    """A store of random features around a mean for each class."""
    import torch

    from praxiscope.features.contract import FeatureContract
    from praxiscope.features.shard import writing_shard
    from praxiscope.features.store import create_store, shard_path

    width, classes, block = SHAPE["features"], SHAPE["classes"], 16
    each = rows // clips
    contract = FeatureContract("made", "rgb", "0" * 64, (width,), sampling={"every": True}, dtype="float16")
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(classes, width, generator=draw)
    create_store(folder, contract, -(-clips // block))
    frame = torch.arange(each)
    for number in range(-(-clips // block)):
        with writing_shard(shard_path(Path(folder), number), contract) as writer:
            for place in range(number * block, min(clips, (number + 1) * block)):
                with writer.clip(f"{place}", 1) as clip:
                    noise = 8 * torch.randn(each, width, generator=draw)
                    clip.add(means[place % classes] + noise, frame.double() / 25, frame)


def opening(folder: str) -> float:
    """Seconds to open a store whose files are in the system's cache: the best of three."""
    from praxiscope.features.store import FeatureStore

    found = []
    for _ in range(3):
        began = time.perf_counter()
        FeatureStore(folder)
        found.append(time.perf_counter() - began)
    return min(found)


def fit(folder: str) -> dict[str, float]:
    """Open a store and fit a classifier on the mean of each clip. Returns seconds and peak memory."""
    import resource

    import torch

    from praxiscope.features.store import FeatureStore
    from praxiscope.fitting.logistic import MANY, choose_l2, fit_logistic

    torch.set_num_threads(1)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    store = FeatureStore(folder)
    x = torch.empty(
        len(store), SHAPE["features"]
    )  # rows kept one by one would fragment the memory of their clips
    for number, name in enumerate(store):
        x[number] = store.clip(name).features.float().mean(0)
    y = torch.tensor([int(name) % SHAPE["classes"] for name in store])
    choice = choose_l2(x, y, SHAPE["classes"], list(store), most=MANY)  # as a probe does
    made = fit_logistic(x, y, SHAPE["classes"], l2=choice.l2)
    held_out = choice.held_out_logits.isfinite().all(1)
    right = (choice.held_out_logits.argmax(1) == y)[held_out].float().mean()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": store.rows,
        "files": len(list((store.root / "shards").iterdir())),
        "gb": store.bytes / 1e9,
        "whole_s": time.perf_counter() - began,
        "added_mib": (peak - start) / 1024,
        "peak_mib": peak / 1024,
        "accuracy": float(right),
        "loss": float(made.loss),
    }


def million(options: argparse.Namespace) -> Table:
    """More rows of as many clips, then more clips of as many rows."""
    lines = []
    for clips, rows in MADE:
        folder = options.out / f"made-{clips}-{rows}"
        if not (folder / "features.json").is_file():
            in_process("make", folder, clips, rows)
        found = in_process("fit", folder)
        lines.append(
            [
                f"{clips:,}",
                f"{int(found['rows']):,}",
                f"{int(found['files']):,}",
                f"{found['gb']:.2f}",
                f"{in_process('opening', folder):.3f}",
                f"{found['whole_s']:.1f}",
                f"{found['peak_mib']:.0f}",
                f"{found['accuracy']:.3f}",
            ]
        )
    header = [
        "clips",
        "rows",
        "files",
        "GB on disk",
        "to open, s",
        "to open and fit, s",
        "peak memory, MiB",
        "held-out accuracy",
    ]
    return Table(
        f"Made stores: {SHAPE['features']} features, float16; mean of each clip, logistic regression with grouped "
        "cross-validation of at most 10,000 clips; to open: the best of three",
        header,
        lines,
    )


def kills(options: argparse.Namespace) -> Table:
    """Kill the command ten times, let it finish, and compare its files with those of an undisturbed run."""
    whole, cut = options.out / "undisturbed", options.out / "killed"

    def command(out: Path) -> list[str]:
        more = ("--size", "64", "--precision", "32")
        return features_command(options.data, out, options.backbone, *more, frames=5)

    def files() -> set[Path]:
        return set(cut.glob("shards/*.safetensors"))

    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(whole), check=True, **quiet)
    shards = sorted(path.name for path in (whole / "shards").iterdir())
    shutil.rmtree(cut, ignore_errors=True)
    draw, killed = random.Random(0), 0
    while killed < options.kills:
        process, before = subprocess.Popen(command(cut), **quiet), files()
        while process.poll() is None and files() == before:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.1))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        if len(files()) == len(shards):
            for name in draw.sample(shards, len(shards) // 2):
                (cut / "shards" / name).unlink()
    subprocess.run(command(cut), check=True, **quiet)
    same = [
        name
        for name in shards
        if (cut / "shards" / name).read_bytes() == (whole / "shards" / name).read_bytes()
    ]
    left = {path.name for path in (cut / "shards").iterdir()} - set(shards)
    return Table(
        f"Killed {killed} times, then finished; 5 frames of 64 pixels",
        ["files", "with the same bytes as undisturbed", "other files left"],
        [[len(shards), len(same), len(left)]],
    )


def kept(options: argparse.Namespace, part: Callable[[argparse.Namespace], Table]) -> Table:
    """The table of a part, from the folder of the runs if it was measured before."""
    path = options.out / f"{part.__name__}.json"
    if not path.is_file():
        write_json(path, part(options))  # whole, or not there
    return Table(*json.loads(path.read_text()))


def main() -> None:
    """Measure, and write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", help="a known data set with splits, such as ucf101:FOLDER")
    arguments.add_argument("--backbone", default="efficientnet_lite0")
    arguments.add_argument("--precision", default="auto", help="of the command: auto, 32 or bf16")
    arguments.add_argument("--turns", type=int, default=2, help="turns of the comparison of speeds; 0: none")
    arguments.add_argument("--loop-clips", type=int, default=45, help="videos that the plain loop reads")
    arguments.add_argument("--kills", type=int, default=10)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    parts = [kills, million, *([speeds] if options.turns else [])]
    tables = [kept(options, part) for part in parts]
    loop = (
        "The loop opens a video, reads its frames, crops, normalises and runs the network, in one process. Speeds "
        "exclude the start; the whole command includes it. "
    )
    note = f"{loop if options.turns else ''}Files are in the system's cache. Peak memory is that of the whole process."
    write_tables(options, __file__, "Feature stores", tables, note)


if __name__ == "__main__":
    run_command(main)
