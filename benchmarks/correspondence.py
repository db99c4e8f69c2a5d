"""How often the nearest patches of other images repeat, and whether they show the same object, by layer and scale.

`python benchmarks/correspondence.py dvd:COVERS`. Each DVD cover is photographed four times. The patches of some of the
300 images are searched in all others, the photographs of the same cover among them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Table, parser, run_command, write_tables
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.checkpoint import write_json
from praxiscope.explain.sheet import spread
from praxiscope.inference.frame_network import create_frame_network
from praxiscope.inference.network import TrainedNetwork
from praxiscope.progress import ConsoleReporter
from praxiscope.retrieval.encoder import LocalFeatures
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.patches import Grid, Images, NearestPatches, find_patches, middle_frame
from praxiscope.retrieval.sets import find_retrieval_set

BACKBONE = "efficientnet_lite0"
LAYERS, SIZES, NEIGHBOURS = ("blocks.2", "blocks.4", "blocks.6", "act2"), (224, 448), (1, 5)
PLACES = 7  # rows and columns of places at which all maps can be compared
DRAWS = 10_000
PAIRS = (
    ("last layer against a middle one, 224 pixels", "act2@224", "blocks.4@224"),
    ("last layer against a middle one, 448 pixels", "act2@448", "blocks.4@448"),
    ("last layer at 448 pixels against 224", "act2@448", "act2@224"),
    ("last layer at 448 pixels against a middle one at 224, both 14 x 14", "act2@448", "blocks.4@224"),
)


def measure(part: Part, options: argparse.Namespace, few: bool = False) -> list[dict[str, Any]]:
    """For each query and k what was found with a layer, from its file if it exists.

    Args:
        part: the layer.
        options: of the command.
        few: the map of every image has only the 7 x 7 places, so that all layers choose from as many patches.
    """
    path = options.out / f"{part}{'_few' * few}.json"
    if not path.is_file():
        found = find_retrieval_set(options.covers)
        data = Images([replace(one, labels=(Path(one.id).stem,)) for one in found.items])
        rows = nearest_of(part, data, spread(len(data.records), options.queries), few)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, rows)
    return json.loads(path.read_text(encoding="utf-8"))


def nearest_of(part: Part, data: Images, queries: Sequence[int], few: bool) -> list[dict[str, Any]]:
    """The rows of `measure`."""
    reporter, network = ConsoleReporter(), create_frame_network(BACKBONE)
    whole = LocalFeatures(TrainedNetwork(network.model, network.card), [part])

    def features(frames: Tensor) -> list[Tensor]:
        (maps,) = whole(frames)
        across = Grid.of(part, maps.shape[1]).across
        rows = at_places(maps.unflatten(1, (across, across)).movedim(0, 2)) if few else None
        return [maps if rows is None else rows.movedim(2, 0).flatten(1, 2)]

    local = [features(middle_frame(data.records[item])[None])[0][0] for item in queries]
    grid = Grid.of(part, len(local[0]))
    files = [data.files[item] for item in queries for _ in range(grid.across**2)]
    search = NearestPatches(torch.cat(local), files, max(NEIGHBOURS))
    with reporter.bar(f"searching {part}", len(data.records)) as bar:
        searched = find_patches(data, features, [search], bar.advance)
    nearest, rows = search.result(), []
    for number, item in enumerate(queries):
        own = nearest.of(slice(number * grid.across**2, (number + 1) * grid.across**2), max(NEIGHBOURS))
        winners = np.array(own.patches()).reshape(grid.across, grid.across, -1, 3)
        same = np.array([one.labels == data.records[item].labels for one in data.records])
        rows += [
            {
                "image": data.records[item].id,
                "neighbours": count,
                "across": grid.across,
                "side": grid.side,
                "searched": searched,
                "distinct": distinct(winners[:, :, :count]),
                "distinct_places": distinct(at_places(winners)[:, :, :count]),
                "same_label": float(same[winners[:, :, :count, 0]].mean()),
            }
            for count in NEIGHBOURS
        ]
    return rows


def distinct(winners: NDArray[np.int64]) -> float:
    """The share of different patches among those that were found, [rows, columns, k, 3]."""
    flat = winners.reshape(-1, 3)
    return len(np.unique(flat, axis=0)) / len(flat)


def at_places(rows: Any) -> Any:
    """Of a map of any size, [rows, columns, ...], the same 7 x 7 places of the image."""
    step = len(rows) // PLACES
    return rows[step // 2 :: step, step // 2 :: step]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean by the bootstrap over images."""
    array = np.asarray(values)
    means = array[np.random.default_rng(0).integers(0, len(array), (DRAWS, len(array)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def cell(values: Sequence[float], sign: str = "") -> str:
    """A mean with its interval."""
    return f"{np.mean(values):{sign}.3f} ({' to '.join(f'{edge:{sign}.3f}' for edge in interval(values))})"


def main() -> None:
    """Measure, and write the tables."""
    options = _parser().parse_args()
    parts = [Part(layer, size) for size in SIZES for layer in LAYERS]
    whole, few = ({str(one): measure(one, options, kind) for one in parts} for kind in (False, True))

    def values(layer: str, column: str, count: int = 1) -> list[float]:
        rows = few[layer] if column == "few" else whole[layer]
        return [row["distinct" if column == "few" else column] for row in rows if row["neighbours"] == count]

    rows = [
        [
            layer,
            f"{own[0]['across']} x {own[0]['across']} of {own[0]['side']} pixels",
            cell(values(layer, "distinct")),
            f"{np.mean(values(layer, 'distinct', 5)):.3f}",
            cell(values(layer, "distinct_places")),
            cell(values(layer, "few")),
            cell(values(layer, "same_label")),
            f"{np.mean(values(layer, 'same_label', 5)):.3f}",
        ]
        for layer, own in whole.items()
    ]
    columns = ("distinct", "distinct_places", "few", "same_label")
    names = ("distinct, 1", "at 7 x 7 places, 1", "7 x 7 places in 7 x 7, 1", "same object, 1")
    header = ("layer", "patches", names[0], "distinct, 5", *names[1:], "same object, 5")
    compared = [
        [text, *(cell(np.subtract(values(a, one), values(b, one)).tolist(), "+") for one in columns)]
        for text, a, b in PAIRS
    ]
    (searched,) = {row["searched"] for own in whole.values() for row in own}
    (queries,) = {len(own) // len(NEIGHBOURS) for own in whole.values()}
    note = (
        "Distinct: different patches among the nearest ones of all places of an image, as a share of these; 1 and 5 "
        "are the numbers of nearest patches of each place. At 7 x 7 places: the same 49 places of the image for every "
        "map, searched in whole maps. 7 x 7 places in 7 x 7: the other images have only these places, too, so that all "
        "layers choose from as many patches. Same object: share of the nearest patches that are of the cover or its "
        f"photographs, all places; by chance {4 / (searched - 1):.3f}. Intervals: 95 %, bootstrap over images (10,000 "
        "draws)."
    )
    heading = f"DVD covers, {BACKBONE}: {queries} images, searched in {searched}"
    tables = [Table(heading, header, rows), Table("Paired differences", ("comparison", *names), compared)]
    write_tables(options, __file__, "Nearest patches of other images", tables, note)


def _parser() -> argparse.ArgumentParser:
    found = parser(__doc__, __file__, assignments=False)
    found.add_argument("covers", help="dvd:FOLDER")
    found.add_argument("--queries", type=int, default=30, help="images whose patches are searched")
    return found


if __name__ == "__main__":
    run_command(main)
