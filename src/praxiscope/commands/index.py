"""Build and update libraries for retrieval."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from praxiscope.checkpoint import write_json
from praxiscope.commands.index_items import (
    forget_encoder,
    found_items,
    source_name,
)
from praxiscope.commands.index_options import IndexOptions, IndexSummary
from praxiscope.commands.index_update import Update, clean, kind_of_search, with_search, without
from praxiscope.commands.locking import locked, remove_parts
from praxiscope.data.skipped import check_skips
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.inference.frame_network import FrameNetwork, create_frame_network, save_frame_network
from praxiscope.inference.network import TrainedNetwork
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.retrieval.blocks import read_block
from praxiscope.retrieval.encoder import NETWORK, Encoder, LocalFeatures, save_encoder
from praxiscope.retrieval.learning import learn_encoder
from praxiscope.retrieval.library import Library
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.reading import all_frames
from praxiscope.retrieval.state import ENCODER, LIBRARY_FILE, State, block_path, is_library, read_state
from praxiscope.run_folder import SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["IndexOptions", "IndexSummary", "index", "remove_items"]

_LEARN_FRAMES = 2000  # frames from which an encoder is learned
_ITEMS_PER_DIMENSION = 8  # from which on PCA whitens: frames of one video are alike


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
        data: a folder of images and videos, a CSV, or LAYOUT:FOLDER.
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
    _check_folder(root)
    start = None if is_library(root) else _Start.of(records, str(data), options, reporter)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        remove_parts([root, root / "blocks", root / "index"])
        state = (
            read_state(root) if is_library(root) or start is None else start.begin(root, options, reporter)
        )
        update = Update(root, state, source_name(str(data)), records, options, reporter)
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


@dataclass(frozen=True)
class _Start:
    """What a new library begins with, checked before its folder is made.

    Attributes:
        records, name: the data from which its encoder is learned.
        network: the network, and the local features that it gives; None with the encoder of another library.
        features: see ``network``.
    """

    records: Sequence[VideoRecord] = ()
    name: str = ""
    network: FrameNetwork | None = None
    features: LocalFeatures | None = None

    @staticmethod
    def of(records: Sequence[VideoRecord], data: str, options: IndexOptions, reporter: Reporter) -> _Start:
        if options.encoder is not None:
            read_state(Path(options.encoder))
            return _Start()
        if options.learn_from is not None:
            data = options.learn_from
            records = found_items(data, frame_folders=options.frame_folders)
        network = create_frame_network(options.backbone, weights=options.weights)
        reporter.line(network.note)
        trained = TrainedNetwork(network.model, network.card, device=pick_device(options.device))
        features = LocalFeatures(trained, [Part.parse(text) for text in options.layers])
        return _Start(records, Path(data).name, network, features)

    def begin(self, root: Path, options: IndexOptions, reporter: Reporter) -> State:
        """Write the encoder and an empty list of blocks."""
        shutil.rmtree(root / ENCODER, ignore_errors=True)
        shutil.rmtree(root / "blocks", ignore_errors=True)
        if options.encoder is not None:
            contract = dict(read_state(Path(options.encoder)).contract)
            shutil.copytree(Path(options.encoder) / ENCODER, root / ENCODER)
        else:
            assert self.features is not None
            assert self.network is not None
            encoder = _learned(self.records, self.name, self.features, options, reporter)
            self.network.model.to("cpu")
            save_encoder(root / ENCODER, encoder)
            save_frame_network(root / ENCODER / NETWORK, self.network)
            contract = encoder.contract()
        forget_encoder()
        state = State(contract, options.reading.to_dict(), made_with=options.made_with())
        write_json(root / LIBRARY_FILE, state.to_dict())
        return state


def _learned(
    records: Sequence[VideoRecord],
    name: str,
    features: LocalFeatures,
    options: IndexOptions,
    reporter: Reporter,
) -> Encoder:
    """Learn an encoder from a few frames of many items."""
    each = max(1, -(-_LEARN_FRAMES // len(records)))
    step = max(1, len(records) // _LEARN_FRAMES)
    chosen, skipped = list(records)[::step], dict[str, str]()
    sampling = {"frames": min(each, 25)}

    def frames() -> Iterator[torch.Tensor]:
        for _, part in all_frames(chosen, sampling, skipped):
            yield part.pixels

    count = sum(len(part) for part in frames())
    if not count:
        raise DataError(
            f"{name}: none of {counted(len(chosen), 'item')} could be read: {next(iter(skipped.values()))}"
        )
    learning = options.learning
    if learning.whiten and len(records) < _ITEMS_PER_DIMENSION * learning.dims:
        learning = replace(learning, whiten=False)
        reporter.line(
            f"Note: {counted(len(records), 'item')} are too few to whiten {learning.dims} dimensions, so PCA does not. "
            "Learn from more with --learn-from, or take the --encoder of another library."
        )
    if count <= learning.dims:
        learning = replace(learning, dims=count // 2)
        reporter.line(
            f"Note: {counted(count, 'frame')} are too few for more than {learning.dims} dimensions."
        )
    learned_from = f"{counted(count, 'frame')} of {name}"
    reporter.line(f"The encoder is learned from {learned_from}.")
    return learn_encoder(features, frames, count, learning, learned_from=learned_from, reporter=reporter)
