"""Temporal difference networks against temporal segment networks, with the same number of steps.

    weizmann     all folds, one person each; RGB frames, flow, and both fused 1 : 1.5 on L1-normalised scores
    ucf          the clips of UCF-101 that are there (--ucf), one split; the same
    move4mnist   generated videos in which only the direction of motion decides; RGB frames

A temporal difference network starts from the temporal segment network "tsn" and is trained for as many steps again,
the first half with the image network fixed. "tsn, longer" starts from "tsn" too and is trained for as many steps with
the same schedule, so both have seen as many clips; a step of the difference network costs more (the last column of the
table). "reversed" tests the same networks with the snippets of each clip in reversed order.

The results of finished runs are kept in ``--out``, so parts may be run one after the other (``--sets``, ``--streams``,
``--systems``, ``--seeds``): tables show all runs that are there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from by_group import compare, interval, right_of
from common import Run, Table, experiment, parser, run_command, score_cells, write_tables

import praxiscope as px
from praxiscope.commands.dataset import Design, move4mnist
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.evaluation.fusion import combine
from praxiscope.evaluation.scores import Scores
from praxiscope.models import create_model
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.loader import targets_of
from praxiscope.training.summary import measure

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
SYSTEMS = {
    "tsn": "tsn",
    "tsn, longer": "tsn",
    "differences: input": "input",
    "differences: input–conv1": "conv1",
    "differences: input–res2": "res2",
    "differences: input–res3": "res3",
    "differences: input–res4": "res4",
}
"""The deepest layer of each; "tsn" for none."""
FULL = "differences: input–res4"
STREAMS = ("rgb", "flow")
PROTOCOL = "25x1"


class Set(NamedTuple):
    """A data set of the benchmark.

    Attributes:
        source: DATA.
        splits: its folds.
        settings: of all trainings.
        epochs: of "tsn".
        systems: names of systems.
        streams: names of streams.
        protocol: of the test.
        annotations: folder of the lists of its splits.
    """

    source: str
    splits: Sequence[str | None]
    settings: Sequence[str]
    epochs: int
    systems: Sequence[str]
    streams: Sequence[str]
    protocol: str = PROTOCOL
    annotations: Path | None = None

    def records(self, split: str | None) -> Manifest:
        """The clips of a fold."""
        return load_records(self.source, split=split, annotations=self.annotations)


REAL = (
    "model.backbone=efficientnet_lite0",
    "model.batchnorm=partial",
    "model.dropout=0.5",
    "model.pretrained=true",
    "input.size=112",
    "input.short_side=128",
    "input.snippets=3",
    "input.subtract_mean=false",
    "optim.batch=8",
)
LR = {
    ("weizmann", "rgb"): 2e-3,
    ("weizmann", "flow"): 4e-3,
    ("ucf", "rgb"): 2e-3,
    ("ucf", "flow"): 4e-3,
    ("move4mnist", "rgb"): 2e-2,
}
"""Learning rates, equal for all systems of a set. Those of weizmann were chosen on held-out training people (--choose)
and serve ucf too; that of move4mnist was not searched."""


def sets_of(options: argparse.Namespace) -> dict[str, Set]:
    """The data sets whose places are given."""
    made = {}
    three = ("tsn", "tsn, longer", FULL)
    if options.weizmann:
        made["weizmann"] = Set(f"weizmann:{options.weizmann}", PEOPLE, REAL, 10, three, STREAMS)
    if options.ucf:
        lists = options.annotations
        listed = [f"data.annotations={lists}"] if lists else []
        source = f"ucf101:{options.ucf}"
        made["ucf"] = Set(source, ("1",), (*REAL, *listed), 6, three, STREAMS, annotations=lists)
    if options.move4mnist:
        data = move4mnist(
            options.out / "move4mnist",
            Design(size=64, chunk=(24, 32)),
            videos=(options.train, options.test),
            digits=options.digits,
            reporter=ConsoleReporter(),
        )
        small = (
            *("model.backbone=resnet10", "model.dropout=0.2", "model.pretrained=false", "input.size=48"),
            *("input.short_side=48", "input.snippets=8", "input.crop=center", "input.flip=false"),
            "optim.batch=8",
        )
        made["move4mnist"] = Set(str(data), (None,), small, 3, tuple(SYSTEMS), ("rgb",), "8x1")
    return {name: one for name, one in made.items() if name in options.sets}


def settings_of(
    name: str, one: Set, stream: str, system: str, split: str | None, seed: int, options: argparse.Namespace
) -> TrainSettings:
    """The settings of a training."""
    flow = [f"data.flow={options.flow / name}", "model.stream=flow"] if stream == "flow" else []
    common = [
        f"data.source={one.source}",
        f"data.split={split or 'null'}",
        "data.validation=0",
        f"optim.lr={LR[name, stream]}",
        f"optim.epochs={one.epochs}",
        "optim.warmup_epochs=1",
        "run.validate_epochs=0",
        "run.tensorboard=false",
        f"run.seed={seed}",
        *one.settings,
        *flow,
    ]
    ours = ["model.name=tsn"]
    if system != "tsn":
        ours.append(f"model.start=[{folder_of(name, stream, 'tsn', split, seed, options)}]")
    if system == "tsn, longer":
        ours.append("model.pretrained=false")
    if SYSTEMS[system] != "tsn":
        ours += [
            "model.name=temporal-difference",
            f"model.layers={SYSTEMS[system]}",
            f"optim.frozen_epochs={one.epochs / 2:g}",
        ]
    return override(get_recipe("default"), [*common, *ours, *options.assignments])


def folder_of(
    name: str, stream: str, system: str, split: str | None, seed: int, options: argparse.Namespace
) -> Path:
    word = system.replace(": ", "-").replace(", ", "-").replace("–", "-")
    return Path(options.out / name / "-".join([stream, word, *([split] if split else []), str(seed)]))


class Cell(NamedTuple):
    """The results of a system on a stream: of each fold and seed.

    Attributes:
        runs: by seed, of each fold.
        scores: by seed, of each fold.
    """

    runs: dict[int, list[Run]]
    scores: dict[int, list[Scores]]

    @property
    def all(self) -> list[Scores]:
        """The scores of all seeds and folds."""
        return [scores for each in self.scores.values() for scores in each]

    def top1(self) -> list[float]:
        """Accuracy of each seed over the clips of all folds."""
        return [float(np.mean([*right_of(each).values()])) for each in self.scores.values()]


def measured(name: str, one: Set, options: argparse.Namespace) -> dict[tuple[str, str], Cell]:
    """Train and test what is asked for; return all results that are there, by stream and system."""
    cells = {}
    for stream in one.streams:
        for system in one.systems:
            runs: dict[int, list[Run]] = {}
            scores: dict[int, list[Scores]] = {}
            for seed in range(options.seeds.get(name, 1)):
                found = list(_folds(name, one, stream, system, seed, options))
                if len(found) == len(one.splits):
                    runs[seed], scores[seed] = [run for run, _ in found], [made for _, made in found]
            if runs:
                cells[stream, system] = Cell(runs, scores)
    return cells


def _folds(
    name: str, one: Set, stream: str, system: str, seed: int, options: argparse.Namespace
) -> Iterator[tuple[Run, Scores]]:
    asked = (not options.streams or stream in options.streams) and (
        not options.systems or system in options.systems
    )
    for split in one.splits:
        folder = folder_of(name, stream, system, split, seed, options)
        if asked or (folder / f"result_{one.protocol}.json").is_file():
            settings = settings_of(name, one, stream, system, split, seed, options)
            run = experiment(settings, folder, one.protocol)
            yield run, Scores.load(folder / f"scores_{one.protocol}.npz")


def reversed_scores(name: str, one: Set, system: str, options: argparse.Namespace) -> list[Scores]:
    """The scores of the first seed with the snippets of each clip in reversed order, of all folds; RGB frames."""
    made = []
    for split in one.splits:
        folder = folder_of(name, "rgb", system, split, 0, options)
        kept = folder / "scores_reversed.npz"
        if not kept.is_file():
            recogniser: Any = px.load(folder)
            network = recogniser.model
            forward = network.forward
            network.forward = lambda frames, forward=forward, **more: forward(frames.flip(1), **more)
            manifest = one.records(split)
            records = manifest.of("test")
            scores, _ = recogniser.score(records, targets_of(manifest, records), one.protocol)
            scores.save(kept)
        made.append(Scores.load(kept))
    return made


def fused(rgb: Cell, flow: Cell) -> Cell:
    """RGB and flow 1 : 1.5 on L1-normalised scores before softmax (section 5.3.3)."""
    made = {}
    for seed in rgb.scores.keys() & flow.scores.keys():
        pairs = zip(rgb.scores[seed], flow.scores[seed], strict=True)
        made[seed] = [
            replace(a, logits=combine([a.logits, in_order(b, a.ids)], kind="l1", weights=(1, 1.5)))
            for a, b in pairs
        ]
    return Cell({}, made)


def in_order(scores: Scores, ids: Sequence[str]) -> np.ndarray:
    places = {clip: number for number, clip in enumerate(scores.ids)}
    return np.asarray(scores.logits)[[places[clip] for clip in ids]]


def groups_of(one: Set, scores: Sequence[Scores]) -> dict[str, str]:
    """The group of each test clip; a clip of a set without groups is one of its own."""
    known = {record.id: record.group or record.id for record in one.records(one.splits[0]).records}
    return {clip: known[clip] for each in scores for clip in each.ids}


def gflops(settings: TrainSettings, channels: int) -> float:
    """Of one clip in a forward pass; a multiply-add counts as two."""
    import torch

    words = {key: value for key, value in settings.model.keywords().items() if key != "pretrained"}
    model = create_model(settings.model.name, num_classes=10, **words, in_channels=channels).eval()
    given = settings.input
    costs = measure(model, [torch.zeros(1, given.snippets, channels, given.size, given.size)])
    return costs["flops"] / 1e9


def tables_of(name: str, one: Set, options: argparse.Namespace) -> tuple[list[Table], list[Run]]:
    cells = measured(name, one, options)
    for system in one.systems:
        if len(one.streams) > 1 and ("rgb", system) in cells and ("flow", system) in cells:
            cells["fused", system] = fused(cells["rgb", system], cells["flow", system])
    if not cells:
        return [], []
    groups = groups_of(one, next(iter(cells.values())).all)
    rows = []
    for (stream, system), cell in cells.items():
        low, high = interval(right_of(cell.all), groups)
        cost = ""
        if cell.runs:
            settings = next(iter(cell.runs.values()))[0].settings
            cost = f"{gflops(settings, 3 if stream == 'rgb' else 10):.2f}"
        rows.append([stream, system, *score_cells(cell.top1()), f"{low:.3f}–{high:.3f}", cost])
    header = ["stream", "system", "top-1", "spread", "each seed", "95 % interval", "GFLOPs of a clip"]
    made = [Table(f"{name}: accuracy", header, rows), _differences(name, cells, groups)]
    if (reversal := _reversed(name, one, cells, options)).rows:
        made.append(reversal)
    return made, [run for cell in cells.values() for each in cell.runs.values() for run in each]


def _differences(name: str, cells: Mapping[tuple[str, str], Cell], groups: Mapping[str, str]) -> Table:
    rows = []
    for stream, system in cells:
        for other in ("tsn", "tsn, longer", "differences: input"):
            if system.startswith("differences") and system != other and (stream, other) in cells:
                found = compare(cells[stream, system].all, cells[stream, other].all, groups)
                bounds = f"{found.low:+.3f} to {found.high:+.3f}"
                rows.append([stream, system, other, f"{found.mean:+.3f}", bounds, f"{found.p:.2g}"])
    header = ["stream", "system", "against", "difference", "95 % interval", "p, clips"]
    return Table(f"{name}: paired differences", header, rows)


def _reversed(
    name: str, one: Set, cells: Mapping[tuple[str, str], Cell], options: argparse.Namespace
) -> Table:
    rows = []
    for system in ("tsn", FULL):
        if ("rgb", system) in cells and not options.no_reversed:
            forward = right_of(cells["rgb", system].scores[0])
            back = reversed_scores(name, one, system, options)
            rows.append([system, *(f"{np.mean([*x.values()]):.3f}" for x in (forward, right_of(back)))])
    return Table(f"{name}: time reversed, RGB frames, first seed", ["system", "top-1", "reversed"], rows)


def choose(one: Set, name: str, options: argparse.Namespace) -> None:
    """Print the accuracy on held-out training groups of "tsn" and of the differences, by learning rate."""
    for stream in options.streams or one.streams:
        for lr in options.choose:
            for system in ("tsn", FULL):
                LR[name, stream] = lr
                out = argparse.Namespace(**{**vars(options), "out": options.out / "choose" / f"{lr:g}"})
                settings = settings_of(name, one, stream, system, one.splits[0], 0, out)
                settings = override(settings, ["data.validation=0.25", "run.validate_epochs=1000"])
                folder = folder_of(name, stream, system, one.splits[0], 0, out)
                run = experiment(settings, folder, one.protocol, subset="val")
                print(
                    json.dumps({"set": name, "stream": stream, "lr": lr, "system": system, "val": run.top1})
                )


def main() -> None:
    """Train and test what is asked for, then write the tables of all results."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--weizmann", type=Path, help="the Weizmann videos")
    arguments.add_argument("--ucf", type=Path, help="videos of UCF-101")
    arguments.add_argument("--annotations", type=Path, help="folder of the split lists of UCF-101")
    arguments.add_argument("--move4mnist", action="store_true", help="generate Move4MNIST")
    arguments.add_argument("--digits", type=Path, help="folder of MNIST's idx files")
    arguments.add_argument("--train", type=int, default=1200, help="training videos of Move4MNIST")
    arguments.add_argument("--test", type=int, default=600, help="test videos of Move4MNIST")
    arguments.add_argument("--flow", type=Path, help="folder of the stored flow of each set: weizmann, ucf")
    arguments.add_argument("--sets", nargs="+", default=["weizmann", "ucf", "move4mnist"])
    arguments.add_argument("--streams", nargs="*", help="train these only")
    arguments.add_argument("--systems", nargs="*", choices=list(SYSTEMS), help="train these only")
    arguments.add_argument("--seeds", type=json.loads, default={"weizmann": 1, "ucf": 3, "move4mnist": 3})
    arguments.add_argument(
        "--choose", nargs="+", type=float, help="learning rates to try, on training groups"
    )
    arguments.add_argument("--no-reversed", action="store_true", help="leave the reversed clips out")
    options = arguments.parse_args()
    tables: list[Table] = []
    runs: list[Run] = []
    for name, one in sets_of(options).items():
        if options.choose:
            choose(one, name, options)
            continue
        found, made = tables_of(name, one, options)
        tables += found
        runs += made
    if not options.choose:
        write_tables(
            options,
            __file__,
            "Temporal difference networks",
            tables,
            "Top-1 over the test clips of all folds; the spread is the sample standard deviation over seeds; intervals "
            "are bootstraps over groups (people, groups of UCF-101, clips of Move4MNIST); p is that of the paired t "
            "test over clips, of each clip's mean over the seeds.",
            runs=runs,
        )


if __name__ == "__main__":
    run_command(main)
