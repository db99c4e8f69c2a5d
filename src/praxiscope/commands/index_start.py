"""Begin a library: the network, and what is learned for its encoder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from praxiscope.checkpoint import write_json
from praxiscope.commands.index_items import forget_encoder, found_items
from praxiscope.commands.index_options import IndexOptions
from praxiscope.devices import pick_device
from praxiscope.errors import DataError
from praxiscope.features.store import FeatureStore, is_store
from praxiscope.inference.frame_network import (
    FrameNetwork,
    create_frame_network,
    load_frame_network,
    save_frame_network,
)
from praxiscope.inference.network import TrainedNetwork
from praxiscope.progress import Reporter
from praxiscope.retrieval.encode_items import Reading
from praxiscope.retrieval.encoder import NETWORK, Encoder, Framing, LocalFeatures, save_encoder
from praxiscope.retrieval.learning import learn_encoder
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.reading import all_frames
from praxiscope.retrieval.state import ENCODER, LIBRARY_FILE, State, read_state
from praxiscope.retrieval.stored import check_encoder, check_maps, part_of, stored_local
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["Start", "open_maps"]

_LEARN_FRAMES = 2000  # frames from which an encoder is learned
_MOST_FRAMES = 25  # of one item
_ITEMS_PER_DIMENSION = 8  # from which on PCA whitens: frames of one video are alike

_Pass: TypeAlias = Callable[[], Iterator[list[Tensor]]]


def open_maps(data: str | Path) -> FeatureStore | None:
    """The feature store that data are, or None.

    Raises:
        DataError: it is not finished or damaged.
        ArgumentError: its features are no maps of RGB frames.
    """
    if not is_store(data):
        return None
    store = FeatureStore(data)
    check_maps(store.contract, str(data))
    return store


@dataclass(frozen=True)
class Start:
    """What a new library begins with, checked before its folder is made.

    Attributes:
        reading: how videos are read.
        network: the network, and the local features that it gives; None with the encoder of another library.
        features: see ``network``.
        records, name: the data from which its encoder is learned.
        store: their maps; None to read their files.
    """

    reading: Reading
    network: FrameNetwork | None = None
    features: LocalFeatures | None = None
    records: Sequence[VideoRecord] = ()
    name: str = ""
    store: FeatureStore | None = None

    @staticmethod
    def of(
        records: Sequence[VideoRecord],
        data: str,
        store: FeatureStore | None,
        options: IndexOptions,
        reporter: Reporter,
    ) -> Start:
        """Check the options for data.

        Args:
            records, data: what is indexed, and its name.
            store: maps of it; then the network, the layer and the frames are those of the store.
            options: of the library.
            reporter: tells of the weights.
        """
        if options.encoder is not None:
            known = read_state(Path(options.encoder))
            if store is not None:
                check_encoder(known.contract, known.reading, store.contract, data)
                return Start(Reading(**known.reading))
            return Start(options.reading)
        reading, framing, learn_from = options.reading, "warp", store
        if store is None:
            network = create_frame_network(options.backbone, weights=options.weights)
            parts = [Part.parse(text) for text in options.layers]
        else:
            loaded = load_frame_network(store.network)
            network = FrameNetwork(loaded.model, loaded.card, f"Network of {data}.")
            parts, framing = [part_of(store.contract)], "center"
            reading = replace(reading, sampling=store.contract.sampling)
        if options.learn_from is not None:
            data, learn_from = options.learn_from, None
            records = found_items(data, frame_folders=options.frame_folders)
            if store is not None and is_store(data):
                learn_from = FeatureStore(data)
                learn_from.contract.check_same(store.contract, data)
        reporter.line(network.note)
        trained = TrainedNetwork(network.model, network.card, device=pick_device(options.device))
        chosen: Framing = "center" if framing == "center" else "warp"
        return Start(
            reading, network, LocalFeatures(trained, parts, chosen), records, Path(data).name, learn_from
        )

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
            encoder = self._learned(self.features, options, reporter)
            self.network.model.to("cpu")
            save_encoder(root / ENCODER, encoder)
            save_frame_network(root / ENCODER / NETWORK, self.network)
            contract = encoder.contract()
        forget_encoder()
        state = State(contract, self.reading.to_dict(), made_with=options.made_with())
        write_json(root / LIBRARY_FILE, state.to_dict())
        return state

    def _learned(self, features: LocalFeatures, options: IndexOptions, reporter: Reporter) -> Encoder:
        """Learn an encoder from a few frames of many items."""
        records = (
            self.records if self.store is None else [one for one in self.records if one.id in self.store]
        )
        each = min(_MOST_FRAMES, max(1, -(-_LEARN_FRAMES // max(1, len(records)))))
        step = max(1, len(records) // _LEARN_FRAMES)
        count, local = self._passes(records[::step], each, features)
        learning = options.learning
        if learning.whiten and len(records) < _ITEMS_PER_DIMENSION * learning.dims:
            learning = replace(learning, whiten=False)
            reporter.line(
                f"Note: {counted(len(records), 'item')} are too few to whiten {learning.dims} dimensions, so PCA does "
                "not. Learn from more with --learn-from, or take the --encoder of another library."
            )
        if count <= learning.dims:
            learning = replace(learning, dims=count // 2)
            reporter.line(
                f"Note: {counted(count, 'frame')} are too few for more than {learning.dims} dimensions."
            )
        learned_from = f"{counted(count, 'frame')} of {self.name}"
        reporter.line(f"The encoder is learned from {learned_from}.")
        return learn_encoder(features, local, count, learning, learned_from=learned_from, reporter=reporter)

    def _passes(self, chosen: Sequence[VideoRecord], each: int, features: LocalFeatures) -> tuple[int, _Pass]:
        """The number of frames from which is learned, and passes over their local features."""
        if self.store is not None:
            store = self.store
            rows = {record.id: _evenly(store.lengths[record.id], each) for record in chosen}
            if not rows:
                raise DataError(f"{store.root}: has no features to learn from.")

            def stored() -> Iterator[list[Tensor]]:
                for id, numbers in rows.items():
                    for local, _ in stored_local(store, id, numbers):
                        yield [local]

            return sum(map(len, rows.values())), stored
        skipped: dict[str, str] = {}

        def frames() -> Iterator[Tensor]:
            for _, part in all_frames(chosen, {"frames": each}, skipped):
                yield part.pixels

        count = sum(len(part) for part in frames())
        if not count:
            raise DataError(
                f"{self.name}: none of {counted(len(chosen), 'item')} could be read: {next(iter(skipped.values()))}"
            )
        return count, lambda: map(features, frames())


def _evenly(rows: int, most: int) -> list[int]:
    """Numbers of at most so many rows, in the middles of equal parts."""
    count = min(rows, most)
    return [int((place + 0.5) * rows / count) for place in range(count)]
