"""Weizmann, leave one person out: the temporal network alone, by mean subtraction and kind of stack."""

from __future__ import annotations

from pathlib import Path

from common import Table, describe, experiment, parser, run_command, score_cells, write_tables

from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override

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
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", type=Path, help="the Weizmann videos")
    arguments.add_argument("--flow", type=Path, required=True, help="their stored flow, forward and backward")
    arguments.add_argument("--weights", type=Path, help="start weights of SqueezeNet 1.0; none: from scratch")
    arguments.add_argument("--length", type=int, default=10)
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--people", nargs="+", default=list(PEOPLE))
    options = arguments.parse_args()
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
    rows, done = [], []
    for kind, subtract_mean in VARIANTS:
        runs = []
        for person in options.people:
            settings = override(
                base,
                [f"data.split={person}", f"input.flow_kind={kind}", f"input.subtract_mean={subtract_mean}"],
            )
            run = options.out / f"{kind}-{'mean' if subtract_mean else 'raw'}-{person}"
            runs.append(experiment(settings, run, "25x1"))
        done += runs
        rows.append([kind, "on" if subtract_mean else "off", *score_cells([run.top1 for run in runs])[:2]])
    write_tables(
        options,
        __file__,
        f"Weizmann, leave one person out: temporal network, L = {options.length}",
        [Table("", ["stack", "mean subtraction", "top-1", "spread over folds"], rows)],
        f"{describe(done)} The spread is the sample standard deviation.",
        runs=done,
    )


if __name__ == "__main__":
    run_command(main)
