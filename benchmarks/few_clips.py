"""Training from few clips: accuracy by the number of training clips of each class, and by the system.

Each seed draws groups of the training part, the same for every system; the test clips are always all. Finished runs
are kept in ``--out``, so systems may be run one after the other (``--systems``, ``--counts``): the table and the figure
show all runs that are there. Nothing is chosen on the test clips: every system has the defaults of praxiscope.

    probe               logistic regression on features of the default network, ImageNet weights
    prototypes          cosine to the class means of the same features
    probe-squeezenet    logistic regression on features of SqueezeNet 1.0, ImageNet weights (--weights)
    fine-tuned          praxiscope train, without options
    random              the same from random weights, on 3 frames of 64 px, as it takes 30 epochs
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, parser, run_command, score_cells, write_tables
from paired import alone_right, paired_t
from stores import Result, settings_of, train_and_test, with_list

import praxiscope as px
from praxiscope.checkpoint import read_pointer
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.evaluation.comparison import mcnemar
from praxiscope.explain.explanation import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    TEXT,
    Explanation,
    new_figure,
    save_explanation,
    style_axes,
)
from praxiscope.progress import ConsoleReporter
from praxiscope.types import VideoRecord
from praxiscope.units import counted

SYSTEMS: dict[str, tuple[str, str]] = {
    "probe": (BLUE, "-"),
    "prototypes": (BLUE, "--"),
    "probe-squeezenet": (GREY, "-"),
    "fine-tuned": (ORANGE, "-"),
    "random": (BLACK, ":"),
}
"""Colour and line of each system."""
RANDOM = {"input.size": 64, "input.short_side": 72, "input.snippets": 3}
"""Settings of the system ``random``."""
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "few_clips.png"

Results = Mapping[tuple[str, int, int], Result]
"""By system, clips for each class, and seed."""


def drawn(manifest: Manifest, count: int, seed: int) -> list[VideoRecord]:
    """Return all test clips, and one training clip of each of ``count`` groups of every class, drawn at random."""
    kept = list(manifest.of("test"))
    for number, name in enumerate(manifest.classes):
        draw = np.random.default_rng([seed, number])
        groups: dict[str, list[VideoRecord]] = {}
        for record in manifest.of("train"):
            if record.labels == (name,):
                groups.setdefault(record.group or record.id, []).append(record)
        # A permutation, so that the clips of a smaller count are among those of a larger one.
        for group in draw.permutation(sorted(groups))[:count]:
            kept.append(groups[group][int(draw.integers(len(groups[group])))])
    return kept


def trainer(
    system: str, data: Path, run: Path, seed: int, settings: Mapping[str, Any], held_out: bool
) -> Callable[[], Any]:
    """Return the function that trains a system; ``held_out``: its recipe holds out training clips."""
    given: dict[str, Any] = {"out": run, "seed": seed, "progress": ConsoleReporter()}
    if system == "prototypes":
        return lambda: px.train(data, model="prototypes", **given)
    if system.startswith("probe"):
        return lambda: px.train(data, model="probe", **given)
    if system == "random":
        given["pretrained"] = False
    if not held_out:
        given["run.validate_epochs"] = 0  # the figures of test clips would decide nothing
    return lambda: px.train(data, resume=bool(read_pointer(run)), **given, **settings)


def draw_figure(results: Results, counts: Sequence[int], systems: Sequence[str], clips: int) -> Explanation:
    """Draw the mean top-1 accuracy by the number of clips, with bars of one sample standard deviation."""
    figure = new_figure(6.6, 4.2)
    axes = figure.add_subplot()
    for place, system in enumerate(systems):
        known = [count for count in counts if scores_of(results, system, count)]
        scores = [scores_of(results, system, count) for count in known]
        colour, line = SYSTEMS[system]
        shift = 1 + 0.02 * (place - (len(systems) - 1) / 2)  # bars beside one another
        axes.errorbar(
            [count * shift for count in known],
            [statistics.mean(values) for values in scores],
            [statistics.stdev(values) if len(values) > 1 else 0 for values in scores],
            color=colour,
            linestyle=line,
            marker="o",
            markersize=4,
            linewidth=1.6,
            capsize=2.5,
            label=system,
        )
    axes.set(xscale="log", ylim=(0, 1), xlabel="training clips of each class", ylabel="top-1 accuracy")
    axes.set_xticks(list(counts), [str(count) for count in counts])
    axes.minorticks_off()
    title = f"{clips} test clips; mean and sample standard deviation over the seeds"
    axes.set_title(title, loc="left", fontsize=9, color=TEXT)
    axes.legend(frameon=False, fontsize=8, labelcolor=TEXT, loc="lower right")
    style_axes(axes, frame=False, grid="y")
    return Explanation(figure)


def scores_of(results: Results, system: str, count: int) -> list[float]:
    """Top-1 of each seed."""
    return [
        result.top1
        for (name, clips, _), result in sorted(results.items())
        if (name, clips) == (system, count)
    ]


def comparisons(results: Results, counts: Sequence[int], systems: Sequence[str]) -> list[list[Any]]:
    """Rows of paired tests between systems, from the seeds that both have."""
    rows = []
    for count in counts:
        for one, other in combinations(systems, 2):
            seeds = [seed for name, clips, seed in sorted(results) if (name, clips) == (one, count)]
            both = [
                (results[one, count, s], results[other, count, s])
                for s in seeds
                if (other, count, s) in results
            ]
            if len(both) < 2:
                continue
            first, second = ([pair[side].top1 for pair in both] for side in (0, 1))
            clips = [mcnemar(*alone_right(a.scores, b.scores)) for a, b in both]
            rows.append(
                [
                    count,
                    one,
                    other,
                    f"{statistics.mean(first) - statistics.mean(second):+.3f}",
                    f"{paired_t(first, second):.2g}",
                    ", ".join(f"{p:.2g}" for p in clips),
                ]
            )
    return rows


def main() -> None:
    """Train and test what is missing, then write the tables and the figure."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", help="a data set with splits and groups, as for `praxiscope features`")
    arguments.add_argument("--split")
    arguments.add_argument("--annotations", type=Path)
    arguments.add_argument("--weights", type=Path, help="weights of SqueezeNet 1.0, for probe-squeezenet")
    arguments.add_argument(
        "--features", type=Path, help="features of the default network, if they are computed"
    )
    arguments.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    arguments.add_argument("--counts", nargs="+", type=int, default=[1, 2, 5, 10])
    arguments.add_argument("--seeds", type=int, default=3)
    options = arguments.parse_args()
    if "probe-squeezenet" in options.systems and options.weights is None:
        arguments.error("probe-squeezenet needs --weights")
    data = {"split": options.split, "annotations": options.annotations}
    reporter = ConsoleReporter()
    store = px.feature_store(
        options.data, options.features or options.out / "features", progress=reporter, **data
    )
    stores = {"probe-squeezenet": store}
    if options.weights:
        other = {"backbone": "squeezenet1_0", "weights": options.weights}
        stores["probe-squeezenet"] = px.feature_store(
            options.data, options.out / "features-squeezenet", progress=reporter, **data, **other
        )
    manifest = load_records(options.data, **data)
    results: dict[tuple[str, int, int], Result] = {}
    for system in SYSTEMS:
        for count in options.counts:
            for seed in range(options.seeds):
                run = options.out / f"{system}-{count}-{seed}"
                listed = (
                    options.out / "data" / f"{'squeezenet' if 'squeeze' in system else 'all'}-{count}-{seed}"
                )
                if system in options.systems:
                    with_list(
                        stores.get(system, store).root, listed, drawn(manifest, count, seed), manifest.classes
                    )
                elif not (run / "result_25x1.json").is_file():
                    continue
                # Models that are fitted to features have no settings.
                given = settings_of(options.assignments) if system in ("fine-tuned", "random") else {}
                given |= RANDOM if system == "random" else {}
                held_out = system == "fine-tuned" and count >= 5
                train = trainer(system, listed, run, seed, given, held_out)
                results[system, count, seed] = train_and_test(run, train, listed, settings=given)
    write(options, results, len(manifest.of("test")), len(manifest.classes))


