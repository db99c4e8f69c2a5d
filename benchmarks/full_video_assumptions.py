"""What clustering rests on: whether distances agree between blocks, and whether clusters keep the gradients of frames.

`python benchmarks/full_video_assumptions.py SET RUN RUN …` sees test videos of a Move4MNIST set (SET) with full-video
networks (RUN), such as those of `benchmarks/full_video_long.py`: one network for each seed. What was measured is not
measured again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, parser, run_command, write_tables
from numpy.typing import NDArray
from scipy.stats import t

import praxiscope as px
from praxiscope.checkpoint import write_json
from praxiscope.data.manifest import load_records
from praxiscope.data.move4mnist import digest_of_set
from praxiscope.evaluation.comparison import holm, sign_flip
from praxiscope.explain.blocks import explain_blocks
from praxiscope.explain.cluster_gradients import explain_cluster_gradients
from praxiscope.explain.gradients import explain_gradients
from praxiscope.progress import ConsoleReporter

RULES = ("cumulative", "slope", "uniform")
PAIRS = (("slope", "cumulative"), ("uniform", "cumulative"), ("uniform", "slope"))
DISTANCES = ("hamming", "euclidean")

Values = NDArray[np.float64]


def measure(run: Path, video: Path) -> dict[str, Any]:
    """Of a video: the rank correlation of each block's distances with the first one's; the mean distance between the
    gradient of a cluster and the sum of its frames' gradients by rule; the correlation of distances of activations and
    of gradients."""
    blocks = explain_blocks(px.load(run, device="cpu"), video).facts["blocks"]
    clusters = explain_cluster_gradients(run, [video], device="cpu").facts
    pairs = explain_gradients(run, [video], device="cpu").facts["videos"][0]
    return {
        "blocks": {block["name"]: block["correlation"] for block in blocks[1:]},
        "rules": {rule: float(np.mean(clusters["videos"][0]["rules"][rule]["distance"])) for rule in RULES},
        "norm": float(np.mean(clusters["videos"][0]["rules"]["uniform"]["sum_norm"])),
        "pairs": {name: pairs[name] for name in DISTANCES},
    }


def measured(run: Path, videos: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """What `measure` finds of each video. It is kept in a file for each."""
    found = []
    with ConsoleReporter().bar(run.name, len(videos)) as bar:
        for video in videos:
            kept = out / run.name / f"{video.parent.name}_{video.stem}.json"
            if not kept.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_json(kept, measure(run, video))
            found.append(json.loads(kept.read_text(encoding="utf-8")))
            bar.advance()
    return found


def mean_of(values: Values, sign: str = "") -> str:
    """The mean with its 95 % interval over videos, by Student's t distribution."""
    mean = float(values.mean())
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1)) / len(values) ** 0.5
    return f"{mean:{sign}.3f} ({mean - half:{sign}.3f} to {mean + half:{sign}.3f})"


def mean_cells(values: Values) -> list[str]:
    """The mean, and the smallest and the largest value."""
    return [mean_of(values), f"{values.min():.2f} to {values.max():.2f}"]


def tables_of(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Table]:
    """The tables of several networks."""
    blocks, rules, differences, pairs = [], [], [], []
    for run, videos in found.items():
        for block in videos[0]["blocks"]:
            values = np.array([video["blocks"][block] or 0.0 for video in videos])
            blocks.append([run, block, len(values), *mean_cells(values)])
        of = {rule: np.array([video["rules"][rule] for video in videos]) for rule in RULES}
        norm = float(np.mean([video["norm"] for video in videos]))
        rules += [
            [run, rule, len(values), *mean_cells(values), f"{values.mean() / norm:.2f}"]
            for rule, values in of.items()
        ]
        for one, other in PAIRS:
            change = of[one] - of[other]
            names = [str(number) for number in range(len(change))]
            more = f"{int((change > 0).sum())}, {int((change < 0).sum())}"
            differences.append([run, one, other, mean_of(change, "+"), more, sign_flip(change, names)])
        for name in DISTANCES:
            for kind in ("pearson", "spearman"):
                values = np.array([video["pairs"][name][kind] for video in videos])
                pairs.append([run, name, kind, len(values), *mean_cells(np.nan_to_num(values))])
    adjusted = holm([row[-1] for row in differences])
    shown = [[*row[:-1], f"{row[-1]:.2g}", f"{p:.2g}"] for row, p in zip(differences, adjusted, strict=True)]
    interval_of = "mean (95 %)"
    return [
        Table(
            "Distances of neighbours after a block, against those after the first: Spearman",
            ["network", "block", "videos", interval_of, "lowest to highest"],
            blocks,
        ),
        Table(
            "Gradient of a cluster against the sum of its frames' gradients: distance",
            ["network", "rule", "videos", interval_of, "lowest to highest", "relative to the sum"],
            rules,
        ),
        Table(
            "The same, by video",
            ["network", "rule", "minus", "difference (95 %)", "larger, smaller", "p", "Holm's p"],
            shown,
        ),
        Table(
            "Distance of activations against distance of gradients, all pairs of frames",
            ["network", "distance", "correlation", "videos", interval_of, "lowest to highest"],
            pairs,
        ),
    ]


def main() -> None:
    """Measure all networks, then write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("set", type=Path, metavar="SET", help="folder of a Move4MNIST set")
    arguments.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs of full-video")
    arguments.add_argument("--videos", type=int, default=100, help="test videos, evenly spaced")
    options = arguments.parse_args()
    tests = [record.path for record in load_records(f"move4mnist:{options.set}").of("test")]
    places = np.unique(np.linspace(0, len(tests) - 1, min(options.videos, len(tests))).astype(int))
    videos = [tests[place] for place in places]
    found = {run.name: measured(run, videos, options.out) for run in options.runs}
    note = (
        f"Test videos of the Move4MNIST set with digest {digest_of_set(options.set)}. Means over the videos, with "
        "Student's interval, and the smallest and the largest. p: random signs of the videos' differences, "
        "with Holm's adjustment for all rows."
    )
    write_tables(options, __file__, "What clustering rests on", tables_of(found), note)


if __name__ == "__main__":
    run_command(main)
