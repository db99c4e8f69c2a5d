"""ActionFlowNet and its relatives at a small size: which of them classify actions better, with the same steps.

All see RGB frames alone when they are tested. In training some also learn flow, whose target is stored flow (DIS) of
the same training clips. "pre-trained" means: on this flow alone, of the training clips of the run, before the classes;
with ``--shapes`` the flow network starts from that run, which learned from moving shapes.

    weizmann   three people are tested, six are learned from; each seed tests other three, so that three seeds test all
    ucf        the clips of UCF-101 that are there (--ucf), one split

The settings are the same for all systems of a set: steps, batch, learning rate, size. With ``--long-steps`` the two
that differ in their start alone are also trained for more steps. The results of finished runs are kept in ``--out``,
so parts may be run one after the other (``--sets``, ``--systems``, ``--seeds``): tables show all runs that are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from by_group import compare, interval, right_of
from common import Run, Table, experiment, parser, run_command, score_cells, write_tables

from praxiscope.commands.train import train
from praxiscope.data.manifest import Manifest, load_records, write_csv
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.run_folder import POINTER_FILE
from praxiscope.training.log import read_log

PEOPLE = (("daria", "denis", "eli"), ("ido", "ira", "lena"), ("lyova", "moshe", "shahar"))
PROTOCOL = "10x1"


class System(NamedTuple):
    """A row of the tables.

    Attributes:
        model: its name.
        start: the flow network that it starts from, of `PRETRAINED`, or "" for random weights.
        flow_weight: lambda; 0: classes alone.
        settings: further settings.
        published: accuracy in the paper on UCF-101 and HMDB51, percent.
    """

    model: str
    start: str = ""
    flow_weight: float = 0.0
    settings: Sequence[str] = ()
    published: str = ""


PRETRAINED = {"pairs": "flownet", "clips": "flownet-3d"}
"""Flow networks that are trained on the stored flow of the training clips, by the name of their model. "shapes" is the
run of --shapes itself, with which they start."""

SYSTEMS = {
    "2 frames, scratch": System("actionflownet-2f", published="51.3, 23.9"),
    "2 frames, FlowNet fine-tune": System("actionflownet-2f", "pairs", published="66.0, 29.1"),
    "stacked": System("flow-stacked", "pairs", published="69.6, 42.4"),
    "stacked on shapes": System("flow-stacked", "shapes", published="51.7"),
    "ActionFlowNet-2F, 0.1": System("actionflownet-2f", "pairs", 0.1),
    "ActionFlowNet-2F, 1": System("actionflownet-2f", "pairs", 1.0),
    "ActionFlowNet-2F": System("actionflownet-2f", "pairs", 10.0, published="70.0, 42.4"),
    "single frame, ImageNet": System(
        "tsn",
        settings=("model.backbone=efficientnet_lite0", "model.pretrained=true", "model.dropout=0.5"),
        published="80.7, 47.1",
    ),
    "8 frames, scratch": System("actionflownet"),
    "8 frames, FlowNet fine-tune": System("actionflownet", "clips", published="80.8, 50.6"),
    "ActionFlowNet, 0.1": System("actionflownet", "clips", 0.1),
    "ActionFlowNet, 1": System("actionflownet", "clips", 1.0, published="83.9, 56.4"),
    "ActionFlowNet, 10": System("actionflownet", "clips", 10.0),
    "ActionFlowNet, 1, scratch": System("actionflownet", "", 1.0),
}
PAIRS = [
    ("2 frames, FlowNet fine-tune", "2 frames, scratch"),
    ("stacked", "2 frames, FlowNet fine-tune"),
    ("stacked", "stacked on shapes"),
    ("ActionFlowNet-2F, 0.1", "2 frames, FlowNet fine-tune"),
    ("ActionFlowNet-2F, 1", "2 frames, FlowNet fine-tune"),
    ("ActionFlowNet-2F", "2 frames, FlowNet fine-tune"),
    ("ActionFlowNet-2F", "stacked"),
    ("8 frames, scratch", "2 frames, scratch"),
    ("8 frames, FlowNet fine-tune", "8 frames, scratch"),
    ("8 frames, FlowNet fine-tune", "ActionFlowNet-2F"),
    ("ActionFlowNet, 1", "8 frames, FlowNet fine-tune"),
    ("ActionFlowNet, 0.1", "8 frames, FlowNet fine-tune"),
    ("ActionFlowNet, 10", "8 frames, FlowNet fine-tune"),
    ("ActionFlowNet, 1", "ActionFlowNet, 1, scratch"),
    ("ActionFlowNet, 1", "single frame, ImageNet"),
]
"""What the paper compares, and lambda: the first against the second."""
FRAMES = 8
LAST = 40
"""Steps at the end of a training that are averaged."""
LONG = ("2 frames, scratch", "2 frames, FlowNet fine-tune")


def split_list(options: argparse.Namespace, seed: int) -> Path:
    """A list of the Weizmann videos in which three people are tested."""
    place = Path(options.out / f"weizmann-{seed}.csv")
    if not place.is_file():
        options.out.mkdir(parents=True, exist_ok=True)
        manifest = load_records(f"weizmann:{options.weizmann}", split=PEOPLE[seed % 3][0])
        tested = PEOPLE[seed % 3]
        records = [
            replace(record, split="test" if record.group in tested else "train")
            for record in manifest.records
        ]
        write_csv(place, records, manifest.classes)
    return place


def data_of(name: str, seed: int, options: argparse.Namespace) -> list[str]:
    """The settings of a set's data."""
    flow = f"data.flow={options.flow / name}"
    if name == "weizmann":
        return [f"data.source={split_list(options, seed)}", flow]
    lists = [f"data.annotations={options.annotations}"] if options.annotations else []
    return [f"data.source=ucf101:{options.ucf}", "data.split=1", *lists, flow]


