"""Move4MNIST at 64 px: a model that ignores the order of frames (tsn) and one that uses it (tsm)."""

from __future__ import annotations

from pathlib import Path

from common import Table, describe, experiment, parser, run_command, write_tables

from praxiscope.commands.dataset import Design, move4mnist
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override


def main() -> None:
    """Generate the data set, train and test both models, and write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--digits", type=Path, help="folder of MNIST's idx files")
    arguments.add_argument("--backgrounds", type=Path, help="folder of background videos; none: textures")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--train", type=int, default=1800, help="number of training videos")
    arguments.add_argument("--test", type=int, default=600, help="number of test videos")
    options = arguments.parse_args()
    data = move4mnist(
        options.out / "videos",
        Design(size=64),
        videos=(options.train, options.test),
        digits=options.digits,
        backgrounds=options.backgrounds,
        reporter=ConsoleReporter(),
    )
    rows, runs = [], []
    for model in ("tsn", "tsm"):
        settings = override(
            get_recipe("move4mnist-64"),
            [
                f"data.source={data}",
                f"model.name={model}",
                f"optim.epochs={options.epochs}",
                *options.assignments,
            ],
        )
        # The same eight frames for both: for tsn eight views of one frame each.
        run = experiment(settings, options.out / model, "8x1" if model == "tsn" else "1x1")
        runs.append(run)
        rows.append([model, f"{run.top1:.3f}"])
    write_tables(
        options,
        __file__,
        "Move4MNIST, 64 px, 8 of 32 frames",
        [Table("", ["model", "top-1"], rows)],
        f"{'MNIST' if options.digits else 'scikit-learn'} digits over "
        f"{'background videos' if options.backgrounds else 'drawn textures'}. {describe(runs)} Chance is 0.25; telling "
        "only the axis of the motion is 0.50.",
        runs=runs,
    )


if __name__ == "__main__":
    run_command(main)
