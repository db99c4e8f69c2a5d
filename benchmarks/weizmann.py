"""Weizmann, leave one person out: the mean accuracy over nine folds."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import experiment, write_table

from praxiscope.evaluation.metrics import mean_over_splits
from praxiscope.recipes.settings import get_recipe, override

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")


def main() -> None:
    """Train and test every fold, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the Weizmann videos")
    parser.add_argument("--weights", type=Path, help="start weights of SqueezeNet 1.0; none: from scratch")
    parser.add_argument("--model", default="tsm")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("runs/weizmann"))
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    options = parser.parse_args()
    base = override(
        get_recipe("default"),
        [
            f"data.source=weizmann:{options.data}",
            f"model.name={options.model}",
            "model.backbone=squeezenet1_0",
            f"model.weights={options.weights or 'null'}",
            "model.dropout=0.5",
            "input.size=112",
            "input.short_side=128",
            "input.snippets=8",
            "input.crop=random",
            f"optim.epochs={options.epochs}",
            "optim.batch=8",
            "optim.name=adamw",
            "optim.lr=0.0005",
            "optim.weight_decay=0.01",
            "run.validate_epochs=10",
            *options.assignments,
        ],
    )
    rows, figures = [], []
    for person in PEOPLE:
        settings = override(base, [f"data.split={person}"])
        result = experiment(settings, options.out / f"{options.model}-{person}", "2x1", split=person)
        figures.append(result)
        rows.append([person, result["videos"], f"{result['top1']:.3f}", result.get("train_seconds", "")])
    mean = mean_over_splits(figures)["top1"]
    rows.append(["**mean**", sum(f["videos"] for f in figures), f"**{mean['mean']:.3f}**", ""])
    write_table(
        Path(__file__).with_suffix(".md"),
        f"Weizmann, leave one person out: {options.model}",
        ["person left out", "clips", "top-1", "training, s"],
        rows,
        f"SqueezeNet 1.0 {'from ImageNet weights' if options.weights else 'from scratch'}, 8 frames of 112 px, "
        f"{options.epochs} epochs, last checkpoint, protocol 2x1. Spread over folds {mean['std']:.3f}.",
    )


if __name__ == "__main__":
    main()
