"""Measure time and peak memory of a training step, by the numbers of snippets in the forward and backward passes.

Each row is measured in separate processes (see `praxiscope.bench.step`), on random uint8 frames in memory, so that
reading videos is not included. A step consists of pixel preprocessing, forward pass, backward pass and update.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from praxiscope.bench.step import run_measured
from praxiscope.checkpoint import InputContract
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, PraxiscopeError
from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models import create_model
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.steps import make_loss
from praxiscope.training.loader import channels_last
from praxiscope.training.make_step import make_step
from praxiscope.training.memory import PeakMemory
from praxiscope.training.optim import make_optimizer, parameter_groups
from praxiscope.types import Batch

__all__ = ["Row", "bench_principal", "draw_bench", "format_bench_principal", "one_chunk", "rows_of_paper"]

CLASSES = 101


@dataclass(frozen=True)
class Row:
    """One kind of training step.

    Attributes:
        name: name as in the paper: Full-m, PB-m-n; or cached-m.
        watch: m, the number of snippets of a video.
        learn: n, the number of snippets that the gradient is computed from; None for all at once.
        chunk: for cached steps, the number of snippets of a video in a forward pass.
        held: number of snippets of a video in memory, if it is more than ``watch``. The row is then one chunk of a
            longer step, computed while all pixels of the step and the gradients of earlier chunks are in memory.
        watch_size, watch_precision: of the watched snippets, if they differ from those learned from.
    """

    name: str
    watch: int
    learn: int | None = None
    chunk: int | None = None
    held: int | None = None
    watch_size: int | None = None
    watch_precision: str = "same"

    @property
    def base(self) -> str:
        """The row with the same expected peak: ordinary training on the same number of snippets."""
        if self.chunk is not None:
            return one_chunk(self.chunk, self.watch).name
        return f"Full-{self.learn or self.watch}"

    def settings(self, batch: int, size: int) -> dict[str, Any]:
        """The settings of a training run with ``batch`` videos in a batch."""
        values: dict[str, Any] = {
            "input.snippets": self.watch,
            "input.size": size,
            "input.short_side": max(size, 256),
            "optim.batch": batch,
        }
        if self.learn is not None:
            values |= {"backprop.name": "principal", "backprop.choose": self.learn, "backprop.rule": "kl"}
            values |= {
                "backprop.watch_size": self.watch_size,
                "backprop.watch_precision": self.watch_precision,
            }
        elif self.chunk is not None:
            values |= {"backprop.name": "cached", "backprop.chunk": self.chunk * batch}
        return values


def one_chunk(snippets: int, held: int) -> Row:
    """A chunk of a step over ``held`` snippets."""
    return Row(f"{snippets} of {held} in memory", snippets, held=held)


def rows_of_paper(most: int = 8) -> list[Row]:
    """Figure 7 and Table V of the paper, and the exact gradient in chunks."""
    return [
        *(Row(f"Full-{m}", m) for m in range(1, most + 1)),
        *(Row(f"PB-{m}-1", m, 1) for m in range(1, most + 1)),
        Row("PB-6-3", 6, 3),
        Row("PB-8-4", 8, 4),
        one_chunk(3, 6),
        Row("cached-6", 6, chunk=3),
        one_chunk(8, 64),
        Row("cached-64", 64, chunk=8),
        Row("PB-6-3, watch 160 px", 6, 3, watch_size=160),
        Row("PB-6-3, watch 112 px", 6, 3, watch_size=112),
        Row("PB-6-3, watch bf16", 6, 3, watch_precision="bf16"),
    ]


def bench_principal(
    backbones: Sequence[str] = ("resnet18", "resnet50"),
    *,
    rows: Sequence[Row] | None = None,
    batch: int = 4,
    size: int = 224,
    steps: int = 3,
    device: str = "cpu",
    precision: str = "32",
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measure every row on every backbone, one after the other.

    Args:
        backbones: backbones of `tsn`, with random weights and partial BatchNorm.
        rows: rows to measure. Default: `rows_of_paper`.
        batch: number of videos in a step.
        size: side of a frame, pixels.
        steps: number of timed steps after a warm-up step; their median is reported.
        device: "cpu" or "cuda".
        precision: "32" or "bf16".
        reporter: shows progress.

    Returns:
        Dicts with backbone, name, watch, seconds, bytes and base (the name of the row to compare the bytes with).

    Raises:
        ArgumentError: a row could not be measured; the message contains the output of its process.
    """
    if precision not in ("32", "bf16"):
        raise ArgumentError(f"precision must be '32' or 'bf16', got {precision!r}")
    wanted = [
        row for row in (rows_of_paper() if rows is None else rows) if (row.watch_size or 0) < size
    ]  # watching at a larger size is not cheaper
    found = []
    with (reporter or Reporter()).bar("measuring", len(wanted) * len(backbones)) as bar:
        for backbone in backbones:
            for row in wanted:
                bar.advance(0, f"{backbone} {row.name}")
                job = {"backbone": backbone, "batch": batch, "size": size, "steps": steps}
                job |= {"device": device, "precision": precision, "row": asdict(row)}
                figures = run_measured(__name__, job, f"{backbone}, {row.name}")
                found.append(
                    {"backbone": backbone, "name": row.name, "watch": row.watch, "base": row.base, **figures}
                )
                bar.advance()
    return found