def manifest_of(settings: TrainSettings) -> Manifest:
    data = settings.data
    return load_records(
        data.source, split=data.split, annotations=Path(data.annotations) if data.annotations else None
    )


def common(options: argparse.Namespace, seed: int) -> list[str]:
    return [
        *(f"input.size={options.size}", f"input.short_side={round(options.size * 9 / 8)}"),
        *("input.snippets=1", "input.colour_jitter=0"),
        *(f"optim.batch={options.batch}", f"optim.lr={options.lr}", "optim.schedule=cosine"),
        *(
            "optim.milestone_steps=[]",
            "optim.epochs=null",
            "optim.warmup_epochs=0",
            "optim.name=adamw",
            "optim.weight_decay=0.01",
        ),
        *("data.validation=0", "run.validate_epochs=0", "run.tensorboard=false", f"run.seed={seed}"),
    ]


def pretrained(name: str, kind: str, seed: int, options: argparse.Namespace) -> Path:
    """Train a flow network on the stored flow of the training clips; return its run."""
    if kind == "shapes":
        return Path(options.shapes)
    folder = Path(options.out / name / f"flow-{kind}-{seed}")
    model = PRETRAINED[kind]
    settings = override(
        get_recipe(f"default-{model}"),
        [
            *common(options, seed),
            *data_of(name, seed, options),
            f"optim.steps={options.flow_steps}",
            f"input.frames={2 if kind == 'pairs' else FRAMES}",
            "run.validate_epochs=1000",
            *([f"model.start=[{options.shapes}]"] if options.shapes else []),
            *options.assignments,
        ],
    )
    train(settings, folder, resume=(folder / POINTER_FILE).is_file(), reporter=ConsoleReporter())
    return folder


