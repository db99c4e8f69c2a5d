"""UCF-101 (or some of its classes), official split 1: fine-tuning on the CPU."""

from __future__ import annotations

from pathlib import Path

from common import Table, describe, experiment, parser, run_command, write_tables

from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override


def main() -> None:
    """Train and test once per seed, then write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", type=Path, help="the UCF-101 videos")
    arguments.add_argument("--annotations", type=Path, help="the official lists")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument("--model", default="tsn")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--seeds", type=int, default=3)
    options = arguments.parse_args()
    rows, runs = [], []
    for seed in range(options.seeds):
        settings = override(
            get_recipe("default"),
            [
                f"data.source=ucf101:{options.data}",
                "data.split=1",
                f"data.annotations={options.annotations or 'null'}",
                f"model.name={options.model}",
                "model.backbone=squeezenet1_0",
                f"model.weights={options.weights}",
                "model.dropout=0.5",
                "input.snippets=3",
                f"optim.epochs={options.epochs}",
                "optim.batch=8",
                "input.crop=random",
                # SqueezeNet has no BatchNorm and large activations: the usual rate of 1e-3 destroys its features in
                # the first steps (gradient norms near 100). So only the classifier is trained at first, and the
                # trunk then has a learning rate 100 times smaller.
                f"optim.frozen_epochs={options.epochs / 2}",
                "optim.lr=0.00001",
                "optim.classifier_lr_scale=100",
                "run.validate_epochs=0",
                f"run.seed={seed}",
                *options.assignments,
            ],
        )
        run = options.out / f"{options.model}-seed{seed}"
        for protocol in ("25x1", "25x3"):
            done = experiment(settings, run, protocol)
            runs.append(done)
            accuracy = done.figures["mean_class_accuracy"]
            rows.append([options.model, seed, protocol, f"{done.top1:.3f}", f"{accuracy:.3f}"])
    write_tables(
        options,
        __file__,
        f"UCF-101, official split 1: {options.model} on SqueezeNet 1.0",
        [Table("", ["model", "seed", "protocol", "top-1", "mean class accuracy"], rows)],
        describe(runs),
        runs=runs,
    )


if __name__ == "__main__":
    run_command(main)
