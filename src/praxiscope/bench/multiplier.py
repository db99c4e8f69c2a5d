"""Tables 2 and 3 of the multiplier networks' paper on a data set of one's own: connections, and filters along time.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017.
The two streams are trained once for each seed, and every row starts from them; a finished run is read back, and a begun
one goes on, so that the command can be stopped at any time.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.bench.experiment import accuracy_of
from praxiscope.commands.fuse import fuse
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.flow.store import FlowStore
from praxiscope.progress import Reporter
from praxiscope.recipes.multiplier_rows import MultiplierRow, multiplier_rows
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import SCORES_FILE
from praxiscope.training.warm_start import settings_of_runs

__all__ = ["HEADER", "PRESETS", "Preset", "bench_multiplier", "format_table"]

PROTOCOL = "fully-convolutional"
STREAMS = ("appearance", "motion")
FUSED = "late fusion"


@dataclass(frozen=True)
class Preset:
    """How large the experiment is.

    Attributes:
        appearance, motion: recipes of the streams.
        joint: recipe that a row's changes are made to.
        stream_changes, joint_changes: to those recipes.
        seeds: runs of each row.
    """

    appearance: str
    motion: str
    joint: str
    stream_changes: Mapping[str, Any] = field(default_factory=dict)
    joint_changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 2


_QUIET: Mapping[str, Any] = {"run.validate_epochs": 0}

# From random weights on few videos the paper's rates and steps teach nothing.
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
    data: str,
    flow: str | Path,
    out: str | Path,
    preset: str | Preset = "cpu",
    *,
    split: str | None = None,
    annotations: str | Path | None = None,
    flow_range: float | None = None,
    size: int | None = None,
    rows: Sequence[str] | None = None,
    seeds: int | None = None,
    workers: int = 2,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Train and test the two streams, their late fusion and every row.

    Args:
        data: as for training; the test videos of its split decide.
        flow: their stored flow.
        out: folder of the runs; goes on where it stopped.
        preset: "cpu" (ResNet-18 at 64 pixels from random weights) or "paper" (ResNet-50 at 224, ImageNet weights, for
            a GPU), or one's own.
        split, annotations: for layouts with official splits.
        flow_range: of flow that another tool has made: its bound in pixels.
        size: pixels of the crop, in place of the preset's.
        rows: names of rows; None for all. The streams are there in any case.
        seeds: runs of each row; None as the preset has it.
        workers: processes that read.
        device: where it trains.

    Returns:
        Dicts: ``name``, ``title``, ``table``, ``top1`` of each seed, and ``paper``, its top-1 on the first splits of
        UCF-101 and HMDB51 (None of the streams and their fusion).

    Raises:
        ArgumentError: an unknown preset or row.
        DataError: there is no stored flow, no video to test, or videos with several labels, which have no top-1.
        TrainingError: a run was interrupted; the command goes on with it.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ArgumentError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        preset = PRESETS[preset]
    known = multiplier_rows()
    unknown = [name for name in rows or () if name not in known]
    if unknown:
        raise ArgumentError(f"there is no row {unknown[0]!r}; rows are {', '.join(known)}")
    _check_data(data, split, annotations)  # before a stream is trained
    FlowStore(flow, range=flow_range)  # raises where there is none
    reporter = reporter or Reporter()
    chosen = {name: known[name] for name in rows or known}
    common: dict[str, Any] = {
        "data.source": data,
        "data.split": split,
        "data.annotations": None if annotations is None else str(annotations),
        "data.workers": workers,
        **({} if device == "auto" else {"run.accelerator": device}),
    }
    stored = {"data.flow": str(flow), "data.flow_range": flow_range}
    sized = {} if size is None else {"input.size": size, "input.short_side": round(size * 8 / 7)}
    accuracies: dict[str, list[float]] = {name: [] for name in (*STREAMS, FUSED, *chosen)}
    for seed in range(preset.seeds if seeds is None else seeds):
        folders = {name: Path(out) / f"{name}-{seed}" for name in STREAMS}
        shared = {**common, "run.seed": seed}
        for name, recipe in zip(STREAMS, (preset.appearance, preset.motion), strict=True):
            settings = get_recipe(recipe).updated({**preset.stream_changes, **sized, **shared})
            if name == "motion":
                settings = settings.updated(stored)
            accuracies[name].append(accuracy_of(settings, folders[name], PROTOCOL, reporter))
        files = [folder / SCORES_FILE for folder in folders.values()]
        accuracies[FUSED].append(float(fuse(files, weights=[1, 1]).figures["top1"]))
        start = settings_of_runs([str(folder) for folder in folders.values()])
        for name, row in chosen.items():
            settings = _joint(preset, row, {**start, **shared, **stored})
            accuracies[name].append(accuracy_of(settings, Path(out) / f"{name}-{seed}", PROTOCOL, reporter))
    return list(_described(accuracies, chosen))


def _check_data(data: str, split: str | None, annotations: str | Path | None) -> None:
    manifest = load_records(data, split=split, annotations=None if annotations is None else Path(annotations))
    if manifest.multi_label:
        raise DataError(
            f"{manifest.name}: has videos with several labels; the tables are of one label a video"
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
            "paper": None if row is None else [round(100 - error, 2) for error in row.errors],
        }


HEADER = ["", "network", "top-1, %", "of each seed", "the paper's, UCF-101", "HMDB51"]


def format_table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table's cells: table of the paper, title, mean top-1, those of the seeds, and the paper's two."""
    cells = []
    for row in rows:
        scores = [100 * value for value in row["top1"]]
        mean = f"{statistics.mean(scores):.1f}" if scores else ""
        each = ", ".join(f"{score:.1f}" for score in scores) if len(scores) > 1 else ""
        published = [f"{value:.2f}" for value in row["paper"] or ()] or ["", ""]
        cells.append([row["table"] or "", row["title"], mean, each, *published])
    return cells