def measure_row(job: dict[str, Any]) -> dict[str, float]:
    """Measure time and peak of one row in this process."""
    row, device = Row(**job["row"]), pick_device(job["device"])
    settings = TrainSettings().updated(row.settings(job["batch"], job["size"]))
    torch.manual_seed(0)
    model = create_model(
        "tsn", backbone=job["backbone"], num_classes=CLASSES, dropout=0.5, batchnorm="partial"
    ).to(device)
    if channels_last(settings, device):
        to_channels_last(model)
    optimizer = make_optimizer("sgd", parameter_groups(model, lr=1e-3, weight_decay=5e-4))
    contract: Any = model.normalisation["rgb"]  # type: ignore[index]
    frames = torch.randint(
        0, 256, (job["batch"], row.held or row.watch, job["size"], job["size"], 3), dtype=torch.uint8
    ).permute(0, 1, 4, 2, 3)
    batch = Batch(
        {"rgb": frames[:, : row.watch]},
        torch.randint(0, CLASSES, (job["batch"],)),
        [str(i) for i in range(job["batch"])],
        list(range(job["batch"])),
    )
    step = make_step(
        settings,
        make_loss(False),
        (),
        InputContract(
            size=job["size"],
            short_side=256,
            channels=3,
            snippets=row.watch,
            mean=tuple(contract["mean"]),
            std=tuple(contract["std"]),
        ),
        device,
        at_once=None if row.chunk is None else row.chunk * job["batch"],
    )

    def once() -> float:
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=job["precision"] == "bf16"):
            step(model, batch, lambda loss: torch.autograd.backward(loss))
        optimizer.step()
        optimizer.zero_grad(set_to_none=row.held is None)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    peak = PeakMemory(device)
    once()
    times = [once() for _ in range(job["steps"])]
    return {"seconds": statistics.median(times), "bytes": peak.read()}


def format_bench_principal(rows: Sequence[dict[str, Any]]) -> str:
    """Format a Markdown table for each backbone."""
    parts = []
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        own = {row["name"]: row for row in rows if row["backbone"] == backbone}
        full6 = own.get("Full-6")
        lines = [
            f"{backbone}",
            "",
            "| step | s per step | of Full-6 | peak, MiB | of the peak of |",
            "|---|---|---|---|---|",
        ]
        for name, row in own.items():
            share = f"{row['seconds'] / full6['seconds']:.2f}" if full6 else ""
            base = own.get(row["base"])
            beside = f"{row['bytes'] / base['bytes']:.3f} {row['base']}" if base and base is not row else ""
            lines.append(
                f"| {name} | {row['seconds']:.3g} | {share} | {row['bytes'] / 2**20:.0f} | {beside} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def draw_bench(rows: Sequence[dict[str, Any]], path: str | Path) -> Path:
    """The paper's Figure 7: time and peak memory of Full-m and PB-m-1 over m, a row of panels for each backbone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    figure, axes = plt.subplots(
        len(backbones), 2, figsize=(9, 3.2 * len(backbones)), squeeze=False, constrained_layout=True
    )
    panels: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        ("seconds per step", lambda row: row["seconds"]),
        ("peak memory, GiB", lambda row: row["bytes"] / 2**30),
    ]
    for line, backbone in enumerate(backbones):
        own = [row for row in rows if row["backbone"] == backbone]
        for column, (label, value) in enumerate(panels):
            axis = axes[line][column]
            for start, end, title, marker in (("Full-", "", "Full-m", "o"), ("PB-", "-1", "PB-m-1", "s")):
                curve = [r for r in own if r["name"] == f"{start}{r['watch']}{end}"]
                axis.plot([r["watch"] for r in curve], [value(r) for r in curve], marker=marker, label=title)
            axis.set(xlabel="snippets watched, m", ylabel=label, title=backbone)
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
            axis.legend()
    target = Path(path)
    figure.savefig(target, dpi=120)
    plt.close(figure)
    return target


if __name__ == "__main__":
    try:
        print(json.dumps(measure_row(json.loads(sys.argv[1]))))
    except (PraxiscopeError, RuntimeError) as error:
        sys.exit(str(error))
