"""Views of a test: the centre crop, ten crops, whole frames, with flips and without; every clip is tested.

`python benchmarks/protocols.py RUNS DATA` tests the runs of `praxiscope bench folds` (RUNS) on the videos of their
folds with each protocol, and compares. What was tested is not tested again.
"""

from __future__ import annotations

from pathlib import Path

from common import parser, run_command, write_tables
from compared import at_least, comparison_tables

from praxiscope.bench.folds import run_folders
from praxiscope.commands.arguments import TestOptions
from praxiscope.commands.test import test
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.inference.options import LoadOptions
from praxiscope.progress import ConsoleReporter

PROTOCOLS = ("1x1", "25x1", "25xfull", "25xfull-mirrored", "25x10")
PAIRS = [
    ("25x1", "1x1"),
    ("25xfull", "25x1"),
    ("25xfull-mirrored", "25xfull"),
    ("25x10", "25x1"),
    ("25xfull-mirrored", "25x10"),
    ("25xfull", "25x10"),
]


def tested(name: str, data: str, folders: list[tuple[Path, str]], out: Path) -> System:
    """The system of a protocol: the tests of all folds."""
    scores = []
    for folder, fold in folders:
        place = out / f"{folder.parent.name}_{folder.name}_{name}.npz"
        if not place.is_file():
            options = TestOptions(name, split=fold, out=place, workers=2)
            test(folder, data, options, load=LoadOptions(), reporter=ConsoleReporter())
        scores.append(Scores.load(place))
    return read_system(name, scores)


def main() -> None:
    """Test with all protocols, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument(
        "runs", type=Path, metavar="RUNS", help="folder of praxiscope bench folds, one seed"
    )
    arguments.add_argument("data", metavar="DATA", help="the videos, such as ucf101:FOLDER")
    arguments.add_argument("--folds", type=at_least(2), default=5)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = [
        (folder, str(fold)) for folder, (fold, _) in run_folders(options.runs, options.folds, 1).items()
    ]
    systems = [tested(name, options.data, folders, options.out) for name in PROTOCOLS]
    tables = comparison_tables("", systems, options.data, PAIRS)
    write_tables(options, __file__, "Views of a test", tables, NOTE)


NOTE = "The systems are protocols of the same networks. Seconds: see predict.md."


if __name__ == "__main__":
    run_command(main)
