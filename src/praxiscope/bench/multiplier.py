"""Tables 2 and 3 of the paper on multiplier networks, on any data set: connections, and temporal filters.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017.
The two streams are trained once for each seed, and every row starts from them. Finished runs are kept and interrupted
ones are resumed, so that the command can be stopped at any time.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.bench.countdown import Countdown
from praxiscope.bench.experiment import RESULT_FILE, Plan, experiment, find_preset
from praxiscope.commands.fuse import fuse
from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError
from praxiscope.flow.store import FlowStore
from praxiscope.progress import Reporter
from praxiscope.recipes.multiplier import MultiplierRow, multiplier_rows
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import SCORES_FILE
from praxiscope.training.warm_start import settings_of_runs

__all__ = ["HEADER", "PRESETS", "Preset", "bench_multiplier", "format_table"]

PROTOCOL = "fully-convolutional"
STREAMS = ("appearance", "motion")
FUSED = "late fusion"


@dataclass(frozen=True)
class Preset:
    """The size of the experiment.

    Attributes:
        appearance, motion: recipes of the streams.
        joint: recipe that the changes of a row are applied to.
        stream_changes, joint_changes: changes to those recipes.
        seeds: number of runs of each row.
    """

    appearance: str
    motion: str
    joint: str
    stream_changes: Mapping[str, Any] = field(default_factory=dict)
    joint_changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 2


_QUIET: Mapping[str, Any] = {"run.validate_epochs": 0}

# With random weights and few videos, the rates and steps of the paper do not train.
_SMALL: Mapping[str, Any] = {
    "input.crop": "multi-scale",
    "optim.name": "adamw",
    "optim.weight_decay": 0.01,
    "optim.schedule": "cosine",
    "optim.milestones": (),
    "optim.warmup_epochs": 1,
    "optim.clip_norm": 20,
    "optim.batch": 8,
    "optim.accumulate": 1,
    **_QUIET,
}

PRESETS: dict[str, Preset] = {
    "cpu": Preset(
        "multiplier-appearance-50",
        "multiplier-motion-50",
        "multiplier-residual-multiplicative",
        {
            **_SMALL,
            "model.backbone": "resnet18",
            "model.dropout": 0.2,
            "input.size": 64,
            "input.short_side": 72,
            "input.snippets": 3,
            "data.sampling": "ordinary",
            "optim.lr": 1e-3,
            "optim.epochs": 40,
        },
        {**_SMALL, "optim.lr": 2e-4, "optim.epochs": 8},
    ),
    "paper": Preset(
        "multiplier-appearance-50",
        "multiplier-motion-50",
        "multiplier-residual-multiplicative",
        {"model.pretrained": True, **_QUIET},
        _QUIET,
    ),
}


def bench_multiplier(
    data: TaskSource,
    out: str | Path,
    preset: str | Preset = "cpu",
    *,
    flow_range: float | None = None,
    size: int | None = None,
    plan: Plan | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Train and test the two streams, their late fusion and every row.

    Args:
        data: data set with its split, annotations and stored flow.
        out: folder of the runs. Finished runs are kept, and an interrupted one is resumed.
        preset: "cpu" (ResNet-18 at 64 pixels from random weights), "paper" (ResNet-50 at 224 pixels from ImageNet
            weights, for a GPU), or a preset.
        flow_range: bound in pixels of flow that another tool stored.
        size: size of the crop in pixels. Default: that of the preset.
        plan: rows, seeds, workers and device. The streams are trained for any rows.
        reporter: shows progress.

    Returns:
        One dict per row: ``name``, ``title``, ``table``, ``top1`` of each seed, and ``paper``, its top-1 on the first
        splits of UCF-101 and HMDB51 (None for the streams, their fusion and "no-connection").

    Raises:
        ArgumentError: the preset or a row is unknown.
        DataError: stored flow or test videos are missing, or videos have several labels.
        TrainingError: a run was interrupted; the same command resumes it.
    """
    preset, plan = find_preset(preset, PRESETS), plan or Plan()
    chosen = plan.choose(multiplier_rows())
    _check_data(data)  # before a stream is trained
    FlowStore(data.flow or "", range=flow_range)  # raises if there is none
    reporter = reporter or Reporter()
    common: dict[str, Any] = {
        "data.source": data.source,
        "data.split": data.split,
        "data.annotations": data.annotations,
        **plan.settings(),
    }
    stored = {"data.flow": data.flow, "data.flow_range": flow_range}
    sized = {} if size is None else {"input.size": size, "input.short_side": round(size * 8 / 7)}
    accuracies: dict[str, list[float]] = {name: [] for name in (*STREAMS, FUSED, *chosen)}

    seeds = range(preset.seeds if plan.seeds is None else plan.seeds)
    countdown = Countdown(
        [Path(out) / f"{name}-{seed}" / RESULT_FILE for seed in seeds for name in (*STREAMS, *chosen)],
        reporter,
    )

    def run(name: str, folder: Path, settings: TrainSettings) -> None:
        countdown.begin(folder / RESULT_FILE, f"{name}, seed {settings.run.seed}")
        accuracies[name].append(experiment(settings, folder, PROTOCOL, name="", reporter=reporter).top1)

    for seed in seeds:
        folders = {name: Path(out) / f"{name}-{seed}" for name in STREAMS}
        shared = {**common, "run.seed": seed}
        for name, recipe in zip(STREAMS, (preset.appearance, preset.motion), strict=True):
            settings = get_recipe(recipe).updated({**preset.stream_changes, **sized, **shared})
            run(name, folders[name], settings.updated(stored) if name == "motion" else settings)
        files = [folder / SCORES_FILE for folder in folders.values()]
        accuracies[FUSED].append(float(fuse(files, weights=[1, 1]).figures["top1"]))
        start = settings_of_runs([str(folder) for folder in folders.values()])
        for name, row in chosen.items():
            run(name, Path(out) / f"{name}-{seed}", _joint(preset, row, {**start, **shared, **stored}))
    return list(_described(accuracies, chosen))


