"""Principal backpropagation on long videos of which a part shows the action, on features of real frames.

`python benchmarks/principal_features.py FEATURES` (of `praxiscope features`) composes long videos of 24 rows: a stretch
of a clip of an action, and around it stretches of two clips of other classes, which are no classes of the task. The
network is a small one on these features; watching, choosing and learning are those of `praxiscope train --choose`.
Cross-validation by group: no clip, and no other clip of its group, is both learned from and tested.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import Table, parser, run_command, write_tables
from torch import Tensor, nn

from praxiscope.bench.compare import (
    PAIRS_HEADER,
    SYSTEMS_HEADER,
    Comparison,
    pair_cells,
    pair_rows,
    system_cells,
    system_rows,
)
from praxiscope.checkpoint import write_json
from praxiscope.data.folds import Fold, fold_split
from praxiscope.data.manifest import load_records
from praxiscope.evaluation.comparison import read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.features.store import FeatureStore
from praxiscope.layers.consensus import average
from praxiscope.models.contract import Sees
from praxiscope.steps import Step, learn_at_once, make_loss
from praxiscope.steps.ordinary import ordinary
from praxiscope.steps.principal import WatchOptions, principal
from praxiscope.types import Batch, SnippetOutput, VideoRecord

ROWS = 24
"""Rows of a long video."""
SHARES = {"1/6": 1 / 6, "1/3": 1 / 3, "2/3": 2 / 3, "1": 1.0}
OTHERS = 3
"""Classes that are not of the task."""
WATCHED, CHOSEN = 6, 3
LAST = 30
"""Steps whose losses are averaged at the end."""


class System(NamedTuple):
    """A way to train: snippets watched, the rule or None for all of them, and what it starts from."""

    watched: int
    rule: str | None = None
    start: str | None = None


SYSTEMS = {
    "Full-3": System(3),
    "Full-6": System(6),
    "random-6-3": System(6, "random"),
    "max-6-3": System(6, "max"),
    "kl-6-3": System(6, "kl"),
    "Full-6 from Full-6": System(6, None, "Full-6"),
    "max-6-3 from Full-6": System(6, "max", "Full-6"),
    "kl-6-3 from Full-6": System(6, "kl", "Full-6"),
}
PAIRS = [
    ("Full-6", "Full-3"),
    ("random-6-3", "Full-3"),
    ("max-6-3", "random-6-3"),
    ("kl-6-3", "random-6-3"),
    ("kl-6-3", "Full-6"),
    ("max-6-3 from Full-6", "Full-6 from Full-6"),
    ("kl-6-3 from Full-6", "Full-6 from Full-6"),
]


class Head(nn.Module):
    """The scores of rows: standardised features, a hidden layer, classes; the mean over the rows."""

    streams, sees, consensus = ("features",), Sees(), staticmethod(average)

    def __init__(self, rows: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("scale", 1 / (rows.std(0) + 1e-3))
        self.layers = nn.Sequential(
            nn.Linear(rows.shape[1], 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes)
        )

    def forward(self, features: Tensor) -> SnippetOutput:
        each = self.layers((features - self.mean) * self.scale)
        return SnippetOutput(self.consensus(each), each)


class Task(NamedTuple):
    """The clips of a fold.

    rows: of all clips of the fold, float32 [n * R, D]: R of each clip, those of the task first.
    each: R.
    targets: the class of each clip of the task, int64.
    ids: of these clips.
    """

    rows: Tensor
    each: int
    targets: Tensor
    ids: list[str]

    def videos(self, clips: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """The numbers of the rows of a long video of each of some clips, int64 [B, 24]."""
        count, half, task = round(ROWS * share), ROWS // 2, len(self.ids)
        others = len(self.rows) // self.each - task
        rest = task + torch.rand(len(clips), others, generator=generator).argsort(1)[:, :2]
        around = rest.repeat_interleave(half, 1) * self.each + spread(self.each, half).repeat(2)
        first = torch.randint(ROWS - count + 1, (len(clips), 1), generator=generator)
        place = torch.arange(ROWS) - first
        inside = clips[:, None] * self.each + spread(self.each, count)[place.clamp(0, count - 1)]
        return torch.where((place >= 0) & (place < count), inside, around)


def spread(rows: int, count: int) -> Tensor:
    """The numbers of ``count`` of some rows, at equal distances: int64 [count]."""
    return ((torch.arange(count) + 0.5) * rows / count).long()


def task_of(store: FeatureStore, records: list[VideoRecord], classes: list[str], side: str) -> Task:
    """The clips of one side of a split; the last `OTHERS` of ``classes`` are background."""
    of_side = [record for record in records if record.split == side]
    named = [record for record in of_side if record.labels[0] in classes[:-OTHERS]]
    others = [record for record in of_side if record.labels[0] in classes[-OTHERS:]]
    rows = torch.stack([store.clip(record.id).features.float() for record in [*named, *others]])
    return Task(
        rows.flatten(0, 1),
        rows.shape[1],
        torch.tensor([classes.index(record.labels[0]) for record in named]),
        [record.id for record in named],
    )


def step_of(system: System) -> Step:
    """The step of ``praxiscope train``."""
    loss = make_loss(False)
    if system.rule is None:
        return ordinary(loss)
    options = WatchOptions(lambda batch: batch, chunk=WATCHED)
    return principal(learn_at_once(loss, lambda batch: batch), options, n=CHOSEN, rule=system.rule)  # type: ignore[arg-type]


def batches(
    task: Task, share: float, watched: int, seed: int, options: argparse.Namespace
) -> Iterator[Batch]:
    """Batches of snippets, one of each of equal parts of a video; the same videos for every system."""
    generator, segments = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    for number in range(options.steps):
        clips = torch.randint(len(task.ids), (options.batch,), generator=generator)
        videos = task.videos(clips, share, generator)
        part = ROWS // watched
        place = (
            torch.randint(part, (options.batch, watched), generator=segments) + torch.arange(watched) * part
        )
        snippets = task.rows[videos.gather(1, place)]
        seeds = [seed * 1_000_003 + number * options.batch + i for i in range(options.batch)]
        yield Batch({"features": snippets}, task.targets[clips], [task.ids[i] for i in clips], seeds)


def train(
    head: Head, system: System, task: Task, share: float, seed: int, options: argparse.Namespace
) -> float:
    """Train a head; return the mean loss of all watched snippets over the last steps."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=options.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    step, losses = step_of(system), []
    head.train()
    for batch in batches(task, share, system.watched, seed, options):
        optimiser.zero_grad()
        found = step(head, batch, lambda loss: loss.backward())
        optimiser.step()
        schedule.step()
        losses.append(float(found.metrics.get("loss_full", found.loss)))
    return float(np.mean(losses[-LAST:]))


