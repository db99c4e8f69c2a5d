"""Principal backpropagation: accuracy at an equal number of snippets learned from, by rule, over several seeds.

Three sets: `rgb` and `flow` are UCF-101 (or those of its classes that are there), official split 1; `long` is a set
that is made here: videos of 96 frames over a drifting background, of which 12 to 16 show a digit moving in the
direction that is the class, seen by a network of flow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from common import experiment, write_table

from praxiscope.data.move4mnist import make_move4mnist
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.flow import extract_flow
from praxiscope.recipes.settings import TrainSettings, get_recipe, override

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
    """Train and test every variant with every seed, write the table of the set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=("rgb", "flow", "long"))
    parser.add_argument("data", type=Path, nargs="?", help="the UCF-101 videos (rgb, flow)")
    parser.add_argument("--flow", type=Path, help="their stored flow")
    parser.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    parser.add_argument("--digits", type=Path, help="folder of MNIST's idx files (long)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=240, help="training videos of the long set")
    parser.add_argument("--test", type=int, default=120, help="its test videos")
    parser.add_argument("--only", type=int, help="run this seed alone; the table needs all")
    parser.add_argument("--out", type=Path, default=Path("runs/principal"))
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    options = parser.parse_args()
    if options.set != "long" and options.data is None:
        parser.error(f"{options.set} needs the videos")
    base = {"rgb": rgb, "flow": flow, "long": long}[options.set](options)
    rows = []
    for name, assignments in VARIANTS.items():
        results = []
        for seed in range(options.seeds) if options.only is None else [options.only]:
            settings = override(base, [*assignments, f"run.seed={seed}", *options.assignments])
            split = "1" if options.set != "long" else None
            run = options.out / options.set / f"{name}-{seed}"
            results.append(experiment(settings, run, PROTOCOL, split=split))
        rows.append(row(name, results))
    if options.only is None:
        write_table(
            Path(__file__).with_name(f"principal_{options.set}.md"),
            f"Principal backpropagation: {TITLES[options.set]}",
            ["variant", "learned from", "top-1, mean", "spread", "each seed", "training, s"],
            rows,
            describe(base, options),
        )


TITLES = {
    "rgb": "UCF-101, pictures",
    "flow": "UCF-101, flow",
    "long": "long videos of a short action",
}


def row(name: str, results: list[dict[str, Any]]) -> list[Any]:
    """One line of the table."""
    top1 = [result["top1"] for result in results]
    seconds = [result["train_seconds"] for result in results if "train_seconds" in result]
    return [
        name,
        "6 of 6" if name.endswith("-6") else "3 of 3" if name == "Full-3" else "3 of 6",
        f"{mean(top1):.3f}",
        f"{pstdev(top1):.3f}",
        ", ".join(f"{value:.3f}" for value in top1),
        round(mean(seconds)) if seconds else "",
    ]


def describe(base: TrainSettings, options: argparse.Namespace) -> str:
    """What all rows have in common."""
    videos = f"{options.train} training and {options.test} test videos made with seed 0"
    return (
        f"{base.model.name} on {base.model.backbone}, {base.optim.epochs} epochs in batches of {base.optim.batch} "
        f"videos, {base.input.size} pixels, last checkpoint, protocol {PROTOCOL}, {options.seeds} seeds; the spread is "
        "their standard deviation. "
        + (
            f"{videos}. "
            if options.set == "long"
            else "Nine classes, 162 training and 63 test clips: one is 0.016. "
        )
        + "Every variant has the same number of steps and videos."
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
    """As in ucf101_nine.py, on smaller pictures: the classifier learns alone at first."""
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
    """Make the long set and its flow, or find them."""
    videos, stored = options.out / "long_videos", options.out / "long_flow"
    make_move4mnist(
        videos,
        train=options.train,
        test=options.test,
        digits=options.digits,
        size=64,
        frames=96,
        chunk=(12, 16),
        fill=(1.0, 0.0, 0.0),
        workers=1,
    )
    extract_flow(videos, stored, workers=1, reporter=ConsoleReporter())
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
    main()
