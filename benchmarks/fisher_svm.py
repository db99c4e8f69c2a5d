"""Trajectories, Fisher vectors and support vector machines: alone, and fused with probes of RGB frames and of flow.
Beside them VLAD and Fisher vectors of the maps of the network of RGB frames.

`python benchmarks/fisher_svm.py --weizmann WEIZMANN FLOW --ucf UCF101 FLOW`. Weizmann: leave one person out, nine
folds. UCF-101: five folds of whole groups, so that every clip is tested once. Probes are those of `weizmann_probe.py`.
The features and the trajectories are computed once; finished folds are read from --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, parser, run_command, write_tables
from stores import Result, train_and_test, with_list

import praxiscope as px
from praxiscope.commands.trajectories import trajectories
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.evaluation.comparison import mcnemar
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import ConsoleReporter
from praxiscope.trajectories.settings import Extraction
from praxiscope.trajectories.store import StoredTrajectories

FUSIONS = {
    "RGB + IDT": ("RGB", "IDT"),
    "VLAD + IDT": ("VLAD", "IDT"),
    "flow + IDT": ("flow", "IDT"),
    "RGB + flow": ("RGB", "flow"),
    "RGB + flow + IDT": ("RGB", "flow", "IDT"),
}
DRAWS = 10_000
FOLDS = 5


def folds_of(data: str) -> Iterator[tuple[str, Manifest]]:
    """The folds of a data set: each person of Weizmann, or a fifth of the groups of UCF-101."""
    manifest = load_records(data, split="1" if data.startswith("ucf101:") else "daria")
    # A group of UCF-101 is CLASS/gNN: the same numbers of all classes are held out together.
    names = [str(record.group).rpartition("/")[2] for record in manifest.records]
    people = sorted(set(names))
    held_out = (
        [[name] for name in people]
        if len(people) < 12
        else [people[number::FOLDS] for number in range(FOLDS)]
    )
    for out in held_out:
        records = tuple(
            replace(record, split="test" if name in out else "train")
            for record, name in zip(manifest.records, names, strict=True)
        )
        yield out[0], replace(manifest, records=records)


class Experiment:
    """A data set: what is computed of it once, and the scores of each fold."""

    def __init__(
        self, data: str, flow: Path, out: Path, gaussians: Sequence[int], extraction: Extraction
    ) -> None:
        self.data, self.out, self.gaussians = data, out, gaussians
        reporter = ConsoleReporter()
        trajectories(data, out / "idt", extraction, split=self.split, workers=2, reporter=reporter)
        words: dict[str, Any] = {"split": self.split, "progress": reporter}
        self.stores: dict[str, Any] = {
            "RGB": px.feature_store(data, out / "features-rgb", **words),
            "flow": px.feature_store(data, out / "features-flow", flow=flow, flow_length=5, **words),
            "maps": px.feature_store(data, out / "features-maps", pool="none", half=True, **words),
            "IDT": StoredTrajectories(out / "idt"),
        }
        self.results: list[Result] = []
        self.scores: dict[str, list[Scores]] = {}
        for name, manifest in folds_of(data):
            self._fold(name, manifest)
        self.largest = f"IDT, {max(gaussians)} Gaussians"

    @property
    def split(self) -> str | None:
        """Any official split: all videos are computed."""
        return "1" if self.data.startswith("ucf101:") else None

    def _fold(self, name: str, manifest: Manifest) -> None:
        found: dict[str, Scores] = {}
        for stream in ("RGB", "flow"):
            run = self.out / f"{stream}-{name}"
            found[stream] = self._run(run, stream, manifest, {"model": "probe"}, "25x1")
        for encoding in ("VLAD", "Fisher"):
            chosen = {"model": "vlad-svm", "model.encoding": encoding.lower()}
            run = self.out / f"{encoding.lower()}-{name}"
            found[encoding] = self._run(run, "maps", manifest, chosen, "25x1")
        for count in self.gaussians:
            run, words = self.out / f"idt{count}-{name}", {"model": "fisher-svm", "model.gaussians": count}
            found[f"IDT, {count} Gaussians"] = self._run(run, "IDT", manifest, words, "allx1")
        known = {**found, "IDT": found[f"IDT, {max(self.gaussians)} Gaussians"]}
        for fused, parts in FUSIONS.items():
            found[fused] = px.fuse([known[part] for part in parts], kind="l2", any_protocol=True)
        for system, scores in found.items():
            self.scores.setdefault(system, []).append(scores)

    def _run(
        self, run: Path, stream: str, manifest: Manifest, words: dict[str, Any], protocol: str
    ) -> Scores:
        listed = with_list(self.stores[stream].root, run / "data", manifest.records, manifest.classes)

        def train() -> object:
            return px.train(listed, out=run, progress=ConsoleReporter(), **words)

        self.results.append(train_and_test(run, train, listed, protocol, settings=words))
        return self.results[-1].scores

    def right(self, system: str) -> tuple[np.ndarray[Any, Any], list[str]]:
        """Which clips are classified correctly, and their groups."""
        group = {
            record.id: str(record.group) for _, manifest in folds_of(self.data) for record in manifest.records
        }
        flags, groups = [], []
        for scores in self.scores[system]:
            flags += (scores.logits.argmax(axis=1) == scores.targets).tolist()
            groups += [group[id] for id in scores.ids]
        return np.array(flags, dtype=np.float64), groups

    def table(self) -> Table:
        """Top-1 with an interval by the bootstrap over groups, and the spread over the folds."""
        rows = []
        for system, folds in self.scores.items():
            right, groups = self.right(system)
            low, high = interval(right, groups)
            each = [float((one.logits.argmax(axis=1) == one.targets).mean()) for one in folds]
            spread = np.std(each, ddof=1)
            rows.append(
                [
                    system,
                    f"{right.mean():.3f}",
                    f"{low:.3f} to {high:.3f}",
                    f"{spread:.3f}",
                    f"{right.sum():.0f}",
                ]
            )
        name, clips = self.data.partition(":")[0], len(right)
        header = ("system", "top-1", "95 % interval", "spread over folds", f"correct of {clips}")
        return Table(f"{name}: {clips} clips in {len(self.scores['RGB'])} folds", header, rows)

    def pairs(self) -> list[list[str]]:
        """Paired tests of what IDT adds, of the descriptors alone, and of the sizes of the vocabulary."""
        idt, found = self.largest, []
        wanted = [
            ("VLAD", "RGB"),
            ("VLAD", "Fisher"),
            ("VLAD", idt),
            ("VLAD + IDT", "VLAD"),
            ("VLAD + IDT", idt),
        ]
        wanted += [(idt, "RGB"), (idt, "flow"), ("RGB + IDT", "RGB"), ("flow + IDT", "flow")]
        wanted += [("RGB + flow + IDT", "RGB + flow"), ("RGB + flow + IDT", idt)]
        wanted += [tuple(f"IDT, {n} Gaussians" for n in two) for two in combinations(self.gaussians, 2)]  # type: ignore[misc]
        for one, other in wanted:
            a, b = self.right(one)[0], self.right(other)[0]
            alone = int((a * (1 - b)).sum()), int((b * (1 - a)).sum())
            name = self.data.partition(":")[0]
            gap = f"{a.mean() - b.mean():+.3f}"
            found.append([name, one, other, gap, *map(str, alone), f"{mcnemar(*alone):.2g}"])
        return found


def interval(right: np.ndarray[Any, Any], groups: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of a share by the bootstrap over groups."""
    names, places = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(places, right), np.bincount(places)
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Run every fold, then write the tables."""
    options = _parser().parse_args()
    extraction, made = Extraction(short_side=options.short_side, most=options.most), []
    for name, given in (("weizmann", options.weizmann), ("ucf101", options.ucf)):
        if given is not None:
            data, flow = f"{name}:{given[0]}", Path(given[1])
            made.append(Experiment(data, flow, options.out / name, options.gaussians, extraction))
    header = ("data", "", "against", "difference", "only the first correct", "only the second", "p")
    tables = [
        *(one.table() for one in made),
        Table("Paired tests", header, [row for one in made for row in one.pairs()]),
    ]
    note = (
        "IDT: improved dense trajectories, Fisher vectors, one-vs-rest support vector machines with C = 100; frames "
        f"with a short side of at most {options.short_side} pixels, at most {options.most:,} trajectories of a clip. "
        "RGB, flow: logistic regression on features of efficientnet_lite0 with ImageNet weights, of frames and of "
        "stacks of 5 flow fields (weizmann_probe.py); 25x1. VLAD, Fisher: support vector machines on the positions of "
        "the last map of the same network, 16 words, 128 dimensions, C = 10, float16; 25x1. Fusions: mean of scores "
        f"of length 1 (--kind l2), with IDT of {max(options.gaussians)} Gaussians. One seed. Intervals: bootstrap over "
        "groups, which are people, or clips of the same recording. p: exact McNemar test over all clips, two-sided."
    )
    results = [result for one in made for result in one.results]
    write_tables(options, __file__, "Fisher vectors of trajectories", tables, note, runs=results)  # type: ignore[arg-type]


def _parser() -> argparse.ArgumentParser:
    found = parser(__doc__, __file__, assignments=False)
    for name in ("weizmann", "ucf"):
        found.add_argument(
            f"--{name}", nargs=2, metavar=("VIDEOS", "FLOW"), help="the videos and their stored flow"
        )
    found.add_argument(
        "--gaussians", type=int, nargs="+", default=[16, 64, 256], help="sizes of the vocabulary"
    )
    found.add_argument("--most", type=int, default=20_000, help="largest number of trajectories of a clip")
    found.add_argument("--short-side", type=int, default=160, help="of larger videos, pixels")
    return found


if __name__ == "__main__":
    run_command(main)
