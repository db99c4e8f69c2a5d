"""How often a cheaper forward pass chooses the same snippets as float32 at full size, on the training videos of runs.

`python benchmarks/cheap_watch.py RUN…` takes runs of principal backpropagation whose data exists, such as one for each
fold. `praxiscope bench principal` measures the cost of such a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from common import Table, parser, run_command, write_tables

from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.comparison import interval
from praxiscope.inference.loading import load
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import SETTINGS_FILE
from praxiscope.steps.principal import Rule, choose_all
from praxiscope.steps.rows import watch, watching
from praxiscope.training.loader import epoch_loader, flow_store, preparer
from praxiscope.training.make_step import resize_frames

RULES = get_args(Rule)[:2]
CHUNK = 64
"""Rows of a forward pass."""


class Way(NamedTuple):
    """A way to watch: the side of the frames, and whether in bf16."""

    size: int
    low: bool

    def __str__(self) -> str:
        return f"{self.size} px, {'bf16' if self.low else 'float32'}"


def main() -> None:
    """Run the forward pass of an epoch of each run in every way, compare the choices, and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[160, 112])
    arguments.add_argument("--choose", type=int, default=3)
    options = arguments.parse_args()
    known = [load_yaml(run / SETTINGS_FILE) for run in options.runs]
    for run, settings in zip(options.runs, known, strict=True):
        if settings.backprop.name != "principal":
            raise ArgumentError(
                f"{run}: chooses no snippets. Give runs of praxiscope train --watch M --choose N."
            )
    shapes = {
        (settings.data.source, settings.input.size, settings.input.snippets, settings.backprop.candidates)
        for settings in known
    }
    if len(shapes) > 1:
        raise ArgumentError(
            "the runs have different data, sizes or numbers of snippets. Give runs that agree in them."
        )
    ((source, full, m, candidates),) = shapes
    sizes = list(dict.fromkeys(options.sizes))
    if max(sizes, default=0) >= full:
        raise ArgumentError(f"--sizes {max(sizes)}: must be below the size of the runs, {full}")
    ways = [Way(full, False), Way(full, True)]
    ways += [Way(size, low) for low in (False, True) for size in sizes]
    agreed: dict[tuple[Way, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run, settings in zip(options.runs, known, strict=True):
        print(f"--- {run.name}", flush=True)
        for video, way, rule, same, shared in choices(run, settings, ways, options.choose):
            agreed[way, rule, "subset"][video].append(same)
            agreed[way, rule, "snippets"][video].append(shared)
    groups = {record.id: record.source for record in load_records(source, random_split=False).records}
    rows = [
        [str(way), *(cell(agreed[way, rule, of], groups) for rule in RULES for of in ("subset", "snippets"))]
        for way in ways[1:]
    ]
    videos = len(agreed[ways[0], RULES[0], "subset"])
    header = ["watched at"] + [f"{rule}: {of}" for rule in RULES for of in ("same subset", "snippets shared")]
    n, count = options.choose, len(options.runs)
    write_tables(
        options,
        __file__,
        "Cheaper watching: agreement with the choice of float32 at full size",
        [Table("", header, rows)],
        f"{n} of {m} snippets of {videos} training videos of {count} run{'s' * (count > 1)}, learned from at {full} "
        f"pixels. By chance {1 / min(comb(m, n), candidates):.3f} of the subsets agree, and {n / m:.2f} of the "
        "snippets. In brackets: the 95 % interval, a bootstrap over groups of videos; a video of several runs counts "
        "with their mean.",
    )


def cell(of_video: Mapping[str, list[float]], groups: Mapping[str, str]) -> str:
    """The mean over the videos and its interval."""
    values = np.array([np.mean(each) for each in of_video.values()])
    low, high = interval(values, [groups[video] for video in of_video])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def choices(
    run: Path, settings: TrainSettings, ways: list[Way], n: int
) -> list[tuple[str, Way, str, float, float]]:
    """Agreement of each way with the first: video, way, rule, whether the subsets agree, share of common snippets."""
    recogniser = load(run, device="cpu")
    manifest = load_records(
        settings.data.source,
        split=settings.data.split,
        annotations=settings.data.annotations,
        seed=settings.run.seed,
    )
    alone: Any = SimpleNamespace(global_rank=0, world_size=1, device=torch.device("cpu"))
    card = recogniser.card.input
    batches = epoch_loader(settings, manifest, manifest.of("train"), alone, {}, card, flow_store(settings))
    prepare = preparer(settings, card, alone.device)
    recogniser.model.float()
    found = []
    for item in batches(0, 0):
        chosen: dict[tuple[Way, str], torch.Tensor] = {}
        for way in ways:
            context = torch.autocast("cpu", torch.bfloat16) if way.low else nullcontext()
            with watching(recogniser.model), context:
                seen = watch(
                    recogniser.model,
                    item.batch,
                    lambda part, size=way.size: prepare(resize_frames(part, size)),
                    CHUNK,
                )
            for rule in RULES:
                # Where candidates are drawn, every way has the same.
                generators = [torch.Generator().manual_seed(seed) for seed in item.batch.seeds]
                chosen[way, rule] = choose_all(
                    seen,
                    item.batch.targets,
                    n,
                    rule,
                    candidates=settings.backprop.candidates,
                    generators=generators,
                )
        for (way, rule), two in chosen.items():
            one = chosen[ways[0], rule]
            same = (one == two).all(dim=1).float().tolist()
            shared = (one[:, :, None] == two[:, None, :]).any(dim=2).float().mean(dim=1).tolist()
            found += [
                (video, way, rule, *pair) for video, *pair in zip(item.batch.ids, same, shared, strict=True)
            ]
    return found


if __name__ == "__main__":
    run_command(main)