@torch.no_grad()
def test(head: Head, task: Task, share: float, classes: list[str], options: argparse.Namespace) -> Scores:
    """Scores of the test videos: the mean over all rows; each clip is in several videos."""
    generator = torch.Generator().manual_seed(0)
    head.eval()
    clips = torch.arange(len(task.ids)).repeat(options.videos)
    logits = torch.cat(
        [head(task.rows[task.videos(part, share, generator)]).logits for part in clips.split(64)]
    )
    ids = [f"{task.ids[clip]}#{number // len(task.ids)}" for number, clip in enumerate(clips.tolist())]
    return Scores(ids, logits.numpy(), task.targets[clips].numpy(), classes[:-OTHERS])


def run(options: argparse.Namespace, share: str, fold: Fold, seed: int, wanted: list[str]) -> None:
    """All systems on a fold with a seed, which also decides which classes are background. What was done is kept."""
    place = options.out / share.replace("/", "of") / f"{seed}-{fold.number}"
    left = [name for name in wanted if not (place / f"{name}.npz").is_file()]
    if not left:
        return
    place.mkdir(parents=True, exist_ok=True)
    store, manifest = FeatureStore(options.features), load_records(options.features, random_split=False)
    records = fold_split(manifest.records, fold)
    turn = OTHERS * seed % len(manifest.classes)
    classes = [*manifest.classes[turn:], *manifest.classes[:turn]]
    learned, tested = (task_of(store, records, classes, side) for side in ("train", "test"))
    for name in left:
        system = SYSTEMS[name]
        torch.manual_seed(seed)
        head = Head(learned.rows, len(classes) - OTHERS)
        if system.start is not None:
            head.load_state_dict(torch.load(place / f"{system.start}.pt", weights_only=True))
        loss = train(head, system, learned, SHARES[share], seed + 100 * (system.start is not None), options)
        torch.save(head.state_dict(), place / f"{name}.pt")
        write_json(place / f"{name}.json", {"loss": loss})
        test(head, tested, SHARES[share], classes, options).save(place / f"{name}.npz")


