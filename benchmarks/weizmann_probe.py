"""Weizmann, leave one person out: logistic regression on features of single frames, of stacks of flow, and fused.

The background of these videos is still and the people are nearly the same in all actions, so motion decides. The
features of flow are those of the same ImageNet network, whose first layer is adapted to stacks of flow.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
from common import Table, parser, run_command, score_cells, write_tables
from stores import Result, train_and_test, with_list

import praxiscope as px
from praxiscope.data.manifest import load_records
from praxiscope.evaluation.comparison import mcnemar
from praxiscope.evaluation.scores import Scores
from praxiscope.features.store import FeatureStore
from praxiscope.progress import ConsoleReporter

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")


def correct(scores: Scores) -> dict[str, bool]:
    """Return whether each clip is classified correctly, by its id."""
    right = scores.logits.argmax(axis=1) == scores.targets
    return dict(zip(scores.ids, right.tolist(), strict=True))


def probe(store: FeatureStore, data: str, person: str, out: Path) -> Result:
    """Fit a probe to the features of all others, and test it on those of one person."""
    manifest = load_records(data, split=person)
    listed = with_list(store.root, out / "data", manifest.records, manifest.classes)
    return train_and_test(out, lambda: px.train(listed, out=out, model="probe"), listed)


def main() -> None:
    """Compute the features once, fit and test every fold, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", type=Path, help="the Weizmann videos")
    arguments.add_argument("--flow", type=Path, help="their stored flow, if it is there")
    arguments.add_argument("--method", default="tvl1", help="to estimate the flow, if it is not")
    arguments.add_argument("--length", type=int, default=5, help="flow fields in a stack")
    arguments.add_argument("--people", nargs="+", default=list(PEOPLE), choices=list(PEOPLE))
    options = arguments.parse_args()
    data, reporter = f"weizmann:{options.data}", ConsoleReporter()
    flow = options.flow or options.out / "flow"
    if options.flow is None:
        px.flow_store(data, flow, method=options.method, progress=reporter)
    stores = {
        "frames": px.feature_store(data, options.out / "features-frames", progress=reporter),
        "flow": px.feature_store(
            data, options.out / "features-flow", flow=flow, flow_length=options.length, progress=reporter
        ),
    }
    results: list[Result] = []
    folds: dict[str, list[Scores]] = {"frames": [], "flow": [], "fused": []}
    for person in options.people:
        for name, store in stores.items():
            results.append(probe(store, data, person, options.out / f"{name}-{person}"))
            folds[name].append(results[-1].scores)
        folds["fused"].append(px.fuse([folds["frames"][-1], folds["flow"][-1]]))
    write(options, folds, results, stores["frames"].contract.backbone)


def write(
    options: argparse.Namespace, folds: dict[str, list[Scores]], results: list[Result], backbone: str
) -> None:
    """Write the accuracy of each fold, the correct clips of each class, and the paired tests."""
    right = {
        name: {k: v for scores in found for k, v in correct(scores).items()} for name, found in folds.items()
    }
    top1 = {
        name: [float(np.mean(list(correct(scores).values()))) for scores in found]
        for name, found in folds.items()
    }
    by_fold = [
        [person, *(f"{values[number]:.3f}" for values in top1.values())]
        for number, person in enumerate(options.people)
    ]
    cells = {name: score_cells(values) for name, values in top1.items()}
    by_fold.append(["**mean**", *(f"**{cell[0]}**" for cell in cells.values())])
    by_fold.append(["spread", *(cell[1] for cell in cells.values())])
    labels = {
        id: scores.classes[target]
        for scores in folds["frames"]
        for id, target in zip(scores.ids, scores.targets, strict=True)
    }
    clips = Counter(labels.values())
    by_class = [
        [
            name,
            clips[name],
            *(sum(found[id] for id in found if labels[id] == name) for found in right.values()),
        ]
        for name in sorted(clips)
    ]
    pairs = []
    for one, other in combinations(right, 2):
        alone = [
            sum(right[a][id] and not right[b][id] for id in labels) for a, b in ((one, other), (other, one))
        ]
        gap = statistics.mean(top1[one]) - statistics.mean(top1[other])
        pairs.append([one, other, f"{gap:+.3f}", *alone, f"{mcnemar(*alone):.2g}"])
    write_tables(
        options,
        __file__,
        "Weizmann, leave one person out: probes",
        [
            Table("", ["person left out", *folds], by_fold),
            Table("Correct clips of each class", ["class", "clips", *folds], by_class),
            Table(
                "Paired tests",
                ["", "against", "difference", "only the first correct", "only the second", "p"],
                pairs,
            ),
        ],
        f"Logistic regression on the mean and the maximum over 25 places of features of {backbone}, ImageNet weights: "
        f"of frames, of stacks of {options.length} flow fields, and the average of both probabilities. {len(labels)} "
        f"test clips in {len(options.people)} folds; protocol 25x1; one seed. The spread is the sample standard "
        "deviation over the folds. Paired tests: exact McNemar test over all clips, two-sided.",
        runs=results,
    )


if __name__ == "__main__":
    run_command(main)
