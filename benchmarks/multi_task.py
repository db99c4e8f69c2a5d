"""UCF-101 (or some of its classes) and Weizmann: separate networks, and one network for both; every clip is tested.

`python benchmarks/multi_task.py UCF101 WEIZMANN --weights WEIGHTS` trains networks of RGB frames, and with
``--flow-ucf`` and ``--flow-wei`` networks of flow. Fold K of both data sets is tested by networks that learned from
their other folds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import Run, Table, describe, parser, run_command, write_tables
from compared import Rows, add_fold_options, at_least, comparison_tables

from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import TrainSettings, override

PROTOCOL = "25x1"
BATCH = 8
"""Clips in a batch of a network of one data set."""
NAMES = {"ucf": "UCF-101", "wei": "Weizmann"}
STREAMS = {"rgb": "RGB", "flow": "flow"}


def main() -> None:
    """Train each network, test it on each of its data sets, and write the tables."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("ucf", type=Path, help="the UCF-101 videos")
    arguments.add_argument("wei", type=Path, help="the Weizmann videos")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument("--flow-ucf", type=Path, help="stored flow of the UCF-101 videos")
    arguments.add_argument("--flow-wei", type=Path, help="stored flow of the Weizmann videos")
    arguments.add_argument(
        "--streams", nargs="+", choices=STREAMS, help="default: rgb, and with stored flow also flow"
    )
    arguments.add_argument("--size", type=int, default=112, help="side of the frames, pixels")
    arguments.add_argument(
        "--steps", type=at_least(1), default=400, help="steps of a network of one data set"
    )
    arguments.add_argument(
        "--budgets",
        nargs="+",
        type=at_least(1),
        default=[1, 3],
        metavar="N",
        help="networks of both data sets: one of N times these steps for each N",
    )
    arguments.add_argument(
        "--batches",
        nargs="*",
        type=at_least(2),
        default=[3],
        metavar="N",
        help="further ones, of as many steps and batches N times as large",
    )
    add_fold_options(arguments)
    options = arguments.parse_args()
    if (options.flow_ucf is None) != (options.flow_wei is None):
        arguments.error("--flow-ucf and --flow-wei belong together")
    streams = options.streams or (["rgb"] if options.flow_ucf is None else [*STREAMS])
    if "flow" in streams and options.flow_ucf is None:
        arguments.error("--streams flow needs --flow-ucf and --flow-wei, what praxiscope flow stored")
    settings = {}
    for stream in streams:
        settings |= networks(options, stream)
    rows = Rows(settings, options.out / "runs", PROTOCOL, options.folds, options.seeds)
    found = rows.train(options.share)
    if options.share is not None:
        return
    write_tables(
        options,
        __file__,
        "One network for two data sets: UCF-101 and Weizmann, every clip tested",
        [table for task in NAMES for table in tables(rows, options, streams, task)],
        note(found, streams, options.steps),
        runs=[run for each in found.values() for run in each],
    )


def networks(options: argparse.Namespace, stream: str) -> dict[str, TrainSettings]:
    """The settings of the networks of a stream by name."""
    flows = {"ucf": options.flow_ucf, "wei": options.flow_wei}
    sources = {
        task: TaskSource(source=data(options, task), flow=str(flows[task]) if stream == "flow" else None)
        for task in NAMES
    }
    found = {}
    for task, source in sources.items():
        single = {f"data.{key}": value for key, value in source.model_dump().items()}
        found[alone(stream, task)] = trained(options, stream, options.steps).updated(single)
    both = {"data.tasks": {task: source.model_dump() for task, source in sources.items()}}
    for name, steps, batch in together(options, stream):
        found[name] = trained(options, stream, steps * options.steps).updated(
            {**both, "optim.batch": batch * BATCH}
        )
    return {name: override(each, options.assignments) for name, each in found.items()}


def data(options: argparse.Namespace, task: str) -> str:
    """A data set as `praxiscope train` takes it."""
    return {"ucf": f"ucf101:{options.ucf}", "wei": f"weizmann:{options.wei}"}[task]


def alone(stream: str, task: str) -> str:
    """The name of the network of one data set."""
    return f"{STREAMS[stream]}, {NAMES[task]} alone"


def together(options: argparse.Namespace, stream: str) -> list[tuple[str, int, int]]:
    """The networks of both data sets: name, and how many times the steps and the batches of a single one."""
    name = f"{STREAMS[stream]}, both"
    found = [(name + (f", {times} x steps" if times > 1 else ""), times, 1) for times in options.budgets]
    return found + [(f"{name}, {times} x batch", 1, times) for times in options.batches]


def trained(options: argparse.Namespace, stream: str, steps: int) -> TrainSettings:
    """The settings of a training of so many steps, as those of the same stream in two_stream.py."""
    found = override(
        get_recipe("default"),
        [
            "model.name=tsn",
            "model.backbone=squeezenet1_0",
            f"model.weights={options.weights}",
            "model.dropout=0.5",
            f"model.stream={stream}",
            f"input.size={options.size}",
            f"input.short_side={round(options.size * 8 / 7)}",
            "input.snippets=3",
            "input.crop=random",
            f"optim.batch={BATCH}",
            f"optim.steps={steps}",
            "run.validate_epochs=0",
            "run.tensorboard=false",
        ],
    )
    if stream == "rgb":
        # Only the classifiers are trained at first.
        changes = {"optim.lr": 1e-5, "optim.classifier_lr_scale": 100, "optim.frozen_epochs": "half"}
    else:
        # The trunk has to adapt to another kind of input: one learning rate for all layers.
        changes = {
            "input.flow_length": 10,
            "optim.name": "adamw",
            "optim.lr": 5e-4,
            "optim.weight_decay": 0.01,
        }
    return found.updated(changes)


def tables(rows: Rows, options: argparse.Namespace, streams: list[str], task: str) -> list[Table]:
    """The tables of a data set: its networks, each of both data sets beside that of this one."""
    systems, pairs = [], []
    for stream in streams:
        single, both = alone(stream, task), [name for name, *_ in together(options, stream)]
        systems += [rows.system(single), *(rows.system(name, task) for name in both)]
        pairs += [(name, single) for name in both]
    return comparison_tables(NAMES[task], systems, data(options, task), pairs)


def note(found: dict[str, list[Run]], streams: list[str], steps: int) -> str:
    """The text below the tables."""
    parts = []
    for stream in streams:
        of = [run for name, runs in found.items() if name.startswith(f"{STREAMS[stream]}, ") for run in runs]
        parts.append(f"{STREAMS[stream]}: {describe(of)}")
    return (
        f"{' '.join(parts)} Networks of one data set have {steps} steps, as those called both, which therefore "
        "see each clip less often. Batches of both data sets mix them in proportion to their clips; the two losses, "
        "each the mean over its own clips, are added."
    )


if __name__ == "__main__":
    run_command(main)