def main() -> None:
    """Train and test all, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("features", metavar="FEATURES", help="folder of stored features of 9 classes")
    arguments.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    arguments.add_argument("--shares", nargs="+", default=list(SHARES), choices=SHARES, help="of the action")
    arguments.add_argument("--folds", type=int, default=5)
    arguments.add_argument("--seeds", type=int, default=6, help="a multiple of 3: the background takes turns")
    arguments.add_argument("--videos", type=int, default=4, help="test videos of each clip")
    arguments.add_argument("--steps", type=int, default=300)
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--lr", type=float, default=1e-3)
    options = arguments.parse_args()
    started = time.monotonic()
    for share in options.shares:
        for seed in range(options.seeds):
            for number in range(1, options.folds + 1):
                run(options, share, Fold(number, options.folds), seed, options.systems)
            print(f"{share}, seed {seed}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
    if options.systems == list(SYSTEMS):
        write(options)


def load(path: Path, classes: Sequence[str]) -> list[Scores]:
    """Scores over all classes of a run, one for each of the test videos of a clip, by the clip. Classes that are
    background for a seed are never chosen."""
    found = Scores.load(path)
    logits = np.full((len(found), len(classes)), -1e4, np.float32)
    places = np.array([classes.index(name) for name in found.classes])
    logits[:, places] = found.logits
    clips, videos = zip(*(name.rsplit("#", 1) for name in found.ids), strict=True)
    rows = [[i for i, video in enumerate(videos) if video == number] for number in sorted(set(videos))]
    return [
        Scores([clips[i] for i in of], logits[of], places[found.targets[of]], list(classes)) for of in rows
    ]


def write(options: argparse.Namespace) -> None:
    """Write the tables of all runs that are there."""
    manifest = load_records(options.features, random_split=False)
    records, classes = manifest.records, manifest.classes
    tables = []
    for share in options.shares:
        place = options.out / share.replace("/", "of")
        systems = [
            read_system(
                name, [one for path in sorted(place.glob(f"*/{name}.npz")) for one in load(path, classes)]
            )
            for name in SYSTEMS
        ]
        groups = {record.id: record.source for record in records}
        found = Comparison(systems, groups, PAIRS)
        losses = {
            name: np.mean([json.loads(path.read_text())["loss"] for path in place.glob(f"*/{name}.json")])
            for name in SYSTEMS
        }
        heading = f"The action in {share} of a video"
        rows = [[*system_cells(row), f"{losses[row['system']]:.2f}"] for row in system_rows(found)]
        tables.append(Table(heading, [*SYSTEMS_HEADER, "training loss"], rows))
        tables.append(Table("", PAIRS_HEADER, [pair_cells(row) for row in pair_rows(found)]))
    write_tables(options, __file__, "Principal backpropagation on long videos, on features", tables, NOTE)


NOTE = (
    "Long videos of 24 rows are composed of features of 25 frames of each clip: the action in one stretch at a "
    "random place, the rest of two clips of three classes that are background; which classes, takes turns by the "
    "seed, so that each clip counts in two of three. Training videos are composed anew in every step. A hidden "
    "layer of 128, 300 steps of 32 videos, AdamW, rate 0.001 with a cosine schedule, dropout 0.5; nothing was "
    "tuned. Systems that start from Full-6 learn for 300 steps more. Tested on four videos of each clip, all 24 "
    "rows. Runs: four videos of the two seeds in which a clip counts. Training loss: of all watched snippets, "
    "mean of the last 30 steps and of all runs; with equal scores of all classes it is log 6 = 1.79."
)


if __name__ == "__main__":
    run_command(main)
