"""Steps of several videos, and a multiplier network of two large ResNets: what a GPU decides within minutes.

`python benchmarks/large_steps.py --device cuda --minutes 15` measures a training step of TSM on 8, 16 and all frames
and of 8 and 16 clusters of all frames, at batch 16 with 32 frames of 224 pixels; and the time in which a multiplier
network of ResNet-50 and ResNet-152 scores a video, on 25 whole frames and flipped. Each is measured several times, in
turns, until the time is up; what an earlier call has measured is kept. On a CPU, use a smaller ``--batch`` and
``--size``.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from common import Table, parser, run_command, write_tables

import praxiscope as px
from praxiscope.bench.machine import made_now
from praxiscope.bench.step import Job, measure_step
from praxiscope.checkpoint import write_json
from praxiscope.devices import check_device, pick_device
from praxiscope.evaluation.views import bf16_pays

TURNS = 3
INSTANTS = 25
WHOLE = (256, 340)  # height and width of a whole frame of UCF-101 at short side 256
STACK = 20  # channels of ten flow fields

NETWORKS = {
    "ResNet-50, ResNet-50": ("resnet50", "resnet50"),
    "ResNet-50, ResNet-152": ("resnet50", "resnet152"),
}


def step_jobs(options: Any) -> dict[str, Job]:
    """The training steps by name."""
    common = {"size": options.size, "batch": options.batch, "steps": 5, "device": options.device}
    jobs = {
        name: Job("tsm", {"backbone": options.backbone, "snippets": count}, frames=count, **common)
        for name, count in (("TSM-8", 8), ("TSM-16", 16), ("TSM-all", options.frames))
    }
    for count in (8, 16):
        words = {"backbone": options.backbone, "clusters": count}
        jobs[f"{count} clusters"] = Job("full-video", words, frames=options.frames, **common)
    return jobs


def score_seconds(backbones: tuple[str, str], flipped: bool, options: Any) -> dict[str, float]:
    """Seconds in which a multiplier network scores the whole frames of a video, and flipped ones; without reading."""
    device = pick_device(options.device)
    torch.manual_seed(0)
    network: Any = px.create_model(
        "multiplier", num_classes=101, backbone=backbones[0], motion_backbone=backbones[1], in_channels=STACK
    )
    network = network.to(device).eval()
    height, width = (max(32, side * options.size // 224) for side in WHOLE)
    inputs = [torch.randn(1, INSTANTS, channels, height, width, device=device) for channels in (3, STACK)]

    def score() -> float:
        started = time.perf_counter()
        for _ in range(1 + flipped):
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device)),
            ):
                network(*inputs).logits.sum().item()
        return time.perf_counter() - started

    score()
    return {"seconds": statistics.median(score() for _ in range(5))}


def measured(work: dict[str, Callable[[], dict[str, Any]]], kept: Path, until: float) -> dict[str, Any]:
    """The figures of each work, in turns, until the time is up. They are kept in a file."""
    found: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for turn in range(TURNS):
        for name, run in work.items():
            if len(found.setdefault(name, [])) > turn or time.monotonic() > until:
                continue
            started = time.monotonic()
            found[name].append({**run(), "made": made_now()})
            print(f"{name}: {found[name][-1]}, measured in {time.monotonic() - started:.0f} s", flush=True)
            write_json(kept, found)
    return {name: rows for name, rows in found.items() if rows and name in work}


def cells(values: Sequence[float], digits: int) -> str:
    """The mean, and the sample standard deviation of several values."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def main() -> None:
    """Measure until the time is up, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--minutes", type=float, default=15.0, help="no measurement begins after them")
    arguments.add_argument("--backbone", default="resnet18", help="of the training steps")
    arguments.add_argument("--batch", type=int, default=16, help="videos of a step")
    arguments.add_argument("--frames", type=int, default=32, help="of a video")
    arguments.add_argument("--size", type=int, default=224, help="side of a frame in a step, pixels")
    options = arguments.parse_args()
    check_device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * options.minutes
    jobs = step_jobs(options)
    steps = measured(
        {name: lambda job=job: measure_step(job) for name, job in jobs.items()},
        options.out / "steps.json",
        until,
    )
    videos = {
        f"{name}{', and flipped' if flipped else ''}": lambda of=of, flipped=flipped: score_seconds(
            of, flipped, options
        )
        for name, of in NETWORKS.items()
        for flipped in (False, True)
    }
    scores = measured(videos, options.out / "scores.json", until)
    first = {key: [row[key] for row in steps.get("TSM-8", [])] for key in ("seconds", "bytes")}
    all_frames = [row["bytes"] for row in steps.get("TSM-all", [])]
    rows = []
    for name, of in steps.items():
        seconds, memory = ([row[key] for row in of] for key in ("seconds", "bytes"))
        rows.append(
            [
                name,
                cells(seconds, 3),
                f"{statistics.mean(seconds) / statistics.mean(first['seconds']):.2f}"
                if first["seconds"]
                else "",
                cells([value / 2**20 for value in memory], 0),
                f"{statistics.mean(memory) / statistics.mean(all_frames):.2f}" if all_frames else "",
                f"{of[0]['multiply_adds'] / 1e9:.1f}",
                len(of),
            ]
        )
    step_header = ["step", "seconds", "of TSM-8's", "MiB", "of TSM-all's", "G multiply-adds / video", "times"]
    score_rows = [
        [name, cells([1e3 * row["seconds"] for row in of], 1), len(of)] for name, of in scores.items()
    ]
    tables = [
        Table("A training step", step_header, rows),
        Table("A video by a multiplier network", ["streams", "ms", "times"], score_rows),
    ]
    note = (
        f"Steps: {options.backbone}, batch {options.batch}, {options.frames} frames of {options.size} pixels. Videos: "
        f"{INSTANTS} whole frames and flow stacks of each video. Without reading, flow, or copies to the device; "
        "random weights; each figure is the mean of medians of five, in processes of their own for steps."
    )
    write_tables(options, __file__, "Large steps", tables, note)


if __name__ == "__main__":
    run_command(main)
