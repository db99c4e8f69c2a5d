"""Table 1 of the full-video paper on Move4MNIST: all frames, sampled frames, and clusters of all frames.

X. Liu et al., "No Frame Left Behind", CVPR 2021, section 4.2. Each row is trained for each seed. Finished runs are kept
and interrupted ones are resumed, so that the command can be stopped at any time.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from praxiscope.bench.countdown import Countdown
from praxiscope.bench.experiment import RESULT_FILE, Plan, experiment, find_preset
from praxiscope.bench.step import Job, measure_step
from praxiscope.checkpoint import write_json
from praxiscope.commands.dataset import Design, move4mnist
from praxiscope.data.move4mnist import digest_of_set
from praxiscope.errors import DataError
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.sections import ModelSettings
from praxiscope.recipes.settings import TrainSettings

__all__ = [
    "PRESETS",
    "Preset",
    "TableRow",
    "bench_full_video",
    "format_table",
    "make_videos",
    "row_costs",
    "table_rows",
]


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        name: name of the row in the paper.
        frames: number of frames of a video that the network uses; None for all.
        clusters: g, the number of clusters; None without clustering.
        clustering: the clustering rule.
    """

    name: str
    frames: int | None = None
    clusters: int | None = None
    clustering: str = "cumulative"

    def settings(self, frames: int, sampled_epochs: int) -> dict[str, Any]:
        """Return the settings of a run on videos of ``frames`` frames."""
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
    """The size of the experiment.

    Attributes:
        recipe: recipe of the training.
        train, test: numbers of videos.
        size: pixels of a frame's side.
        frames: frames of a video.
        seeds: number of runs of each row.
        design: fields of `praxiscope.data.move4mnist.Design` that differ from its defaults.
        changes: changes to the recipe.
        digest: of the set that is made without ``digits`` and ``backgrounds``, see
            `praxiscope.data.move4mnist.digest_of_set`; "" if it was not fixed.
    """

    recipe: str
    train: int
    test: int
    size: int
    frames: int = 32
    seeds: int = 2
    design: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


_CALM: Mapping[str, Any] = {"run": (8, 16), "still": 1.0}

# Harder sets: the action is a small part of the video, among more shots than the clusters can tell apart; "long" is for
# 8 sampled frames or clusters, "longer" for 16, with as many of them for an action. Fixed after runs of TSM on 8 and on
# all frames of other lengths of the action, before any run with clusters on that set (benchmarks/full_video_long.md).
_LONG: Mapping[str, Any] = {"run": (4, 8), "still": 1.0, "chunk": (7, 13), "speed": (0.05, 0.08)}

PRESETS: dict[str, Preset] = {
    # At 64 pixels, a digit of default speed moves by less than one place of the first stage from one frame to the next,
    # which clustering cannot detect. So digits are faster here, and visible for a shorter time. The paper specifies
    # neither the length of the stretches of other frames nor whether other digits jump from frame to frame, but this
    # decides which rule is best. Here stretches are long and nothing jumps. This was chosen after trying six
    # interpretations (benchmarks/full_video.md).
    "cpu": Preset(
        "full-video-move4mnist-64", 600, 400, 64, design={**_CALM, "chunk": (6, 12), "speed": (0.05, 0.08)}
    ),
    "paper": Preset("full-video-move4mnist", 1800, 600, 224, design=_CALM),
    "long": Preset("full-video-move4mnist-64", 600, 2000, 64, 48, 1, _LONG, digest="0b754e1ebc63577c"),
    "long-inserted": Preset(
        "full-video-move4mnist-64",
        600,
        2000,
        64,
        48,
        1,
        {**_LONG, "inserted": True},
        digest="254041244a5689fc",
    ),
    "longer": Preset("full-video-move4mnist-64", 600, 2000, 64, 96, 1, _LONG, digest="1184178ffa242dae"),
}


