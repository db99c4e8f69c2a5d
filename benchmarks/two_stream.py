"""Two streams that are trained: RGB frames, stacks of flow of several kinds, and their fusion; every clip is tested.

`python benchmarks/two_stream.py DATA --flow FLOW --weights WEIGHTS` trains the rows on every fold and compares them on
the same clips. The stream of flow in both directions needs the backward flow (`praxiscope flow --backward`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common import describe, parser, run_command, write_tables
from compared import Rows, add_fold_options, comparison_tables
from held_out import HeldOut, held_out_rows

from praxiscope.commands.fuse import fuse
from praxiscope.errors import unknown_name
from praxiscope.evaluation.comparison import System, read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override

PROTOCOL = "25x1"
SPATIAL, TEMPORAL = "RGB", "flow, L = 10"
FLOW = {
    "flow, L = 1": (1, "stack", True),
    "flow, L = 5": (5, "stack", True),
    TEMPORAL: (10, "stack", True),
    "flow, mean kept": (10, "stack", False),
    "trajectories": (10, "trajectory", True),
    "trajectories, mean kept": (10, "trajectory", False),
    "both directions": (10, "stack-bidirectional", True),
}
"""Rows of flow: fields in a stack, its kind, and whether the mean of a field is subtracted."""
FUSED = {
    "average": {"kind": "average"},
    "average, 1 : 1.5": {"kind": "average", "weights": [1, 1.5]},
    "before softmax": {"weights": [1, 1]},
    "before softmax, 1 : 1.5": {"weights": [1, 1.5]},
}
PAIRS = [
    (TEMPORAL, SPATIAL),
    ("average", SPATIAL),
    ("average", TEMPORAL),
    ("SVM", "average"),
    ("SVM, held-out", "average"),
    ("SVM, held-out", "SVM"),
    ("average, 1 : 1.5", "average"),
    ("before softmax", "average"),
    ("before softmax, 1 : 1.5", "average"),
    (TEMPORAL, "flow, L = 1"),
    (TEMPORAL, "flow, L = 5"),
    (TEMPORAL, "flow, mean kept"),
    ("trajectories", "trajectories, mean kept"),
    (TEMPORAL, "trajectories"),
    ("both directions", TEMPORAL),
    ("average with both directions", "average"),
]
"""Which rows are compared."""


def main() -> None:
    """Train and test the streams, fuse their scores, and write the tables."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", help="videos, such as ucf101:FOLDER or weizmann:FOLDER")
    arguments.add_argument("--flow", type=Path, required=True, help="their stored flow")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument("--size", type=int, default=112, help="side of the frames, pixels")
    arguments.add_argument("--spatial-epochs", type=int, default=12)
    arguments.add_argument("--temporal-epochs", type=int, default=20)
    arguments.add_argument("--rows", nargs="+", default=[SPATIAL, *FLOW], help="streams to train")
    arguments.add_argument("--name", default="two_stream", help="name of the page")
    arguments.add_argument(
        "--held-out",
        action="store_true",
        help="also fuse by an SVM on scores of clips that the networks have not learned from; trains both streams "
        "once for each pair of folds",
    )
    add_fold_options(arguments)
    options = arguments.parse_args()
    for name in options.rows:
        if name not in {SPATIAL, *FLOW}:
            raise unknown_name("row", name, [SPATIAL, *FLOW])
    fused = {SPATIAL, TEMPORAL} <= {*options.rows}
    if options.held_out and not (fused and options.folds > 2):
        arguments.error(f"--held-out needs the rows {SPATIAL!r} and {TEMPORAL!r}, and three or more folds")
    base = [
        f"data.source={options.data}",
        "model.name=tsn",
        "model.backbone=squeezenet1_0",
        f"model.weights={options.weights}",
        "model.dropout=0.5",
        f"input.size={options.size}",
        f"input.short_side={round(options.size * 8 / 7)}",
        "input.snippets=3",
        "input.crop=random",
        "optim.batch=8",
        "run.validate_epochs=0",
        "run.tensorboard=false",
    ]
    # As in ucf101_nine.py: only the classifier is trained at first.
    changes = [
        f"optim.epochs={options.spatial_epochs}",
        f"optim.frozen_epochs={options.spatial_epochs / 2}",
        "optim.lr=0.00001",
        "optim.classifier_lr_scale=100",
    ]
    every = {SPATIAL: _settings(base, changes, options.assignments)}
    for name, (length, kind, subtract) in FLOW.items():
        # The trunk has to adapt to another kind of input: one learning rate for all layers.
        changes = [
            f"data.flow={options.flow}",
            "model.stream=flow",
            f"input.flow_length={length}",
            f"input.flow_kind={kind}",
            f"input.subtract_mean={subtract}",
            f"optim.epochs={options.temporal_epochs}",
            "optim.name=adamw",
            "optim.lr=0.0005",
            "optim.weight_decay=0.01",
        ]
        every[name] = _settings(base, changes, options.assignments)
    chosen = {name: every[name] for name in options.rows}
    rows = Rows(
        chosen,
        options.out / options.name,
        PROTOCOL,
        options.folds,
        options.seeds,
        with_train=(SPATIAL, TEMPORAL) if fused else (),
    )
    held_out = held_out_rows(rows, (SPATIAL, TEMPORAL)) if options.held_out else None
    found = rows.train(options.share)
    further = held_out.rows.train(options.share) if held_out else {}
    if options.share is not None:
        return
    runs = [run for each in found.values() for run in each]
    notes = []
    for stream, names in (("RGB", {SPATIAL}), ("Flow", {*FLOW})):
        if of := [run for name in found if name in names for run in found[name]]:
            notes.append(f"{stream}: {describe(of)}")
    if rows.with_train:
        notes.append(FUSION_NOTE)
    if held_out:
        notes.append(HELD_OUT_NOTE)
    systems = [*(rows.system(name) for name in chosen), *fusions(rows, held_out)]
    write_tables(
        options,
        __file__,
        "Two streams, every clip tested",
        comparison_tables("", systems, options.data, PAIRS),
        " ".join(notes),
        runs=[*runs, *(run for each in further.values() for run in each)],
        name=options.name,
    )