def _check_data(data: TaskSource) -> None:
    lists = None if data.annotations is None else Path(data.annotations)
    manifest = load_records(data.source, split=data.split, annotations=lists)
    if manifest.multi_label:
        raise DataError(
            f"{manifest.name}: videos have several labels, but the tables need one label per video."
        )
    if not manifest.of("test"):
        raise DataError(f"{manifest.name}: has no test videos. Mark some as split `test`.")


def _joint(preset: Preset, row: MultiplierRow, values: Mapping[str, Any]) -> TrainSettings:
    changes = {f"model.{key}": value for key, value in row.changes.items()}
    return get_recipe(preset.joint).updated({**preset.joint_changes, **changes, **values})


def _described(
    accuracies: Mapping[str, list[float]], rows: Mapping[str, MultiplierRow]
) -> Iterator[dict[str, Any]]:
    for name, top1 in accuracies.items():
        row = rows.get(name)
        yield {
            "name": name,
            "title": name if row is None else row.title,
            "table": None if row is None else row.table,
            "top1": top1,
            "paper": [round(100 - error, 2) for error in row.errors] if row and row.errors else None,
        }


HEADER = ["", "network", "top-1, %", "of each seed", "the paper's, UCF-101", "HMDB51"]


def format_table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Format the rows of `bench_multiplier` as cells of a table."""
    cells = []
    for row in rows:
        scores = [100 * value for value in row["top1"]]
        mean = f"{statistics.mean(scores):.1f}" if scores else ""
        each = ", ".join(f"{score:.1f}" for score in scores) if len(scores) > 1 else ""
        published = [f"{value:.2f}" for value in row["paper"] or ()] or ["", ""]
        cells.append([row["table"] or "", row["title"], mean, each, *published])
    return cells
