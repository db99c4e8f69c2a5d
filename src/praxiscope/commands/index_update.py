"""Bring the blocks of a library up to date with its data.

Blocks are never changed: an update writes new ones, then replaces the list of those that count.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from praxiscope.checkpoint import write_json
from praxiscope.commands.index_items import Job, Made, encode_job, lost, marks
from praxiscope.commands.index_options import IndexOptions
from praxiscope.data.files import first_few
from praxiscope.data.skipped import write_skipped
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.store import FeatureStore
from praxiscope.jobs import run_jobs
from praxiscope.progress import Reporter
from praxiscope.retrieval.blocks import Block, Item, NewItem, read_block, write_block
from praxiscope.retrieval.encode_items import Reading
from praxiscope.retrieval.nearest import EXACT_UP_TO, KINDS, build_index, has_faiss
from praxiscope.retrieval.state import LIBRARY_FILE, State, block_path, digest_of_contract
from praxiscope.run_folder import SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["Update", "clean", "kind_of_search", "with_search", "without"]

_ITEMS = 16  # of a block that a process writes, so that little is lost when a run is killed
_MERGED_ROWS = 1 << 16  # rows from which a block is left alone
_SMALL = 8  # small blocks from which they are merged
_WORTH = 3  # blocks from which several processes are started


class Update:
    """An update of the items of one source.

    Args:
        root: the library.
        state: its content.
        name: of the data.
        records: what the data have now.
        options: see there.
        reporter: shows progress.
        store: a feature store from which the records are encoded; None to read their files.

    Raises:
        ArgumentError: the library has items of another source with the same ids.
    """

    def __init__(
        self,
        root: Path,
        state: State,
        name: str,
        records: Sequence[VideoRecord],
        options: IndexOptions,
        reporter: Reporter,
        store: FeatureStore | None = None,
    ) -> None:
        self._root, self._state, self._name = root, state, name
        self._options, self._reporter, self._store = options, reporter, store
        self._records = {record.id: record for record in records}
        self._marks = marks(records, store)
        self._old = [read_block(block_path(root, name)) for name in state.blocks]
        stored = {item.id: item for block in self._old for item in block.items}
        self._source = self._key(stored)
        self._own = {id for id, item in stored.items() if item.source == self._source}
        self._same = {id for id in self._own if self._marks.get(id) == stored[id].mark}
        self._skipped = {
            id: (problem, mark)
            for id, (problem, mark) in state.skipped.items()
            if id not in self._records or (not options.retry and self._marks[id] == mark)
        }
        self._new = {item.id for block in self._adopted() for item in block.items}

    def _key(self, stored: Mapping[str, Item]) -> str:
        """The key of the data: that of the same name, or of the same files, which have moved; or a new one."""
        keys = {name: key for key, name in self._state.sources.items()}
        own = keys.get(self._name, "")
        foreign = [id for id in self._records if id in stored and stored[id].source != own]
        others = {stored[id].source for id in foreign}
        moved = all(stored[id].mark == self._marks[id] for id in foreign)
        if len(others) == 1 and moved and not own:
            (key,) = others
            self._reporter.line(f"The items of {self._state.sources[key]} are now those of {self._name}.")
            return key
        if foreign:
            raise ArgumentError(
                f"{self._root}: has items of {self._state.sources[stored[foreign[0]].source]} with the same names "
                f"({first_few(foreign)}). Index the folder above both, or use another library."
            )
        return own or self._new_key()

    def _new_key(self) -> str:
        """A key that depends on the name, so that the blocks of an interrupted first run are found again."""
        text = self._name
        while (key := hashlib.sha256(text.encode()).hexdigest()[:8]) in self._state.sources:
            text += "+"
        return key

    def counts(self) -> dict[str, int]:
        """Number of items that were added, changed, removed and kept."""
        return {
            "added": len(self._new - self._own),
            "changed": len(self._new & self._own),
            "removed": len(self._own - self._same - self._new),
            "kept": len(self._same),
        }

    def _adopted(self) -> Iterator[Block]:
        """Blocks that an interrupted run has written, whose items are still wanted."""
        self._names: list[str] = []
        taken = set(self._same)
        for path in sorted((self._root / "blocks").glob("*.safetensors")):
            if path.name in self._state.blocks:
                continue
            try:
                block = read_block(path)
            except DataError:
                continue
            ids = {item.id for item in block.items}
            current = all(
                item.source == self._source and self._marks.get(item.id) == item.mark for item in block.items
            )
            if current and not ids & taken and block.encoder == self._encoder:
                taken |= ids
                self._names.append(path.name)
                yield block

    @property
    def _encoder(self) -> str:
        return digest_of_contract(self._state.contract, self._state.reading)

    def encode(self) -> None:
        """Encode all items that the library does not have."""
        known = self._same | self._new | self._skipped.keys()
        left = [record for id, record in self._records.items() if id not in known]
        if not left:
            return
        device = str(pick_device(self._options.device))
        first = Job(
            root=self._root,
            block="",
            records=(),
            source=(self._source, self._name),
            reading=Reading(**self._state.reading),
            encoder=self._encoder,
            device=device,
            thumbs=self._options.thumbs,
            store="" if self._store is None else str(self._store.root),
        )
        jobs = [
            replace(first, block=_new_name(), records=tuple(left[place : place + _ITEMS]))
            for place in range(0, len(left), _ITEMS)
        ]
        alone = device != "cpu" or len(jobs) < _WORTH
        workers = 1 if alone else self._options.workers or os.cpu_count() or 1
        lost_jobs = []
        for job, made in self._results(jobs, workers, len(left)):
            if made.lost:
                lost_jobs.append(job)
            self._take(job, made)
        for job in lost_jobs:
            self._one_by_one(job)

    def _take(self, job: Job, made: Made) -> None:
        if made.ids:
            self._names.append(job.block)
            self._new |= set(made.ids)
        for id, problem in made.skipped.items():
            self._reporter.line(f"Skipped: {problem}")
            self._skipped[id] = (problem, self._marks[id])

    def _results(self, jobs: Sequence[Job], workers: int, total: int) -> Iterator[tuple[Job, Made]]:
        shown = 0
        with self._reporter.bar("encoding", total) as bar:

            def watch(items: int, _: int) -> None:
                nonlocal shown
                bar.advance(items - shown)
                shown = items

            try:
                yield from run_jobs(encode_job, jobs, workers, lost=lost, watch=watch)
            except KeyboardInterrupt:
                self._reporter.line("Stopped. Run the same command to continue.")
                raise

    def _one_by_one(self, job: Job) -> None:
        """Encode the items of a job that killed its process, each in a process of its own."""
        singles = [replace(job, block=_new_name(), records=(record,)) for record in job.records]
        for single, made in run_jobs(encode_job, singles, 2, lost=lost):
            (record,) = single.records
            if made.lost:
                problem = f"{record.path}: the process that reads it crashes. Leave it out."
                made = Made(skipped={record.id: problem})
            self._take(single, made)

    def finish(self) -> State:
        """Make the new content that of the library.

        Raises:
            DataError: nothing could be read.
        """
        root = self._root
        write_skipped(root / SKIPPED_FILE, {id: problem for id, (problem, _) in self._skipped.items()})
        names = [*without(root, self._old, self._own - self._same), *self._names]
        if not names:
            raise DataError(
                f"none of the {counted(len(self._records), 'item')} could be read; see {root / SKIPPED_FILE}"
            )
        state = replace(
            self._state,
            blocks=tuple(_merged(root, names, self._encoder)),
            sources={**self._state.sources, self._source: self._name},
            skipped=self._skipped,
        )
        state = with_search(root, state, self._options.search, self._reporter)
        write_json(root / LIBRARY_FILE, state.to_dict())
        return state


def without(root: Path, blocks: Sequence[Block], gone: set[str]) -> tuple[str, ...]:
    """Names of blocks without some items; a block that has such items is written again without them."""
    names = []
    for block in blocks:
        stay = [number for number, item in enumerate(block.items) if item.id not in gone]
        if len(stay) == len(block.items):
            names.append(block.path.name)
        elif stay:
            names.append(_new_block(root, [block.take(number) for number in stay], block.encoder))
    return tuple(names)


def _merged(root: Path, names: Sequence[str], encoder: str) -> list[str]:
    """Join small blocks, so that a large library has few files."""
    sizes = {name: read_block(block_path(root, name)) for name in names}
    small = [name for name in names if len(sizes[name].vectors) < _MERGED_ROWS]
    if len(small) < _SMALL:
        return list(names)
    merged, waiting, rows = [name for name in names if name not in small], list[NewItem](), 0
    for name in small:
        block = sizes[name]
        waiting += [block.take(number) for number in range(len(block.items))]
        rows += len(block.vectors)
        if rows >= _MERGED_ROWS:
            merged.append(_new_block(root, waiting, encoder))
            waiting, rows = [], 0
    return [*merged, _new_block(root, waiting, encoder)] if waiting else merged


def _new_name() -> str:
    return f"{uuid.uuid4().hex}.safetensors"


def _new_block(root: Path, items: Sequence[NewItem], encoder: str) -> str:
    name = _new_name()
    write_block(block_path(root, name), items, encoder)
    return name


def with_search(root: Path, state: State, search: str, reporter: Reporter) -> State:
    """The state with an approximate index, if the library is large or one is asked for."""
    blocks = [read_block(block_path(root, name)).vectors for name in state.blocks]
    count = sum(map(len, blocks))
    kind = search
    if search == "auto":
        kind = "hnsw" if count > EXACT_UP_TO else "exact"
        if kind != "exact" and not has_faiss():
            reporter.line(
                f"Note: a search compares all {count:,} rows, since FAISS is not installed. Remedy: pip install "
                "'praxiscope[retrieval]', then the same command."
            )
            kind = "exact"
    if kind == "exact" or not count:
        return replace(state, index="")
    reporter.line(f"Building an index of {count:,} rows ({kind}).")
    return replace(state, index=build_index(root / "index", blocks, kind))


def kind_of_search(state: State) -> str:
    return next((kind for kind in KINDS if state.index.startswith(f"{kind}-")), "exact")


def clean(root: Path, state: State) -> None:
    """Remove files that no longer count."""
    for folder, names in (("blocks", state.blocks), ("index", (state.index,))):
        for path in (root / folder).glob("*"):
            if path.name not in names:
                path.unlink(missing_ok=True)