def write(options: argparse.Namespace, results: Results, clips: int, classes: int) -> None:
    """Write the tables, and the figure beside them, or with ``--publish`` to the documentation."""
    systems = [name for name in SYSTEMS if any(name == system for system, _, _ in results)]
    rows = []
    for system in systems:
        for count in options.counts:
            if values := scores_of(results, system, count):
                rows.append([system, count, *score_cells(values)])
    tested = ["clips of each class", "system", "against", "difference", "p, seeds", "p, clips, of each seed"]
    header = ["system", "clips of each class", "top-1", "spread", "each seed"]
    picture = PICTURE if options.publish else options.out / PICTURE.name
    options.out.mkdir(parents=True, exist_ok=True)
    save_explanation(draw_figure(results, options.counts, systems, clips), picture)
    write_tables(
        options,
        __file__,
        "Training from few clips",
        [
            Table("", header, rows),
            Table("Paired tests", tested, comparisons(results, options.counts, systems)),
        ],
        f"{clips} test clips of {classes} classes, protocol 25x1, {counted(options.seeds, 'seed')}, which draw the "
        "training clips. The spread is the sample standard deviation. Paired tests: t test over the seeds "
        "(nan: all differences are equal), exact McNemar test over the clips, two-sided.",
        runs=results.values(),
    )


if __name__ == "__main__":
    run_command(main)
