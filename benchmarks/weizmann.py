"""Weizmann, leave one person out: the mean accuracy over nine folds."""

from __future__ import annotations

from pathlib import Path

from common import Table, describe, experiment, parser, run_command, score_cells, write_tables

from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")


def main() -> None:
    """Train and test every fold, then write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", type=Path, help="the Weizmann videos")
    arguments.add_argument("--weights", type=Path, help="start weights of SqueezeNet 1.0; none: from scratch")
    arguments.add_argument("--model", default="tsm")
    arguments.add_argument("--epochs", type=int, default=30)
    arguments.add_argument(
        "--people", nargs="+", default=list(PEOPLE), help="people to hold out, one per fold"
    )
    options = arguments.parse_args()
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
    runs = [
        experiment(override(base, [f"data.split={person}"]), options.out / f"{options.model}-{person}", "2x1")
        for person in options.people
    ]
    rows = [
        [person, run.figures["videos"], f"{run.top1:.3f}"]
        for person, run in zip(options.people, runs, strict=True)
    ]
    mean, spread, _ = score_cells([run.top1 for run in runs])
    rows.append(["**mean**", sum(run.figures["videos"] for run in runs), f"**{mean}**"])
    write_tables(
        options,
        __file__,
        f"Weizmann, leave one person out: {options.model}",
        [Table("", ["person left out", "test clips", "top-1"], rows)],
        f"{describe(runs)} The sample standard deviation over the folds is {spread or 'not known of one'}.",
        runs=runs,
    )


if __name__ == "__main__":
    run_command(main)
