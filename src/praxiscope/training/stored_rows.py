"""Training on stored features: the rows of a feature store take the place of the frames of videos.

S rows of a training example, D features, h rows and w columns of a map, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from praxiscope.checkpoint import ModelCard
from praxiscope.data.batch import mix_seeds
from praxiscope.data.dataset import Skip, TrainingClips, collate
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError
from praxiscope.features.store import FeatureStore
from praxiscope.inference.extract import weights_digest
from praxiscope.inference.frame_network import check_network, load_frame_network
from praxiscope.inference.stored import frame_features
from praxiscope.models.contract import LearnsFromFeatures
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.expansion import expand
from praxiscope.training.feature_fit import build_on_features, frames_per_video
from praxiscope.training.loader import epoch_batches, sample_snippets, targets_of
from praxiscope.training.network import Network
from praxiscope.training.over_rows import STREAM, StoredRows, freeze_network
from praxiscope.types import Clip, VideoRecord

__all__ = ["RowReader", "network_on_rows", "row_loader", "rows_lacking"]

_CLOSE = 1e-3


class RowReader:
    """Reads clips of stored rows, as `praxiscope.data.dataset.ClipReader` reads those of frames.

    Args:
        records: the videos.
        targets: one tensor per record: int64 [] or multi-hot float32 [K].
        rows: the stored features.
        sampler: (number of rows, generator) -> int64 numbers of rows.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        rows: StoredRows,
        sampler: Callable[[int, torch.Generator | None], Tensor],
    ) -> None:
        self.records, self.targets = list(records), list(targets)
        self.rows, self.sampler = rows, sampler

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, seed: int = 0) -> Clip:
        """The rows of one clip for one step. Raises DataError if the store has none."""
        record, generator = self.records[index], torch.Generator().manual_seed(seed)
        features = frame_features(
            self.rows.store,
            record.id,
            maps=self.rows.maps,
            choose=lambda count: self.sampler(count, generator),
        )
        return Clip({STREAM: features}, self.targets[index], record.id, mix_seeds(seed, 1))


def row_loader(
    settings: TrainSettings,
    manifest: Manifest,
    records: Sequence[VideoRecord],
    fabric: Any,
    rows: StoredRows,
) -> Callable[[int, int], Iterator[Any]]:
    """As `praxiscope.training.loader.epoch_loader`, for stored features."""
    wanted = settings.input
    sampler = partial(sample_snippets, snippets=wanted.snippets, length=1, window=wanted.sampling == "window")
    clips = TrainingClips(RowReader(records, targets_of(manifest, records), rows, sampler))
    labels = [manifest.numbers(record) for record in records]
    return epoch_batches(settings, labels, fabric, lambda epoch: clips, lambda: collate)


def rows_lacking(records: Sequence[VideoRecord], store: FeatureStore) -> list[Skip]:
    """The videos without features, with the reason."""
    return [
        Skip(r.id, store.skipped.get(r.id, f"{r.id}: has no features in {store.root}"))
        for r in records
        if r.id not in store
    ]


def network_on_rows(
    settings: TrainSettings,
    keywords: Mapping[str, Any],
    manifest: Manifest,
    store: FeatureStore,
    reporter: Reporter | None = None,
) -> Network:
    """Build a model whose network is that of a feature store, and which learns from its rows.

    Args:
        settings: settings of the run.
        keywords: of the builder; the features decide the others.
        manifest: the videos and classes to train on.
        store: the features.
        reporter: is told what a network that starts from a run (``model.start``) takes of it. None: for a resumed run,
            which loads its own weights.

    Raises:
        ArgumentError: the model takes other features than the store holds, or another number of rows; or the run to
            start from has another network of the frames.
        CheckpointError: the network of the store is not that of the model.
    """
    check_network(store.network, store.contract)
    rate, wanted = store.contract.sampling.get("fps"), settings.input
    model, card = build_on_features(
        settings.model.name,
        dict(keywords),
        store,
        manifest,
        interface=LearnsFromFeatures,
        frames=None if rate is None else wanted.snippets,
    )
    sampling = "window" if wanted.sampling == "window" else "segments"
    card = replace(card, training={}, input=replace(card.input, fps=rate, sampling=sampling))
    rows = StoredRows(store, maps=_check_features(model, card, store))
    _check_counts(model, card, rows, wanted.snippets)
    if settings.model.start and reporter is not None:
        _start_from(settings.model.start[0], model, settings, manifest, store, reporter)
    freeze_network(model)
    return Network(model, card, rows=rows)


def _start_from(
    run: str, model: Any, settings: TrainSettings, manifest: Manifest, store: FeatureStore, reporter: Reporter
) -> None:
    """Load the weights of a run of the same model, whose network of the frames must be that of the features."""
    line = expand(settings.model.name, model, run, manifest.classes, None)
    if weights_digest(model) != store.contract.weights:
        raise ArgumentError(
            f"--from {run}: its network of the frames is not that of the features in {store.root}. Compute its own: "
            f"praxiscope features DATA --backbone {run}, or give the videos."
        )
    reporter.line(line)


@torch.inference_mode()
def _check_features(model: Any, card: ModelCard, store: FeatureStore) -> bool:
    """Compare what a model takes of a frame with what the store holds, on one frame. Returns whether it takes maps.

    Raises:
        ArgumentError: they differ.
    """
    given, contract = store.contract, card.input
    drawn = torch.Generator().manual_seed(0)
    frame = torch.rand(1, 1, contract.channels, contract.size, contract.size, generator=drawn)
    wanted = model.features(frame)[0, 0]
    network = load_frame_network(store.network, precision="32").model
    layers = () if given.layer is None else (given.layer,)
    output = network(frame, maps=layers)
    found = output.features[0, 0] if given.layer is None else output.maps[given.layer][0, 0]
    if found.dim() == 3 and (given.pool == "space" or wanted.dim() == 1):
        found = found.flatten(1).mean(1)
    close = _CLOSE * float(found.abs().max())
    if wanted.shape == found.shape and torch.allclose(wanted, found, rtol=_CLOSE, atol=close):
        return wanted.dim() == 3
    remedy = "Compute others with praxiscope features"
    if wanted.dim() == 3:
        remedy += f" DATA --layer {model.layer_names()[-1]} --pool none"
    layer = given.layer or "the input of the classifier"
    raise ArgumentError(
        f"{card.name} takes {_shown(wanted)} of each frame, but {store.root} holds {_shown(found)} of {layer} "
        f"({given}). {remedy}, or give the videos."
    )


def _shown(x: Tensor) -> str:
    return f"{len(x)} features" if x.dim() == 1 else f"maps of {'x'.join(map(str, x.shape))}"


@torch.inference_mode()
def _check_counts(model: Any, card: ModelCard, rows: StoredRows, snippets: int) -> None:
    """Raise ArgumentError if a model cannot score as many rows as training and tests give it."""
    counts = [(snippets, "input.snippets")]
    if card.input.fps is None:  # otherwise a test takes windows, if the model cannot take all rows
        counts.insert(0, (frames_per_video(rows.store), "a clip"))
    for count, where in counts:
        try:
            model.score(torch.zeros(1, count, *rows.shape))
        except ArgumentError as error:
            raise ArgumentError(
                f"{card.name} on {rows.store.root}: cannot take the {count} rows of {where}: {error}"
            ) from error
