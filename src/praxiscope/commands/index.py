"""Build and update libraries for retrieval."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from praxiscope.checkpoint import write_json
from praxiscope.commands.index_items import (
    found_items,
    source_name,
)
from praxiscope.commands.index_options import IndexOptions, IndexSummary
from praxiscope.commands.index_start import Start, open_maps
from praxiscope.commands.index_update import Update, clean, kind_of_search, with_search, without
from praxiscope.commands.locking import locked, remove_parts
from praxiscope.data.skipped import check_skips
from praxiscope.errors import ArgumentError, DataError
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.retrieval.blocks import read_block
from praxiscope.retrieval.library import Library
from praxiscope.retrieval.state import ENCODER, LIBRARY_FILE, block_path, is_library, read_state
from praxiscope.retrieval.stored import check_encoder
from praxiscope.run_folder import SKIPPED_FILE

__all__ = ["IndexOptions", "IndexSummary", "index", "remove_items"]


def index(
    data: str | Path,
    out: str | Path,
    options: IndexOptions | None = None,
    *,
    reporter: Reporter | None = None,
) -> IndexSummary:
    """Bring a library up to date with data: items that are new or have changed are encoded, items that the data no
    longer have are removed. Items of other data that were indexed before stay.

    An interrupted run continues where it stopped. Until it ends, the library is as it was before.

    Args:
        data: a folder of images and videos, a CSV, LAYOUT:FOLDER, or a feature store of maps, whose videos are not
            read again.
        out: folder of the library.
        options: of a new library; an existing one keeps its encoder and its reading.
        reporter: shows progress.

    Raises:
        ArgumentError: options that cannot be used.
        DataError: no item could be read, or the library is damaged.
        TrainingError: more than ``max_skip`` of the items cannot be read.
    """
    run_once()
    began = time.perf_counter()
    options, reporter, root = options or IndexOptions(), reporter or Reporter(), Path(out)
    records = found_items(
        str(data),
        annotations=options.annotations,
        split=options.split,
        frame_folders=options.frame_folders,
    )
    store = open_maps(data)
    _check_folder(root)
    if store is not None and is_library(root):
        known = read_state(root)
        check_encoder(known.contract, known.reading, store.contract, str(data))
    start = None if is_library(root) else Start.of(records, str(data), store, options, reporter)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        remove_parts([root, root / "blocks", root / "index"])
        state = (
            read_state(root) if is_library(root) or start is None else start.begin(root, options, reporter)
        )
        update = Update(root, state, source_name(str(data)), records, options, reporter, store)
        update.encode()
        state = update.finish()
        clean(root, state)
        library = Library(root)
    skipped = [record.id for record in records if record.id in state.skipped]
    check_skips(len(skipped), len(records), options.max_skip, root / SKIPPED_FILE)
    return IndexSummary(
        items=len(library),
        rows=library.rows,
        dims=library.dims,
        **update.counts(),
        skipped=len(skipped),
        search=kind_of_search(state),
        bytes=sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
        seconds=time.perf_counter() - began,
    )


def remove_items(out: str | Path, ids: Sequence[str], *, reporter: Reporter | None = None) -> int:
    """Remove items from a library by their ids, or all items of data by the name of the data. Returns their number.

    Raises:
        DataError: the library has none of one of them.
    """
    root, reporter = Path(out), reporter or Reporter()
    state = read_state(root)
    with locked(root):
        library = Library(root)
        names_given = {source_name(id) for id in ids}
        sources = {key for key, name in state.sources.items() if name in names_given}
        for id in ids:
            if id not in library and source_name(id) not in state.sources.values():
                raise DataError(f"{id}: is not in {root}")
        gone = {item.id for item in library.items if item.id in ids or item.source in sources}
        blocks = [read_block(block_path(root, name)) for name in state.blocks]
        names = without(root, blocks, gone)
        kept = {key: name for key, name in state.sources.items() if key not in sources}
        state = with_search(root, replace(state, blocks=names, sources=kept), "auto", reporter)
        write_json(root / LIBRARY_FILE, state.to_dict())
        clean(root, state)
    return len(gone)


def _check_folder(root: Path) -> None:
    if root.is_file():
        raise ArgumentError(f"{root}: is a file; give a folder.")
    known = {LIBRARY_FILE, ENCODER, "blocks", "index", SKIPPED_FILE, ".lock"}
    if root.is_dir() and not is_library(root) and any(path.name not in known for path in root.iterdir()):
        raise ArgumentError(f"{root}: is not empty and holds no library; choose another folder.")
