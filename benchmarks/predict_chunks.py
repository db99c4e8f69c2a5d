"""Prediction on a CPU: time by the number of frames in a forward pass, relative to 25 (or 64) frames at once."""

from __future__ import annotations

import os
import statistics
from typing import NamedTuple

import torch
from common import Table, parser, run_command, write_tables

from praxiscope.evaluation.views import forward_snippets, inference_precision
from praxiscope.models import create_model

CHUNKS = (1, 2, 4, 5, 8, 12, 20, 25, 64)


class Case(NamedTuple):
    """A backbone, and height and width of its frames."""

    backbone: str
    height: int
    width: int


CASES = (
    Case("squeezenet1_0", 112, 112),
    Case("squeezenet1_0", 224, 224),
    Case("squeezenet1_0", 256, 340),
    Case("resnet18", 64, 64),
    Case("resnet18", 112, 112),
    Case("resnet18", 224, 224),
    Case("resnet50", 224, 224),
)


def seconds(case: Case, frames: int, chunks: list[int], turns: int, precision: str) -> dict[int, list[float]]:
    """Processor seconds (the program's and the system's) of ``frames`` frames, by the size of chunks; the sizes take
    turns, after one that does not count."""
    wanted = inference_precision(torch.device("cpu"), precision)
    torch.manual_seed(0)
    model = create_model("tsn", backbone=case.backbone, num_classes=9).eval()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.randn(frames, 3, case.height, case.width)
    found: dict[int, list[float]] = {chunk: [] for chunk in chunks}
    for turn in range(turns + 1):
        for chunk in chunks:
            before = os.times()
            with torch.inference_mode(), wanted.context(torch.device("cpu")):
                for part in torch.split(pixels, chunk):
                    model(part[:, None])
            after = os.times()
            if turn:
                found[chunk].append(after.user - before.user + after.system - before.system)
    return found


def main() -> None:
    """Measure all cases, and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--turns", type=int, default=5, help="timed turns of each chunk size")
    arguments.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    arguments.add_argument("--precision", default="32", choices=("32", "bf16"))
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for case in CASES:
        frames = 64 if case.height < 112 else 25
        taken = forward_snippets(torch.device("cpu"), case.height, case.width)
        chunks = sorted({min(chunk, frames) for chunk in (*CHUNKS, taken)})
        found = seconds(case, frames, chunks, options.turns, options.precision)
        ratios = {
            chunk: statistics.median(a / b for a, b in zip(found[chunk], found[frames], strict=True))
            for chunk in chunks
        }
        cells = [f"{ratios[chunk]:.2f}" if chunk in ratios else "" for chunk in CHUNKS]
        size = f"{case.width} x {case.height}"
        whole = f"{1000 * statistics.median(found[frames]) / frames:.3g}"
        best = min(ratios, key=lambda chunk: ratios[chunk])
        rows.append([case.backbone, size, whole, *cells, taken, f"{ratios[min(taken, frames)]:.2f}", best])
        print(rows[-1], flush=True)
    header = [
        "backbone",
        "pixels",
        "all at once, ms / frame",
        *map(str, CHUNKS),
        "taken",
        "its ratio",
        "fastest",
    ]
    write_tables(
        options,
        __file__,
        "Frames that go through a network at once",
        [Table("", header, rows)],
        "Processor time of a forward pass over 25 frames (64 where they have 64 pixels) in chunks, relative to all at "
        f"once: medians of the ratios of {options.turns} turns, in each of which every size of chunks has one. "
        f"`taken` is what prediction takes for frames of that size. Precision {options.precision}.",
    )


if __name__ == "__main__":
    run_command(main)
