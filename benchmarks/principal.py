"""Principal backpropagation: accuracy at an equal number of snippets learned from, by rule, over several seeds.

Three sets: `rgb` and `flow` are UCF-101 (or those of its classes that are there), official split 1; `long` is a set
that is made here: videos of 96 frames over a drifting background, of which 12 to 16 show a digit moving in the
direction that is the class, seen by a network of flow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import Run, Table, describe, experiment, parser, run_command, score_cells, write_tables

from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.data.move4mnist import Design, make_move4mnist
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override

PROTOCOL = "25x1"
PRINCIPAL = ("input.snippets=6", "backprop.name=principal", "backprop.choose=3")
VARIANTS = {
    "Full-3": ("input.snippets=3",),
    "Full-6": ("input.snippets=6",),
    "random-6-3": (*PRINCIPAL, "backprop.rule=random"),
    "max-6-3": (*PRINCIPAL, "backprop.rule=max"),
    "kl-6-3": (*PRINCIPAL, "backprop.rule=kl"),
    "cached-6": ("input.snippets=6", "backprop.name=cached"),
}


def main() -> None:
    """Train and test every variant with every seed, and write the table of the data set."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("set", choices=("rgb", "flow", "long"))
    arguments.add_argument("data", type=Path, nargs="?", help="the UCF-101 videos (rgb, flow)")
    arguments.add_argument("--flow", type=Path, help="their stored flow")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument("--digits", type=Path, help="folder of MNIST's idx files (long)")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--train", type=int, default=240, help="training videos of the long set")
    arguments.add_argument("--test", type=int, default=120, help="its test videos")
    arguments.add_argument("--only", type=int, help="run only this seed; the table needs all")
    options = arguments.parse_args()
    if options.set != "long" and options.data is None:
        arguments.error(f"{options.set} needs the videos")
    base = {"rgb": rgb, "flow": flow, "long": long}[options.set](options)
    rows, done = [], []
    for name, assignments in VARIANTS.items():
        runs = []
        for seed in range(options.seeds) if options.only is None else [options.only]:
            settings = override(base, [*assignments, f"run.seed={seed}", *options.assignments])
            runs.append(experiment(settings, options.out / options.set / f"{name}-{seed}", PROTOCOL))
        done += runs
        rows.append(row(name, runs))
    if options.only is None:
        write_tables(
            options,
            __file__,
            f"Principal backpropagation: {TITLES[options.set]}",
            [Table("", ["variant", "learned from", "top-1, mean", "spread", "each seed"], rows)],
            f"{describe(done)} The spread is the sample standard deviation over the seeds.",
            runs=done,
            name=f"principal_{options.set}",
        )


TITLES = {
    "rgb": "UCF-101, RGB frames",
    "flow": "UCF-101, flow",
    "long": "long videos of a short action",
}


def row(name: str, runs: list[Run]) -> list[str]:
    """One line of the table."""
    learned = "6 of 6" if name.endswith("-6") else "3 of 3" if name == "Full-3" else "3 of 6"
    return [name, learned, *score_cells([run.top1 for run in runs])]


def common(options: argparse.Namespace, data: str) -> list[str]:
    """Settings of every set."""
    return [
        f"data.source={data}",
        "model.name=tsn",
        "model.backbone=squeezenet1_0",
        f"model.weights={options.weights}",
        "model.dropout=0.5",
        "optim.batch=8",
        f"optim.epochs={options.epochs}",
        "run.validate_epochs=0",
        "run.tensorboard=false",
    ]


def rgb(options: argparse.Namespace) -> TrainSettings:
    """As in ucf101_nine.py, on smaller frames: only the classifier is trained at first."""
    return override(
        get_recipe("default"),
        [
            *common(options, f"ucf101:{options.data}"),
            "data.split=1",
            "input.size=112",
            "input.short_side=128",
            "input.crop=random",
            f"optim.frozen_epochs={options.epochs / 2}",
            "optim.lr=0.00001",
            "optim.classifier_lr_scale=100",
        ],
    )


def flow(options: argparse.Namespace) -> TrainSettings:
    """As the temporal network of two_stream.py."""
    return override(
        get_recipe("default"),
        [
            *common(options, f"ucf101:{options.data}"),
            "data.split=1",
            f"data.flow={options.flow}",
            "model.stream=flow",
            "input.flow_length=5",
            "input.size=112",
            "input.short_side=128",
            "input.crop=random",
            "optim.name=adamw",
            "optim.lr=0.0003",
            "optim.weight_decay=0.01",
        ],
    )


def long(options: argparse.Namespace) -> TrainSettings:
    """Generate the long data set and its flow, unless they exist."""
    videos, stored = options.out / "long_videos", options.out / "long_flow"
    make_move4mnist(
        videos,
        Design(size=64, frames=96, chunk=(12, 16), fill=(1.0, 0.0, 0.0)),
        videos=(options.train, options.test),
        digits=options.digits,
        workers=1,
    )
    extract_flow(videos, stored, StoreOptions(workers=1), reporter=ConsoleReporter())
    return override(
        get_recipe("default"),
        [
            *common(options, str(videos)),
            f"data.flow={stored}",
            "model.stream=flow",
            "input.flow_length=5",
            "input.size=64",
            "input.short_side=64",
            "input.crop=center",
            "input.flip=false",
            "optim.name=adamw",
            "optim.lr=0.0003",
            "optim.weight_decay=0.01",
        ],
    )


if __name__ == "__main__":
    run_command(main)
