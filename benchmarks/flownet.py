"""FlowNet on moving shapes, in two stages: first motion that is rarely small, then the usual distribution of motion.

Most pixels of `praxiscope dataset moving-shapes` hardly move, so zero flow has a small end-point error, and a network
that starts from random weights stays there for long. The first stage has no pixels at rest: backgrounds and at most one
shape that move by up to 4 pixels. The second stage starts from it and learns the usual set at ``--motion`` pixels.

The page gives the errors on the held-out samples of each stage. `praxiscope bench flow DATA --method network --run
OUT/second` compares the result with other methods.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common import Table, parser, run_command, write_tables

from praxiscope.commands.moving_shapes import Design, ShapeSet, make_moving_shapes
from praxiscope.commands.train import train
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from praxiscope.run_folder import POINTER_FILE
from praxiscope.training.log import read_log

SIZE = 96


def learned(name: str, data: Path, steps: int, start: Path | None, options: argparse.Namespace) -> Path:
    """Train a FlowNet, or continue; return its run."""
    run = Path(options.out / name)
    settings = override(
        get_recipe("default-flownet"),
        [
            *(f"data.source={data}", f"input.size={SIZE}", f"input.short_side={SIZE}", "input.rotation=0"),
            *(f"optim.steps={steps}", f"optim.lr={options.lr}", "optim.schedule=cosine"),
            *("optim.milestone_steps=[]", "run.tensorboard=false", "data.workers=0"),
            *([f"model.start=[{start}]"] if start else []),
            *options.assignments,
        ],
    )
    train(settings, run, resume=(run / POINTER_FILE).is_file(), reporter=ConsoleReporter())
    return run


def row(name: str, run: Path, steps: int) -> Sequence[str]:
    """The errors of a stage after its last epoch: the network's, and those of zero flow."""
    last = [each for each in read_log(run / "log.csv") if "val_epe" in each][-1]
    return [name, str(steps), f"{last['val_epe']:.3f}", f"{last['val_epe_zero']:.3f}"]


def main() -> None:
    """Make both sets, train both stages, write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--steps", type=int, nargs=2, default=(2500, 2500), help="of each stage")
    arguments.add_argument(
        "--motion", type=float, default=6.0, help="largest motion of the second stage, pixels"
    )
    arguments.add_argument(
        "--pairs", type=int, nargs=2, default=(1500, 2000), help="training pairs of each stage"
    )
    arguments.add_argument("--lr", type=float, default=5e-4)
    options = arguments.parse_args()
    designs = {
        "first": Design(size=SIZE, shapes=(0, 1), motion=4.0, power=0.5, still=0.0, subpixel=0.0),
        "second": Design(size=128, motion=options.motion),
    }
    rows, start = [], None
    for (name, design), steps, pairs in zip(designs.items(), options.steps, options.pairs, strict=True):
        made = ShapeSet(pairs=(pairs, 100), clips=(0, 0), frames=3, design=design)
        data = make_moving_shapes(options.out / f"shapes-{name}", made, reporter=ConsoleReporter())
        start = learned(name, data, steps, start, options)
        rows.append(row(name, start, steps))
    header = ["stage", "steps", "end-point error, px", "zero flow, px"]
    write_tables(
        options,
        __file__,
        "FlowNet on moving shapes",
        [Table("", header, rows)],
        f"ResNet-10, crops of {SIZE} pixels, batches of 8, AdamW at {options.lr:g} with a cosine schedule, one seed. "
        "Errors are of 100 held-out pairs of each stage.",
    )


if __name__ == "__main__":
    run_command(main)
