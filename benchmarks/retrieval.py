"""VLAD of convolutional features: mean average precision by layer, size of the image and dimensions.

`python benchmarks/retrieval.py dvd:COVERS --videos weizmann:WEIZMANN --learn-from ucf101:UCF101 --network
squeezenet1_0=WEIGHTS`. DVD covers: 240 photographs search 60 covers. Each video of --videos searches the others, by
label and by group; of those of --learn-from only the test split. Vocabularies and PCA are learned from the training
split of --learn-from. Every data set, network and size is one file in --out; those that exist are not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, parser, run_command, write_tables

from praxiscope.bench.retrieval import RetrievalTest, bench_retrieval
from praxiscope.checkpoint import write_json
from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError
from praxiscope.explain.explanation import BLUE, ORANGE, TEXT, new_figure, style_axes
from praxiscope.progress import ConsoleReporter
from praxiscope.retrieval.sets import Query, RetrievalSet, by_label, find_retrieval_set

LAYERS = {
    "efficientnet_lite0": (
        "blocks.0",
        "blocks.1",
        "blocks.2",
        "blocks.3",
        "blocks.4",
        "blocks.5",
        "blocks.6",
        "act2",
    ),
    "squeezenet1_0": tuple(f"features.{number}" for number in (1, 3, 4, 5, 7, 8, 9, 10, 12)),
}
SIZES = (224, 448)
DIMS = (0, 128, 32)
DRAWS = 10_000
COVERS = "DVD covers"


def measure(
    name: str, found: RetrievalSet, network: str, size: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The rows of a data set, network and size, from their file if it exists."""
    path = options.out / f"{name}_{network}_{size}.json".replace(" ", "_").replace(",", "")
    if not path.is_file():
        test = RetrievalTest(
            learn_from=options.learn_from,
            backbone=network,
            weights=options.weights[network],
            layers=LAYERS[network],
            sizes=(size,),
            dims=DIMS,
            whiten=(True, False),
        )
        rows = bench_retrieval(found, test, reporter=ConsoleReporter())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, rows)
    return json.loads(path.read_text(encoding="utf-8"))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean by the bootstrap over queries."""
    rng = np.random.default_rng(0)
    array = np.asarray(values)
    means = array[rng.integers(0, len(array), (DRAWS, len(array)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def mean_cell(values: Sequence[float]) -> str:
    """A mean with its interval."""
    low, high = interval(values)
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def layer_table(name: str, network: str, rows: Sequence[dict[str, Any]]) -> Table:
    """A row for each layer and size, mAP by dimensions."""
    kinds = [(0, False), (128, True), (128, False), (32, True), (32, False)]
    cells = []
    for layers in dict.fromkeys(row["layers"] for row in rows):
        own = {
            (row["dims"] if row["dims"] != row["vlad"] else 0, row["whitened"]): row
            for row in rows
            if row["layers"] == layers
        }
        plain = own[0, False]
        cells.append(
            [
                layers,
                str(plain["vlad"]),
                mean_cell(plain["average_precision"]),
                f"{plain['recall_1']:.3f}",
                *(f"{own[kind]['map']:.3f}" if kind in own else "" for kind in kinds[1:]),
            ]
        )
    header = (
        "layer",
        "VLAD",
        "mAP of VLAD",
        "recall@1",
        *(f"mAP, {d}{', whitened' * w}" for d, w in kinds[1:]),
    )
    return Table(f"{name}, {network}: {rows[0]['queries']} queries, {rows[0]['items']} items", header, cells)


def comparisons(name: str, network: str, rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The paired differences that the paper speaks of, of VLAD itself."""
    plain = {row["layers"]: np.array(row["average_precision"]) for row in rows if row["dims"] == row["vlad"]}
    half = {
        row["layers"]: np.array(row["average_precision"])
        for row in rows
        if row["dims"] == 128 and row["whitened"]
    }
    last = {size: f"{LAYERS[network][-1]}@{size}" for size in SIZES}
    best = {
        size: max((one for one in plain if one.endswith(f"@{size}")), key=lambda one: plain[one].mean())
        for size in SIZES
    }
    pairs = [
        *(
            (f"best layer, {best[size]}, against the last", plain[best[size]], plain[last[size]])
            for size in SIZES
        ),
        (f"best layer at 448, {best[448]}, against that at 224", plain[best[448]], plain[best[224]]),
        (f"last layer at 448, {last[448]}, against that at 224", plain[last[448]], plain[last[224]]),
        *(
            (f"128 whitened dimensions of {best[size]} against VLAD", half[best[size]], plain[best[size]])
            for size in SIZES
        ),
    ]
    return [
        [name, network, text, f"{(a - b).mean():+.3f}", *(f"{edge:+.3f}" for edge in interval(a - b))]
        for text, a, b in pairs
    ]


