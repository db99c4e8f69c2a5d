"""Two streams on features: RGB frames, flow by the number of fields in a stack, and their fusion; all clips are tested.

`python benchmarks/two_stream_features.py NAME=FOLDS=FEATURES…` takes stores of `praxiscope features` for each data
set, such as `ucf=5=features/ucf`. Beside FEATURES, of RGB frames, lie FEATURES_L1, _L5 and _L10, of stacks of flow,
and FEATURES_image, of single flow fields as images. The network of all of them is that of the RGB frames, which knows
no flow; a logistic regression is fitted to its features (`praxiscope bench folds --model probe`).
"""

from __future__ import annotations

from pathlib import Path

from common import Table, parser, run_command, write_tables
from compared import comparison_tables

from praxiscope.bench.folds import Validation, cross_validate, run_folders
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.fusion import fuse
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import ConsoleReporter
from praxiscope.run_folder import SCORES_FILE

STREAMS = {
    "RGB": "",
    "flow, L = 1": "_L1",
    "flow, L = 5": "_L5",
    "flow, L = 10": "_L10",
    "flow image": "_image",
}
FUSED = {
    "RGB + flow": ("average", ("RGB", "flow, L = 10"), (1, 1)),
    "RGB + flow, 1 : 1.5": ("average", ("RGB", "flow, L = 10"), (1, 1.5)),
    "RGB + flow, before softmax": ("weighted", ("RGB", "flow, L = 10"), (1, 1)),
    "RGB + flow image": ("average", ("RGB", "flow image"), (1, 1)),
}
PAIRS = [
    ("RGB", "flow, L = 10"),
    ("flow, L = 5", "flow, L = 1"),
    ("flow, L = 10", "flow, L = 1"),
    ("flow, L = 10", "flow, L = 5"),
    ("flow image", "flow, L = 10"),
    ("RGB + flow", "RGB"),
    ("RGB + flow", "flow, L = 10"),
    ("RGB + flow, 1 : 1.5", "RGB + flow"),
    ("RGB + flow, before softmax", "RGB + flow"),
    ("RGB + flow image", "RGB"),
]
NOTE = (
    "Features of EfficientNet-Lite0 with ImageNet weights, 25 places of a clip, the centre crop; flow by DIS; "
    "the weights of the first layer for a stack are the mean over the colours. Logistic regressions, which are "
    "fitted without random numbers. Folds keep groups together (UCF-101: a source of a class; Weizmann: a "
    "person). Fused: probabilities are averaged, or scores before softmax."
)


def scores_of(store: str, folds: int, out: Path) -> list[Scores]:
    """The scores of each fold."""
    cross_validate(Validation(store, folds, model="probe"), out, reporter=ConsoleReporter())
    return [Scores.load(folder / SCORES_FILE) for folder in run_folders(out, folds, 1)]


def systems_of(features: str, folds: int, out: Path) -> list[System]:
    """All streams and their fusions."""
    found: dict[str, list[Scores]] = {
        name: scores_of(f"{features}{ending}", folds, out / f"stream{ending}")
        for name, ending in STREAMS.items()
    }
    for name, (kind, parts, weights) in FUSED.items():
        found[name] = [
            fuse([found[part][fold] for part in parts], kind=kind, weights=weights) for fold in range(folds)
        ]
    return [read_system(name, scores) for name, scores in found.items()]


def main() -> None:
    """Fit all, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("sets", nargs="+", metavar="NAME=FOLDS=FEATURES")
    options = arguments.parse_args()
    tables: list[Table] = []
    for text in options.sets:
        if text.count("=") != 2 or not text.split("=")[1].isdecimal():
            raise ArgumentError(f"{text}: give NAME=FOLDS=FEATURES, such as ucf=5=features/ucf")
        name, folds, features = text.split("=")
        systems = systems_of(features, int(folds), options.out / name)
        tables += comparison_tables(name, systems, features, PAIRS)
    write_tables(options, __file__, "Two streams on features", tables, NOTE)


if __name__ == "__main__":
    run_command(main)