def settings_of(name: str, system: str, seed: int, options: argparse.Namespace) -> TrainSettings:
    """The settings of a training."""
    row = SYSTEMS[system]
    recipe = "default" if row.model == "tsn" else f"default-{row.model}"
    frames = {"actionflownet": FRAMES, "tsn": 1}.get(row.model, 2)
    data = data_of(name, seed, options)
    made = [
        *common(options, seed),
        *(data if row.flow_weight else data[:-1]),
        f"model.name={row.model}",
        f"input.frames={frames}",
        f"optim.steps={options.steps}",
        *row.settings,
    ]
    if row.flow_weight:
        made.append(f"backprop.flow_weight={row.flow_weight}")
    elif row.model.startswith("actionflownet"):
        made += ["backprop.name=full"]
    if row.start:
        made.append(f"model.start=[{pretrained(name, row.start, seed, options)}]")
    return override(get_recipe(recipe), [*made, *options.assignments])


class Cell(NamedTuple):
    """The results of a system, by seed."""

    runs: dict[int, Run]
    scores: dict[int, Scores]


def folder_of(name: str, system: str, seed: int, options: argparse.Namespace) -> Path:
    word = system.replace(", ", "-").replace(" ", "-")
    long = f"-{options.steps}" if options.steps == options.long_steps else ""
    return Path(options.out / name / f"{word}{long}-{seed}")


def measured(name: str, options: argparse.Namespace) -> dict[str, Cell]:
    """Train and test what is asked for; return all results that are there, by system."""
    cells = {}
    for system in SYSTEMS:
        found = dict(_seeds(name, system, options))
        if found:
            runs = {seed: run for seed, (run, _) in found.items()}
            cells[system] = Cell(runs, {seed: scores for seed, (_, scores) in found.items()})
    return cells


def _seeds(name: str, system: str, options: argparse.Namespace) -> Iterator[tuple[int, tuple[Run, Scores]]]:
    if options.steps == options.long_steps and system not in LONG:
        return
    asked = not options.systems or system in options.systems
    if SYSTEMS[system].start == "shapes" and not options.shapes:
        return
    for seed in range(options.seeds):
        folder = folder_of(name, system, seed, options)
        if asked or (folder / f"result_{PROTOCOL}.json").is_file():
            run = experiment(settings_of(name, system, seed, options), folder, PROTOCOL)
            yield seed, (run, Scores.load(folder / f"scores_{PROTOCOL}.npz"))


def tables_of(name: str, options: argparse.Namespace) -> tuple[list[Table], list[Run]]:
    cells = measured(name, options)
    if not cells:
        return [], []
    first = next(iter(cells.values()))
    groups = _groups(first.runs.values())
    rows = []
    for system, cell in cells.items():
        low, high = interval(right_of([*cell.scores.values()]), groups)
        top1 = [run.top1 for run in cell.runs.values()]
        rows.append(
            [system, *score_cells(top1), f"{low:.3f}–{high:.3f}", _at_end("top1", name, system, cell, options),
             _at_end("epe", name, system, cell, options), SYSTEMS[system].published]
        )  # fmt: skip
    header = ["system", "top-1", "spread", "each seed", "95 % interval", "top-1 of the last training batches",
              "EPE of these, px", "paper"]  # fmt: skip
    title = f"{name}, {options.steps} steps"
    return [Table(f"{title}: accuracy", header, rows), _differences(title, cells, groups)], [
        run for cell in cells.values() for run in cell.runs.values()
    ]


def _groups(runs: Any) -> dict[str, str]:
    """The group of each clip that was tested."""
    return {
        record.id: record.group or record.id for run in runs for record in manifest_of(run.settings).records
    }


def _at_end(figure: str, name: str, system: str, cell: Cell, options: argparse.Namespace) -> str:
    """The mean of a figure of the log over the last steps of training and the seeds; "" where it has none."""
    found = []
    for seed in cell.runs:
        log = read_log(folder_of(name, system, seed, options) / "log.csv")
        found += [row[figure] for row in log if figure in row][-LAST:]
    return f"{sum(found) / len(found):.3f}" if found else ""


