"""Planted label errors: how many of them are among the first clips that `praxiscope check --labels` lists.

Only the training clips of the data are used. Some of them get another label, drawn at random; each seed draws others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import Table, parser, run_command, score_cells, write_tables
from stores import with_list

import praxiscope as px
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.progress import ConsoleReporter
from praxiscope.types import VideoRecord
from praxiscope.units import counted


def planted(manifest: Manifest, wrong: int, seed: int) -> tuple[list[VideoRecord], set[str]]:
    """Return the training clips, and the ids of those that have another label now."""
    draw = np.random.default_rng(seed)
    records = list(manifest.of("train"))
    chosen = draw.choice(len(records), wrong, replace=False)
    for number in chosen:
        others = [name for name in manifest.classes if name not in records[number].labels]
        records[number] = replace(records[number], labels=(str(draw.choice(others)),))
    return records, {records[number].id for number in chosen}


def main() -> None:
    """Check the labels once per seed, then write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", help="a data set with splits and groups, as for `praxiscope features`")
    arguments.add_argument("--split")
    arguments.add_argument("--annotations", type=Path)
    arguments.add_argument("--features", type=Path, help="its features, if they have been computed")
    arguments.add_argument("--wrong", type=int, default=10, help="labels to change")
    arguments.add_argument("--listed", type=int, default=20, help="clips of the list to look at")
    arguments.add_argument("--seeds", type=int, default=3)
    options = arguments.parse_args()
    data = {"split": options.split, "annotations": options.annotations}
    store = px.feature_store(
        options.data, options.features or options.out / "features", progress=ConsoleReporter(), **data
    )
    manifest = load_records(options.data, **data)
    rows, found, clips = [], [], len(manifest.of("train"))
    for seed in range(options.seeds):
        records, wrong = planted(manifest, options.wrong, seed)
        listed = with_list(store.root, options.out / f"seed{seed}", records, manifest.classes)
        trouble = px.check(labels=listed).label_trouble
        order = [suspect.record.id for suspect in trouble.suspects]
        hits = {count: len(wrong & set(order[:count])) for count in (options.wrong, options.listed)}
        found.append(hits[options.listed])
        last = max((order.index(name) + 1 for name in wrong & set(order)), default=None)
        rows.append([seed, *hits.values(), len(order), len(wrong & set(order)), last or ""])
    mean, spread, _ = score_cells(found, 1)
    chance = options.wrong * options.listed / clips
    header = [
        "seed",
        f"wrong labels among the first {options.wrong}",
        f"among the first {options.listed}",
        "clips listed",
        "wrong labels listed",
        "place of the last of these",
    ]
    write_tables(
        options,
        __file__,
        f"Planted label errors: {options.wrong} of {clips}",
        [Table("", header, rows)],
        f"{clips} training clips of {len(manifest.classes)} classes, features of {store.contract.backbone}, "
        f"{counted(options.seeds, 'seed')}. Among the first {options.listed}: {mean} of {options.wrong} on average"
        f"{f', sample standard deviation {spread}' if spread else ''}; in a random order it would be "
        f"{math.floor(10 * chance + 0.5) / 10}.",
    )


if __name__ == "__main__":
    run_command(main)
