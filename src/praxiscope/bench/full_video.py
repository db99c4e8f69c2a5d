"""Table 1 of the full-video paper on this machine: all frames, sampled ones, and clusters of all, on Move4MNIST.

X. Liu et al., "No Frame Left Behind", CVPR 2021, section 4.2. Every row is a training run of its own for each seed; a
finished one is read back, and a begun one goes on, so that the command can be stopped at any time.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from praxiscope.bench.experiment import accuracy_of
from praxiscope.bench.step import Job, measure_step
from praxiscope.checkpoint import write_json
from praxiscope.commands.dataset import Design, move4mnist
from praxiscope.errors import ArgumentError
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.sections import ModelSettings
from praxiscope.recipes.settings import TrainSettings

__all__ = ["PRESETS", "Preset", "TableRow", "bench_full_video", "format_table", "table_rows"]


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        name: as the paper has it.
        frames: of a video that are seen; None for all.
        clusters: g, or None where frames are not clustered.
        clustering: the rule.
    """

    name: str
    frames: int | None = None
    clusters: int | None = None
    clustering: str = "cumulative"

    def settings(self, frames: int, sampled_epochs: int) -> dict[str, Any]:
        """As settings of a run on videos of ``frames`` frames."""
        if self.clusters is None:
            return {"model.name": "tsm", "input.snippets": self.frames or frames}
        return {
            "model.name": "full-video",
            "model.clusters": self.clusters,
            "model.clustering": self.clustering,
            "input.sampled_epochs": sampled_epochs,
        }


def table_rows() -> list[TableRow]:
    """The paper's rows."""
    rows = [TableRow("TSM-8", 8), TableRow("TSM-16", 16), TableRow("TSM-all")]
    for g in (8, 16):
        rows += [TableRow(f"{rule}-{g}", None, g, rule) for rule in ("uniform", "slope", "cumulative")]
    return rows


@dataclass(frozen=True)
class Preset:
    """How large the experiment is.

    Attributes:
        recipe: of training.
        train, test: videos.
        size: pixels.
        frames: of a video.
        seeds: runs of each row.
        design: fields of `praxiscope.data.move4mnist.Design` that differ from its defaults.
        changes: to the recipe.
    """

    recipe: str
    train: int
    test: int
    size: int
    frames: int = 32
    seeds: int = 2
    design: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)


_CALM: Mapping[str, Any] = {"run": (8, 16), "still": 1.0}

PRESETS: dict[str, Preset] = {
    # At 64 pixels a digit of the usual speed moves by a fraction of a place of the first stage from one frame to the
    # next, which no shift of whole places can see. So it is faster, and there for a shorter time. The paper does not
    # say how long the stretches of the rest are, nor whether other digits jump from frame to frame, which decides
    # between the rules: here they are long, and nothing jumps. That was chosen after six readings had been tried
    # (benchmarks/full_video.md).
    "cpu": Preset(
        "full-video-move4mnist-64", 600, 400, 64, design={**_CALM, "chunk": (6, 12), "speed": (0.05, 0.08)}
    ),
    "paper": Preset("full-video-move4mnist", 1800, 600, 224, design=_CALM),
}