def flow_table(name: str, options: argparse.Namespace) -> Table:
    """The end-point errors of the flow networks that systems start from, on the test clips, and that of zero flow."""
    rows = []
    for kind, model in PRETRAINED.items():
        ends = []
        for seed in range(options.seeds):
            path = options.out / name / f"flow-{kind}-{seed}" / "log.csv"
            if path.is_file():
                ends += [row for row in read_log(path) if "val_epe" in row][-1:]
        if ends:
            columns = ("val_epe", "val_epe_zero", "val_epe_large")
            rows.append([model, *(f"{sum(row[key] for row in ends) / len(ends):.3f}" for key in columns)])
    header = ["flow network", "EPE, px", "EPE of zero flow, px", "EPE of motion over 1 px"]
    return Table(f"{name}: flow of the test clips after the training on flow", header, rows)


def _differences(name: str, cells: Mapping[str, Cell], groups: Mapping[str, str]) -> Table:
    rows = []
    for system, other in PAIRS:
        if system in cells and other in cells:
            one, two = cells[system].scores, cells[other].scores
            seeds = sorted(one.keys() & two.keys())
            found = compare([one[seed] for seed in seeds], [two[seed] for seed in seeds], groups)
            bounds = f"{found.low:+.3f} to {found.high:+.3f}"
            rows.append([system, other, f"{found.mean:+.3f}", bounds, f"{found.p:.2g}"])
    return Table(
        f"{name}: paired differences",
        ["system", "against", "difference", "95 % interval", "p, clips"],
        rows,
    )


def main() -> None:
    """Train and test what is asked for, then write the tables of all results."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--weizmann", type=Path, help="the Weizmann videos")
    arguments.add_argument("--ucf", type=Path, help="videos of UCF-101")
    arguments.add_argument("--annotations", type=Path, help="folder of the split lists of UCF-101")
    arguments.add_argument("--flow", type=Path, required=True, help="folder of the stored flow of each set")
    arguments.add_argument("--shapes", type=Path, help="run of a flownet on moving shapes")
    arguments.add_argument("--sets", nargs="+", default=["weizmann", "ucf"])
    arguments.add_argument("--systems", nargs="*", choices=list(SYSTEMS), help="train these only")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=600, help="steps of each system")
    arguments.add_argument("--long-steps", type=int, default=0, help="steps of the second tables; 0: none")
    arguments.add_argument("--long-sets", nargs="+", default=["weizmann"], help="sets of the second tables")
    arguments.add_argument("--flow-steps", type=int, default=600, help="steps of the training on flow alone")
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--lr", type=float, default=5e-4)
    arguments.add_argument("--size", type=int, default=64)
    options = arguments.parse_args()
    if options.long_steps == options.steps:
        arguments.error("--long-steps must differ from --steps")
    tables: list[Table] = []
    runs: list[Run] = []
    for name in options.sets:
        for steps in dict.fromkeys((options.steps, options.long_steps)):
            if steps == options.long_steps and name not in options.long_sets:
                continue
            if steps and getattr(options, name):
                found, made = tables_of(name, argparse.Namespace(**{**vars(options), "steps": steps}))
                tables += found
                runs += made
        if getattr(options, name):
            tables.append(flow_table(name, options))
    write_tables(
        options,
        __file__,
        "ActionFlowNet at a small size",
        tables,
        f"ResNet-10 (single frame: EfficientNet-Lite0) at {options.size} pixels, batches of {options.batch} clips, "
        f"AdamW at {options.lr:g}; pre-trained systems: {options.flow_steps} steps of flow alone"
        f"{', from a FlowNet of moving shapes,' if options.shapes else ''} before them; protocol {PROTOCOL}. The "
        "spread is the sample standard deviation over seeds; intervals are bootstraps over groups (people, groups of "
        "UCF-101); p is that of the paired t test over clips, of each clip's "
        f"mean over the seeds. Training batches are the last {LAST}, of random crops; EPE in pixels of the crop, that "
        "of test clips in pixels of the video.",
        runs=runs,
    )


if __name__ == "__main__":
    run_command(main)
