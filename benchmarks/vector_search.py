"""Search in libraries of 10,000, 100,000 and 1,000,000 made vectors: building, size, memory, speed, recall, opening.

`python benchmarks/vector_search.py`. Vectors of 128 dimensions, 10 of each item, around 1,000 centres. Each row is
measured in a process of its own with one thread; finished ones are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Table, parser, run_command, write_tables

from praxiscope.checkpoint import write_json
from praxiscope.retrieval.blocks import Item, NewItem, write_block
from praxiscope.retrieval.library import Library
from praxiscope.retrieval.nearest import KINDS, build_index
from praxiscope.retrieval.state import LIBRARY_FILE, State, block_path

SIZES = (10_000, 100_000, 1_000_000)
DIMS, EACH, CENTRES, BLOCK = 128, 10, 1000, 65_530
SPREAD = 1.0  # length of the deviation from a centre, whose length is 1
QUERIES, TOP = 200, 10


def made(count: int, seed: int) -> torch.Tensor:
    """Vectors of length 1 around centres that are the same for each seed."""
    centres = torch.randn(CENTRES, DIMS, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(seed)
    near = torch.nn.functional.normalize(centres)[torch.randint(CENTRES, (count,), generator=draw)]
    away = torch.randn(count, DIMS, generator=draw) * SPREAD / DIMS**0.5
    return torch.nn.functional.normalize(near + away)


def make_library(root: Path, count: int) -> None:
    """Write the library without an index."""
    names = []
    for start in range(0, count, BLOCK):
        vectors = made(min(BLOCK, count - start), 1 + start)
        items = []
        for first in range(0, len(vectors), EACH):
            number = (start + first) // EACH
            item = Item(f"{number}.mp4", f"{number}.mp4", "made", str(number), "video", EACH)
            times = np.stack([np.arange(EACH), np.arange(EACH) + 2.0], 1)
            items.append(NewItem(item, vectors[first : first + EACH], times))
        names.append(f"{len(names):04}.safetensors")
        write_block(block_path(root, names[-1]), items, "made")
    state = State({"dims": DIMS}, {}, {"made": "/made"}, tuple(names))
    write_json(root / LIBRARY_FILE, state.to_dict())


def with_index(root: Path, kind: str) -> float:
    """Give a library an index of this kind; return the seconds that its building took."""
    content = json.loads((root / LIBRARY_FILE).read_text(encoding="utf-8"))
    began, name = time.perf_counter(), ""
    if kind != "exact":
        library = Library(root)
        name = build_index(root / "index", [block.vectors for block in library._blocks], kind)
    write_json(root / LIBRARY_FILE, {**content, "index": name})
    return time.perf_counter() - began


def resident() -> float:
    """Memory of this process now, without files that are mapped, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def measure(root: Path, expected: Path) -> dict[str, Any]:
    """Open a library, search it, and compare the rows with those of an exact search."""
    before, began = resident(), time.perf_counter()
    library = Library(root)
    library.search(made(1, -1)[0], TOP)
    opening, queries = time.perf_counter() - began, made(QUERIES, -2)
    began = time.perf_counter()
    for query in queries:
        library.search(query, TOP)
    seconds = time.perf_counter() - began
    rows = np.stack([library._nearest.search(query, TOP)[0].numpy() for query in queries])
    if not expected.is_file():
        np.save(expected, rows)
    recall = np.mean(
        [len({*a} & {*b}) / TOP for a, b in zip(rows.tolist(), np.load(expected).tolist(), strict=True)]
    )
    files = [path for path in (root / "index").glob("*") if path.name == library.state.index]
    return {
        "bytes": sum(path.stat().st_size for path in (root / "blocks").iterdir()),
        "index_bytes": sum(path.stat().st_size for path in files),
        "memory": resident() - before,
        "opening": opening,
        "rate": QUERIES / seconds,
        "recall": float(recall),
    }


def job(out: Path, count: int, kind: str) -> None:
    """One row, in a process of its own."""
    torch.set_num_threads(1)
    root = out / f"library_{count}"
    if not (root / LIBRARY_FILE).is_file():
        make_library(root, count)
    build = with_index(root, kind)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    words = [sys.executable, __file__, "--measure", str(root), "--out", str(out / f"exact_{count}.npy")]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    write_json(out / f"{count}_{kind}.json", {"build": build, "peak": peak, **found})


def main() -> None:
    """Measure what is missing, and write the table."""
    found = parser(__doc__, __file__, assignments=False)
    found.add_argument("--job", help=argparse.SUPPRESS)
    found.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = found.parse_args()
    if options.measure:
        torch.set_num_threads(1)
        print(json.dumps(measure(options.measure, options.out)))
        return
    if options.job:
        count, kind = options.job.split(",")
        job(options.out, int(count), kind)
        return
    rows = []
    for count in SIZES:
        for kind in KINDS:
            path = options.out / f"{count}_{kind}.json"
            if not path.is_file():
                words = [sys.executable, __file__, "--out", str(options.out), "--job", f"{count},{kind}"]
                subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            one = json.loads(path.read_text(encoding="utf-8"))
            rows.append(
                [
                    f"{count:,}",
                    kind,
                    "" if kind == "exact" else f"{one['build']:.1f}",
                    f"{one['bytes'] / 1e6:.0f}",
                    f"{one['index_bytes'] / 1e6:.0f}",
                    f"{one['memory']:.0f}",
                    f"{one['opening']:.2f}",
                    f"{one['rate']:.0f}",
                    f"{one['recall']:.3f}",
                ]
            )
    header = (
        *("vectors", "search", "build, s", "blocks, MB", "index, MB", "memory, MB", "opening, s"),
        *("queries per second", f"recall@{TOP} of rows"),
    )
    note = (
        f"{EACH} vectors of each item, of {DIMS} dimensions, around {CENTRES:,} centres (made; the deviation from a "
        f"centre is as long as the centre). One thread. {QUERIES} queries of the same kind that are not in the "
        f"library, one at a time, {TOP} items each. Memory: of the process after the queries, without mapped files, "
        "more than before "
        "opening. Opening: the list of items, and a first search, with the files in the page cache."
    )
    write_tables(options, __file__, "Search in large libraries", [Table("", header, rows)], note)


if __name__ == "__main__":
    run_command(main)