def bench_full_video(
    out: str | Path,
    preset: str | Preset = "cpu",
    *,
    digits: str | Path | None = None,
    backgrounds: str | Path | None = None,
    rows: Sequence[str] | None = None,
    seeds: int | None = None,
    weights: str | None = None,
    pretrained: bool = False,
    costs: bool = True,
    workers: int = 2,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Train and test every row, and measure what it costs.

    Args:
        out: folder of the set and of the runs; goes on where it stopped.
        preset: "cpu" (64 pixels, hours on two cores) or "paper" (224 pixels, for a GPU), or one's own.
        digits: folder of MNIST's idx files; None for the digits of scikit-learn.
        backgrounds: folder of background videos; None draws textures.
        rows: names of rows; None for all.
        seeds: runs of each row; None as the preset has it.
        weights, pretrained: ImageNet weights to start from, a file or a download; the paper has them.
        costs: measure them, too.
        workers: processes that read.
        device: where it trains.

    Returns:
        Dicts: ``name``, ``top1`` (of each seed), and with ``costs`` ``multiply_adds`` of a video, ``bytes`` of memory
        that a video takes in training, ``step_seconds`` and ``epoch_seconds`` without reading.

    Raises:
        ArgumentError: an unknown preset or row.
        TrainingError: a run was interrupted; the command goes on with it.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ArgumentError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        preset = PRESETS[preset]
    known = {row.name: row for row in table_rows()}
    unknown = [name for name in rows or () if name not in known]
    if unknown:
        raise ArgumentError(f"there is no row {unknown[0]!r}; rows are {', '.join(known)}")
    reporter = reporter or Reporter()
    root = Path(out)
    data = move4mnist(
        root / "videos",
        Design(size=preset.size, frames=preset.frames, **preset.design),
        videos=(preset.train, preset.test),
        digits=digits,
        backgrounds=backgrounds,
        reporter=reporter,
    )
    base = get_recipe(preset.recipe).updated(
        {
            "data.source": f"move4mnist:{data}",
            "data.workers": workers,
            "model.weights": weights,
            **({"model.pretrained": True} if pretrained else {}),
            **({} if device == "auto" else {"run.accelerator": device}),
            **preset.changes,
        }
    )
    # Each row says how many clusters it has; TSM knows of none.
    kept = {key: value for key, value in base.model.model_dump().items() if key != "clusters"}
    base = base.model_copy(update={"model": ModelSettings(**kept)})
    chosen = [known[name] for name in rows or known]
    found = []
    # Seed by seed: a table of one seed is there before the second begins.
    accuracies: dict[str, list[float]] = {row.name: [] for row in chosen}
    for seed in range(preset.seeds if seeds is None else seeds):
        for row in chosen:
            settings = base.updated(
                {**row.settings(preset.frames, base.input.sampled_epochs), "run.seed": seed}
            )
            if row.clusters is None:
                settings = settings.updated({"input.sampled_epochs": 0})
            # One view of the whole frame, as in the paper.
            protocol = "1xfull" if row.clusters is None else "allxfull"
            run = root / f"{row.name}-{seed}"
            accuracies[row.name].append(accuracy_of(settings, run, protocol, reporter))
    if not costs:
        return [{"name": name, "top1": values} for name, values in accuracies.items()]
    for row in chosen:
        cost = _cost(base, row, preset, root / f"cost-{row.name}.json", device, reporter)
        steps = preset.train // (base.optim.batch * base.optim.accumulate)
        found.append(
            {
                "name": row.name,
                "top1": accuracies[row.name],
                **cost,
                "epoch_seconds": cost["step_seconds"] * steps * base.optim.accumulate,
            }
        )
    return found


def _cost(
    base: TrainSettings, row: TableRow, preset: Preset, path: Path, device: str, reporter: Reporter
) -> dict[str, Any]:
    """What a row takes, measured once in processes of its own."""
    keywords: dict[str, Any] = {"backbone": base.model.backbone, "dropout": 0.5}
    if row.clusters is not None:
        keywords |= {"clusters": row.clusters, "clustering": row.clustering}
    if device == "auto":  # as training chooses
        device = "cuda" if torch.cuda.is_available() else "cpu"
    job = Job(
        model="tsm" if row.clusters is None else "full-video",
        keywords=keywords,
        frames=row.frames or preset.frames,
        size=base.input.size,
        batch=base.optim.batch,
        device=device,
    )
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if known.get("job") != asdict(job):
        reporter.line(f"--- cost of {row.name}")
        whole = measure_step(job)
        half = measure_step(job.updated(batch=max(1, job.batch // 2), steps=1))
        per_video = (whole["bytes"] - half["bytes"]) / (job.batch - max(1, job.batch // 2))
        known = {
            "multiply_adds": whole["multiply_adds"],
            "bytes": per_video,
            "step_seconds": whole["seconds"],
            "job": asdict(job),
        }
        write_json(path, known)
    return {key: value for key, value in known.items() if key != "job"}


def format_table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table's cells: name, mean top-1, that of each seed, GFLOPs, MiB per video, seconds per epoch."""
    cells = []
    for row in rows:
        scores = [100 * value for value in row["top1"]]
        mean = f"{statistics.mean(scores):.1f}" if scores else ""
        each = ", ".join(f"{score:.1f}" for score in scores)
        cells.append(
            [
                row["name"],
                mean,
                each,
                f"{row['multiply_adds'] / 1e9:.2f}",
                f"{row['bytes'] / 2**20:.1f}",
                f"{row['epoch_seconds']:.1f}",
            ]
        )
    return cells


HEADER = ["model", "top-1, %", "of each seed", "G multiply-adds / video", "MiB / video", "s / epoch"]
