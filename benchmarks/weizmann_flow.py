"""Weizmann, leave one person out: the temporal network alone, and what mean subtraction and the kind of stack do."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import experiment, write_table

from praxiscope.evaluation.metrics import mean_over_splits
from praxiscope.recipes.settings import get_recipe, override

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
VARIANTS = (
    ("stack", True),
    ("stack", False),
    ("trajectory", True),
    ("trajectory", False),
    ("stack-bidirectional", True),
)


def main() -> None:
    """Train and test every fold of every variant, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the Weizmann videos")
    parser.add_argument("--flow", type=Path, required=True, help="their stored flow, both ways")
    parser.add_argument("--weights", type=Path, help="start weights of SqueezeNet 1.0; none: from scratch")
    parser.add_argument("--length", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--people", nargs="+", default=list(PEOPLE))
    parser.add_argument("--out", type=Path, default=Path("runs/weizmann_flow"))
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    options = parser.parse_args()
    base = override(
        get_recipe("default"),
        [
            f"data.source=weizmann:{options.data}",
            f"data.flow={options.flow}",
            "model.stream=flow",
            "model.name=tsn",
            "model.backbone=squeezenet1_0",
            f"model.weights={options.weights or 'null'}",
            "model.dropout=0.5",
            "input.size=112",
            "input.short_side=128",
            "input.snippets=3",
            "input.crop=random",
            f"input.flow_length={options.length}",
            f"optim.epochs={options.epochs}",
            "optim.batch=8",
            "optim.name=adamw",
            "optim.lr=0.0005",
            "optim.weight_decay=0.01",
            "run.validate_epochs=0",
            *options.assignments,
        ],
    )
    rows = []
    for kind, subtract_mean in VARIANTS:
        figures = []
        for person in options.people:
            settings = override(
                base,
                [f"data.split={person}", f"input.flow_kind={kind}", f"input.subtract_mean={subtract_mean}"],
            )
            run = options.out / f"{kind}-{'mean' if subtract_mean else 'raw'}-{person}"
            figures.append(experiment(settings, run, "25x1", split=person))
        mean = mean_over_splits(figures)["top1"]
        seconds = [f["train_seconds"] for f in figures if "train_seconds" in f]
        rows.append(
            [
                kind,
                "on" if subtract_mean else "off",
                f"{mean['mean']:.3f}",
                f"{mean['std']:.3f}",
                f"{sum(seconds) / len(seconds):.0f}" if seconds else "",
            ]
        )
    write_table(
        Path(__file__).with_suffix(".md"),
        f"Weizmann, leave one person out: temporal network, L = {options.length}",
        ["stack", "mean subtraction", "top-1", "spread over folds", "training a fold, s"],
        rows,
        f"TV-L1; tsn on SqueezeNet 1.0 {'from ImageNet weights' if options.weights else 'from scratch'}, 3 snippets of "
        f"112 px, {options.epochs} epochs, last checkpoint, protocol 25x1, one seed, {len(options.people)} folds of 10 "
        "clips. One clip of all is 0.011.",
    )


if __name__ == "__main__":
    main()
