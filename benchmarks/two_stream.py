"""UCF-101 (or some of its classes), official split 1: two streams and their fusion on the CPU."""

from __future__ import annotations

from pathlib import Path

from common import Table, describe, experiment, parser, run_command, write_tables

from praxiscope.commands.fuse import fuse
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override

PROTOCOL = "25x1"


def main() -> None:
    """Train both streams, score training and test videos, fuse, write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", type=Path, help="the UCF-101 videos")
    arguments.add_argument("--flow", type=Path, required=True, help="their stored flow")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument("--spatial-epochs", type=int, default=20)
    arguments.add_argument("--temporal-epochs", type=int, default=60)
    arguments.add_argument("--lengths", type=int, nargs="+", default=[5, 10])
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    common = [
        f"data.source=ucf101:{options.data}",
        "data.split=1",
        "model.name=tsn",
        "model.backbone=squeezenet1_0",
        f"model.weights={options.weights}",
        "model.dropout=0.5",
        "input.snippets=3",
        "input.crop=random",
        "optim.batch=8",
        "run.validate_epochs=0",
        f"run.seed={options.seed}",
    ]
    # As in ucf101_nine.py: only the classifier is trained at first.
    spatial = override(
        get_recipe("default"),
        [
            *common,
            f"optim.epochs={options.spatial_epochs}",
            f"optim.frozen_epochs={options.spatial_epochs / 2}",
            "optim.lr=0.00001",
            "optim.classifier_lr_scale=100",
            *options.assignments,
        ],
    )
    runs: dict[str, TrainSettings] = {"spatial": spatial}
    for length in options.lengths:
        # The trunk has to adapt to another kind of input: one learning rate for all layers, and more epochs, on smaller
        # fields.
        runs[f"temporal, L = {length}"] = override(
            get_recipe("default"),
            [
                *common,
                f"data.flow={options.flow}",
                "model.stream=flow",
                f"input.flow_length={length}",
                "input.size=112",
                "input.short_side=128",
                f"optim.epochs={options.temporal_epochs}",
                "optim.name=adamw",
                "optim.lr=0.0003",
                "optim.weight_decay=0.01",
                *options.assignments,
            ],
        )
    rows, folders, done = [], {}, []
    for name, settings in runs.items():
        folder = folders[name] = options.out / name.replace(", L = ", "-")
        run = experiment(settings, folder, PROTOCOL)
        experiment(settings, folder, PROTOCOL, subset="train")
        done.append(run)
        rows.append([name, f"{run.top1:.3f}"])
    for length in options.lengths:
        pair = [folders["spatial"], folders[f"temporal, L = {length}"]]
        test = [folder / f"scores_{PROTOCOL}.npz" for folder in pair]
        train = [folder / f"scores_{PROTOCOL}_train.npz" for folder in pair]
        for words, asked in (
            ("average", {}),
            ("1 : 1.5 before softmax", {"weights": [1, 1.5]}),
            ("SVM", {"svm": train}),
        ):
            fused = fuse(test, **asked)
            rows.append([f"fusion with L = {length}: {words}", f"{fused.figures['top1']:.3f}"])
    write_tables(
        options,
        __file__,
        "Two streams on UCF-101, official split 1",
        [Table("", ["network", "top-1"], rows)],
        f"Spatial: {describe(done[:1])} Temporal: {describe(done[1:])}",
        runs=done,
    )


if __name__ == "__main__":
    run_command(main)