def same_kind(options: argparse.Namespace) -> Table:
    """Whether PCA loses less if it is learned from images of the same kind: those of the other half of the objects."""
    whole, rows = find_retrieval_set(options.covers), []
    first = {item.path for item in whole.items if int(item.path.stem) <= len(whole.searched) // 2}
    images = options.out / "first_half"
    images.mkdir(parents=True, exist_ok=True)
    for path in first:
        link = images / f"{path.parent.name}_{path.name}"
        if not link.exists():
            link.symlink_to(path.resolve())
    kept = [number for number, item in enumerate(whole.items) if item.path not in first]
    place = {number: here for here, number in enumerate(kept)}
    queries = tuple(
        Query(place[one.item], frozenset(place[n] for n in one.positives))
        for one in whole.queries
        if one.item in place
    )
    searched = tuple(place[number] for number in whole.searched if number in place)
    half = RetrievalSet("DVD covers, second half", tuple(whole.items[n] for n in kept), searched, queries)
    for source in (options.learn_from, str(images)):
        path = options.out / f"same_kind_{Path(source).name}.json"
        if not path.is_file():
            test = RetrievalTest(
                learn_from=source, layers=("blocks.3", "blocks.4"), dims=(0, 64), whiten=(True, False)
            )
            write_json(path, bench_retrieval(half, test, reporter=ConsoleReporter()))
        for row in json.loads(path.read_text(encoding="utf-8")):
            kind = "" if row["dims"] == row["vlad"] else "whitened" if row["whitened"] else "not whitened"
            dims = f"{row['dims']}{', ' * bool(kind)}{kind}"
            rows.append([row["learned_from"], row["layers"], dims, mean_cell(row["average_precision"])])
    title = f"Learned from images of the same kind: {len(queries)} queries, {len(searched)} items"
    return Table(title, ("learned from", "layer", "dimensions", "mAP"), rows)


def draw(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> Any:
    """mAP of VLAD by layer, a panel for each data set and network, a line for each size."""
    figure = new_figure(4.2 * 2, 2.9 * len(groups) / 2)
    for place, ((name, network), rows) in enumerate(groups.items()):
        axes = figure.add_subplot(-(-len(groups) // 2), 2, place + 1)
        for size, colour, marker in zip(SIZES, (BLUE, ORANGE), "os", strict=True):
            own = [row for row in rows if row["dims"] == row["vlad"] and row["layers"].endswith(f"@{size}")]
            axes.plot(
                range(len(own)),
                [row["map"] for row in own],
                color=colour,
                marker=marker,
                markersize=4,
                label=f"{size} x {size} pixels",
            )
        names = [layer.removeprefix("features.").removeprefix("blocks.") for layer in LAYERS[network]]
        axes.set_xticks(range(len(names)), names, fontsize=8)
        prefix = LAYERS[network][1].rpartition(".")[0]
        axes.set(ylabel="mAP", xlabel=f"layer ({prefix}.*)", ylim=(0, None))
        axes.set_title(f"{name}, {network}", loc="left", fontsize=9, color=TEXT)
        if place == 0:
            axes.legend(fontsize=8, labelcolor=TEXT, loc="lower left", framealpha=1, edgecolor="none")
        style_axes(axes, frame=False, grid="y")
    figure.tight_layout()
    return figure


def main() -> None:
    """Measure, and write the tables and the figure."""
    options = _parser().parse_args()
    options.weights = {"efficientnet_lite0": None} | dict(text.split("=", 1) for text in options.network)
    sets = {COVERS: find_retrieval_set(options.covers)}
    for data in options.videos:
        name = load_records(data).name
        part = "test" if data == options.learn_from else None
        for of in ("label", "group"):
            try:
                sets[f"{name}, {of}"] = by_label(data, of, part=part)
            except DataError as error:  # each group is one video
                print(f"Note: {error}")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for network in options.weights:
        for name, found in sets.items():
            if network != "efficientnet_lite0" and name != COVERS:
                continue
            for size in SIZES:
                groups.setdefault((name, network), []).extend(measure(name, found, network, size, options))
    tables = [layer_table(*key, rows) for key, rows in groups.items()]
    header = ("data", "network", "comparison", "difference of mAP", "from", "to")
    compared = [line for key, rows in groups.items() for line in comparisons(*key, rows)]
    figure = Path(__file__).parents[1] / "docs" / "pictures" / "retrieval_layers.png"
    place = figure if options.publish else options.out / figure.name
    draw(groups).savefig(place, dpi=110)
    note = (
        f"Vocabularies of 100 words and PCA were learned from {next(iter(groups.values()))[0]['learned_from']}, 8 "
        "frames of each video; a video is encoded from 8 frames. Intervals: 95 %, bootstrap over queries (10,000 "
        "draws), which treats queries as independent. The best layer is chosen on the same queries, so its advantage "
        "is a little too large."
    )
    write_tables(
        options,
        __file__,
        "VLAD of convolutional features",
        [*tables, Table("Paired differences", header, compared), same_kind(options)],
        note,
    )


def _parser() -> argparse.ArgumentParser:
    found = parser(__doc__, __file__, assignments=False)
    found.add_argument("covers", help="dvd:FOLDER")
    found.add_argument("--videos", action="append", default=[], help="labelled videos, as for training")
    found.add_argument("--learn-from", required=True, help="videos whose training split is learned from")
    found.add_argument("--network", action="append", default=[], help="BACKBONE=WEIGHTS of another network")
    return found


if __name__ == "__main__":
    run_command(main)