def bench_full_video(
    out: str | Path,
    preset: str | Preset = "cpu",
    *,
    digits: str | Path | None = None,
    backgrounds: str | Path | None = None,
    weights: str | None = None,
    costs: bool = True,
    plan: Plan | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Train and test every row of the table, and measure its cost.

    Args:
        out: folder of the data set and of the runs. Finished runs are kept, and an interrupted one is resumed.
        preset: a name in `PRESETS`, or a preset.
        digits: folder of MNIST's idx files. Default: the digits of scikit-learn.
        backgrounds: folder of background videos. Default: generated textures.
        weights: ImageNet weights, a file or "download", which the paper uses. Default: random weights.
        costs: measure costs.
        plan: rows, seeds, workers and device.
        reporter: shows progress.

    Returns:
        One dict per row: ``name``, ``top1`` (of each seed), and with ``costs`` ``multiply_adds`` of a video, ``bytes``
        of memory that a video takes in training, ``step_seconds`` and ``epoch_seconds`` without reading.

    Raises:
        ArgumentError: the preset or a row is unknown.
        TrainingError: a run was interrupted; the same command resumes it.
    """
    preset, plan = find_preset(preset, PRESETS), plan or Plan()
    chosen = plan.choose({row.name: row for row in table_rows()}).values()
    reporter, root = reporter or Reporter(), Path(out)
    data = make_videos(root / "videos", preset, digits, backgrounds, reporter)
    start = {"model.pretrained": True} if weights == "download" else {"model.weights": weights}
    base = get_recipe(preset.recipe).updated(
        {"data.source": f"move4mnist:{data}", **plan.settings(), **start, **preset.changes}
    )
    # Each row sets its number of clusters, which TSM does not have.
    kept = {key: value for key, value in base.model.model_dump().items() if key != "clusters"}
    base = base.model_copy(update={"model": ModelSettings(**kept)})
    # Seed by seed, so that a table of one seed is complete before the second begins.
    accuracies: dict[str, list[float]] = {row.name: [] for row in chosen}
    seeds = range(preset.seeds if plan.seeds is None else plan.seeds)
    countdown = Countdown(
        [root / f"{row.name}-{seed}" / RESULT_FILE for seed in seeds for row in chosen], reporter
    )
    for seed in seeds:
        for row in chosen:
            settings = base.updated(
                {**row.settings(preset.frames, base.input.sampled_epochs), "run.seed": seed}
            )
            if row.clusters is None:
                settings = settings.updated({"input.sampled_epochs": 0})
            # One view of the whole frame, as in the paper.
            protocol = "1xfull" if row.clusters is None else "allxfull"
            run = root / f"{row.name}-{seed}"
            countdown.begin(run / RESULT_FILE, f"{row.name}, seed {seed}")
            accuracies[row.name].append(experiment(settings, run, protocol, name="", reporter=reporter).top1)
    if not costs:
        return [{"name": name, "top1": values} for name, values in accuracies.items()]
    costs_of = {cost.pop("name"): cost for cost in row_costs(root, preset, plan=plan, reporter=reporter)}
    return [{"name": name, "top1": values, **costs_of[name]} for name, values in accuracies.items()]


def row_costs(
    out: str | Path,
    preset: str | Preset = "cpu",
    *,
    plan: Plan | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measure the cost of every row, without videos or training.

    Args:
        out: folder of the measurements. What was measured is not measured again.
        preset: a name in `PRESETS`, or a preset.
        plan: rows and device.
        reporter: shows progress.

    Returns:
        One dict per row: ``name`` and the costs, see `bench_full_video`.

    Raises:
        ArgumentError: the preset or a row is unknown, or a row could not be measured.
    """
    preset, plan = find_preset(preset, PRESETS), plan or Plan()
    base = get_recipe(preset.recipe).updated(dict(preset.changes))
    steps = preset.train // (base.optim.batch * base.optim.accumulate) * base.optim.accumulate
    found = []
    for row in plan.choose({row.name: row for row in table_rows()}).values():
        path = Path(out) / f"cost-{row.name}.json"
        cost = _cost(base, row, preset, path, plan.device, reporter or Reporter())
        found.append({"name": row.name, **cost, "epoch_seconds": cost["step_seconds"] * steps})
    return found


def make_videos(
    folder: Path,
    preset: Preset,
    digits: str | Path | None,
    backgrounds: str | Path | None,
    reporter: Reporter,
) -> Path:
    """Return the data set of a preset, and generate it if it does not exist.

    Raises:
        DataError: it is not the fixed one.
    """
    made = move4mnist(
        folder,
        Design(size=preset.size, frames=preset.frames, **preset.design),
        videos=(preset.train, preset.test),
        digits=digits,
        backgrounds=backgrounds,
        reporter=reporter,
    )
    if preset.digest and digits is None and backgrounds is None and digest_of_set(made) != preset.digest:
        raise DataError(
            f"{made}: has digest {digest_of_set(made)}, and the set of this preset has {preset.digest}: results cannot "
            "be compared. Remove the folder; if that does not help, numpy or scikit-learn draw differently here."
        )
    return made


def _cost(
    base: TrainSettings, row: TableRow, preset: Preset, path: Path, device: str, reporter: Reporter
) -> dict[str, Any]:
    """Return the cost of a row, measured once in separate processes."""
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
    """Format the rows of `bench_full_video` as cells of a table."""
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
