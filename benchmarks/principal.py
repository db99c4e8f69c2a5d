"""Principal backpropagation: accuracy at an equal number of steps, by rule.

Three sets: `rgb` and `flow` are videos such as those of UCF-101, every clip tested by folds; `long` is a set that is
made here: videos of 96 frames over a drifting background, of which 12 to 16 show a digit moving in the direction that
is the class, seen by a network of flow. It has test videos of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import describe, parser, run_command, write_tables
from compared import Rows, add_fold_options, comparison_tables

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
PAIRS = [
    ("Full-6", "Full-3"),
    ("random-6-3", "Full-3"),
    ("max-6-3", "random-6-3"),
    ("kl-6-3", "random-6-3"),
    ("max-6-3", "kl-6-3"),
    ("kl-6-3", "Full-6"),
    ("max-6-3", "Full-3"),
    ("cached-6", "Full-6"),
]
"""Which rows are compared."""


def main() -> None:
    """Train and test every rule on every fold with every seed, and write the tables of the data set."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("set", choices=("rgb", "flow", "long"))
    arguments.add_argument("data", nargs="?", help="videos, such as ucf101:FOLDER (rgb, flow)")
    arguments.add_argument("--flow", type=Path, help="their stored flow")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument("--digits", type=Path, help="folder of MNIST's idx files (long)")
    arguments.add_argument("--size", type=int, default=112, help="side of the frames, pixels (rgb, flow)")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--rows", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments.add_argument("--train", type=int, default=240, help="training videos of the long set")
    arguments.add_argument("--test", type=int, default=120, help="its test videos")
    add_fold_options(arguments)
    options = arguments.parse_args()
    if options.set != "long" and options.data is None:
        arguments.error(f"{options.set} needs the videos")
    if options.set == "flow" and options.flow is None:
        arguments.error("flow needs --flow, what praxiscope flow stored for the videos")
    if options.set == "long" and options.digits is None:
        arguments.error("long needs --digits, the folder of MNIST")
    base = {"rgb": rgb, "flow": flow, "long": long}[options.set](options)
    rows = Rows(
        {name: override(base, [*VARIANTS[name], *options.assignments]) for name in options.rows},
        options.out / options.set,
        PROTOCOL,
        None if options.set == "long" else options.folds,
        options.seeds,
    )
    found = rows.train(options.share)
    if options.share is not None:
        return
    data = None if options.set == "long" else options.data
    runs = [run for each in found.values() for run in each]
    write_tables(
        options,
        __file__,
        f"Principal backpropagation: {TITLES[options.set]}",
        comparison_tables("", [rows.system(name) for name in rows.settings], data, PAIRS),
        f"{describe(runs)} {NOTE}",
        runs=runs,
        name=f"principal_{options.set}",
    )


TITLES = {
    "rgb": "RGB frames",
    "flow": "flow",
    "long": "long videos of a short action",
}


NOTE = (
    "Every row has the same number of steps and videos. Full-6 and cached-6 learn from 6 of 6 snippets, Full-3 from 3 "
    "of 3, the others from 3 of 6."
)


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
            *common(options, options.data),
            f"input.size={options.size}",
            f"input.short_side={round(options.size * 8 / 7)}",
            "input.crop=random",
            f"optim.frozen_epochs={options.epochs / 2}",
            "optim.lr=0.00001",
            "optim.classifier_lr_scale=100",
        ],
    )


def flow(options: argparse.Namespace) -> TrainSettings:
    """One learning rate for all layers: the trunk has to adapt to another kind of input."""
    return override(
        get_recipe("default"),
        [
            *common(options, options.data),
            f"data.flow={options.flow}",
            "model.stream=flow",
            "input.flow_length=5",
            f"input.size={options.size}",
            f"input.short_side={round(options.size * 8 / 7)}",
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