FUSION_NOTE = (
    f"Fused are {SPATIAL} and {TEMPORAL}, where nothing else is named: averages of probabilities, or of scores before "
    "softmax, with equal weights or RGB : flow = 1 : 1.5. The SVM is fitted to the scores of the clips that the "
    "streams have learned from; the time to score these is not counted."
)

HELD_OUT_NOTE = (
    "The SVM called held-out is fitted to scores of networks that were trained without the clips that they score, and "
    "without those of the test: one network of each stream for each pair of folds."
)


def fusions(rows: Rows, held_out: HeldOut | None = None) -> list[System]:
    """The fusions of the two streams, if both are rows."""
    if not {SPATIAL, TEMPORAL} <= rows.settings.keys():
        return []
    found: list[System] = []

    def add(name: str, streams: list[str], **asked: object) -> None:
        parts = zip(*(rows.scores(stream) for stream in streams), strict=True)
        found.append(read_system(name, [fuse(list(part), **asked).scores for part in parts]))  # type: ignore[arg-type]

    def add_svm(name: str, learned: Callable[[str], list[Scores]]) -> None:
        parts = zip(*(rows.scores(stream) for stream in (SPATIAL, TEMPORAL)), strict=True)
        training = zip(*(learned(stream) for stream in (SPATIAL, TEMPORAL)), strict=True)
        by_svm = [
            fuse(list(part), svm=list(known)).scores for part, known in zip(parts, training, strict=True)
        ]
        found.append(read_system(name, by_svm))

    for name, asked in FUSED.items():
        add(name, [SPATIAL, TEMPORAL], **asked)
    add_svm("SVM", lambda stream: rows.scores(stream, "train"))
    if held_out:
        add_svm("SVM, held-out", held_out.learned)
    if "both directions" in rows.settings:
        add("average with both directions", [SPATIAL, "both directions"], kind="average")
    return found


def _settings(base: list[str], changes: list[str], assignments: list[str]) -> TrainSettings:
    return override(get_recipe("default"), [*base, *changes, *assignments])


if __name__ == "__main__":
    run_command(main)
