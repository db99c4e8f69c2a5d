"""Fit a model to stored features: the network of the store, what its clips are described by, and the fit.

n training clips, P features of a clip, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from praxiscope.checkpoint import ModelCard, load_card
from praxiscope.data.manifest import Manifest
from praxiscope.data.splitlist import Learned, trained_on
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.calibration import calibrate
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.scores import Scores
from praxiscope.features.contract import VIEWS
from praxiscope.features.store import FeatureStore
from praxiscope.inference.stored import frame_features, takes_maps
from praxiscope.models import create_model
from praxiscope.models.contract import FitsFeatures, LearnsWords
from praxiscope.models.names import keywords_of, learns_of
from praxiscope.models.weights import load_weights
from praxiscope.progress import Reporter
from praxiscope.steps import make_loss
from praxiscope.training.loader import targets_of
from praxiscope.types import VideoRecord

__all__ = ["Described", "Fitted", "build_on_features", "fit_described", "fit_to_store", "frames_per_video"]

_IN_MEMORY = 1 << 28
"""Bytes of descriptions that are kept in memory; more are mapped from a file."""

_FRAMES = 25


class Fitted(NamedTuple):
    """A fitted model.

    card: its card, with the calibration by held-out clips.
    row: figures for the run's log: ``top1`` or ``map`` and ``loss`` of the training clips, and, with ``val_``, of clips
        that were held out in turn, each scored by a fit without its group; and what the model reports.
        What the fit chose by the same scores, as l2, makes them slightly too good.
    lines: what the model reports.
    held_out: number of clips that were held out in turn, without those that the network was trained on.
    learned: number of training clips that the network of the features was trained on.
    held_out_scores: their scores; None without such clips, or if a clip has several labels of which one is learned at a
        time.
    seconds: that describing and fitting took.
    """

    card: ModelCard
    row: dict[str, float]
    lines: list[str]
    held_out: int
    learned: int
    held_out_scores: Scores | None
    seconds: float


class Described(NamedTuple):
    """Training clips that are each described by one vector.

    records: the clips.
    describe: returns the vector of a clip, [P].
    score: returns the scores of all clips by the fitted model, [n, K], from their vectors [n, P].
    known: contains the clips that a network was trained on before.
    """

    records: Sequence[VideoRecord]
    describe: Callable[[VideoRecord], Tensor]
    score: Callable[[Any], Tensor]
    known: Learned = Learned()


def frames_per_video(store: FeatureStore) -> int:
    """The number of frames by which a model on these features scores a video: as many as the store has; 25 if that
    depends on the length of the video."""
    return int(store.contract.sampling.get("frames", _FRAMES))


def build_on_features(
    name: str,
    keywords: dict[str, Any],
    store: FeatureStore,
    manifest: Manifest,
    interface: type[Any] = FitsFeatures,
    frames: int | None = None,
) -> tuple[Any, ModelCard]:
    """Build a model with the network of a feature store.

    Args:
        name: of a model that learns from features.
        keywords: of its builder, as given by the settings.
        store: the features.
        manifest: the data set.
        interface: that the model must have.
        frames: by which it scores a video, if it has a fixed number. None: as many as the store has.

    Raises:
        ArgumentError: the model does not have the interface (`praxiscope.models.contract`), or not the
            store's number of features.
        CheckpointError: the network of the store is not that of the model.
    """
    contract, network = store.contract, load_card(store.network)
    frames = frames or frames_per_video(store)
    kwargs = {
        **keywords,
        "num_classes": len(manifest.classes),
        "backbone": network.kwargs.get("backbone"),
        "stream": contract.stream,
        "in_channels": network.input.channels,
        "layer": contract.layer,
        "pool": contract.pool,
        "frames": frames,
        "snippets": frames,
        "input_size": network.kwargs.get("input_size"),
    }
    known = keywords_of(name)
    kwargs = {
        key: value
        for key, value in kwargs.items()
        if key in known and key != "pretrained" and value is not None
    }
    model: Any = create_model(name, **kwargs)
    if not isinstance(model, interface):
        raise ArgumentError(
            f"model {name!r}: is registered with learns={learns_of(name)!r}, but lacks methods of "
            f"praxiscope.models.contract.{interface.__name__}."
        )
    video_model: Any = model
    load_weights(video_model, store.network)
    flip = contract.views != VIEWS["center"]
    card = ModelCard(
        name=name,
        kwargs=kwargs,
        labels=manifest.classes,
        multi_label=manifest.multi_label,
        input=replace(network.input, snippets=frames, flip=flip),
        training={"step": 1, "epoch": 1},
        features=contract.to_dict(),
    )
    return video_model.eval(), card


def fit_to_store(
    model: FitsFeatures,
    card: ModelCard,
    store: FeatureStore,
    manifest: Manifest,
    *,
    scratch: Path,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Fitted:
    """Fit a model to the training clips of a data set that have features.

    Args:
        model, card: from `build_on_features`.
        store: the features.
        manifest: the data set; only its training clips are used.
        scratch: folder of a temporary file, for more clips than fit into memory.
        seed: of the fit.
        reporter: shows progress.

    Raises:
        ArgumentError: the model cannot be fitted to such data.
    """
    records = [record for record in manifest.to_train() if record.id in store]
    maps = len(store.contract.shape) == 3 and takes_maps(model, card)
    reporter = reporter or Reporter()

    def features(record: VideoRecord) -> Tensor:
        return frame_features(store, record.id, maps=maps)

    def score(x: Any) -> Tensor:
        with torch.inference_mode():
            return torch.cat([model.score(features(record)[None]).logits for record in records]).clone()

    if isinstance(model, LearnsWords):
        model.learn(_drawn(model, features, records, seed, reporter), seed)
    clips = Described(
        records, lambda record: model.describe(features(record)), score, trained_on(store.network)
    )
    return fit_described(model, card, manifest, clips, scratch=scratch, seed=seed, reporter=reporter)


def fit_described(
    model: Any,
    card: ModelCard,
    manifest: Manifest,
    clips: Described,
    *,
    scratch: Path,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Fitted:
    """Fit a model to clips that are each described by one vector.

    Args:
        model, card: with the method ``fit`` of `praxiscope.models.contract.FitsFeatures`.
        manifest: the data set.
        clips: its training clips.
        scratch: folder of a temporary file, for more clips than fit into memory.
        seed: of the fit.
        reporter: shows progress.
    """
    started = time.perf_counter()
    records = clips.records
    targets = torch.stack(targets_of(manifest, records))
    groups = [record.source for record in records]
    path = scratch / "described.tmp"
    try:
        x = _describe(clips, path, reporter or Reporter())
        report = model.fit(x, targets, groups, seed)
        scores = clips.score(x)
    finally:
        path.unlink(missing_ok=True)
    row: dict[str, float] = {"step": 1, "epoch": 1, **_figures("", scores, targets, card)}
    learned = torch.tensor([record in clips.known for record in records])
    held_out = torch.isfinite(report.held_out_logits).all(1) & ~learned
    calibration: dict[str, Any] = {}
    kept: Scores | None = None
    if held_out.any():
        logits, truth = report.held_out_logits[held_out], targets[held_out]
        row |= _figures("val_", logits, truth, card)
        calibration = calibrate(
            logits.numpy(), truth.numpy(), source="held-out training groups", multi_label=card.multi_label
        )
        ids = [records[place].id for place in held_out.nonzero().flatten().tolist()]
        if len(set(ids)) == len(ids):
            kept = Scores(ids, logits.numpy(), truth.numpy(), list(card.labels))
    figures = {
        f"held_out_training_groups_{name.removeprefix('val_')}": value
        for name, value in row.items()
        if name.startswith("val_")
    }
    card = replace(card, metrics=figures, calibration=calibration)
    seconds = time.perf_counter() - started
    numbers = int(held_out.sum()), int(learned.sum())
    return Fitted(card, row | report.figures, list(report.lines), *numbers, kept, seconds)


def _describe(clips: Described, path: Path, reporter: Reporter) -> Any:
    """What the model describes each clip by, float32 [n, P]: in memory or, if it is large, mapped from a new file."""
    x: Any = None
    records = clips.records
    with reporter.bar("describing clips", len(records)) as bar, torch.inference_mode():
        for number, record in enumerate(records):
            described = clips.describe(record).float().numpy()
            if x is None:
                shape = (len(records), len(described))
                large = 4 * shape[0] * shape[1] > _IN_MEMORY
                x = np.memmap(path, np.float32, "w+", shape=shape) if large else np.empty(shape, np.float32)
            x[number] = described
            bar.advance()
    return x


def _drawn(
    model: LearnsWords,
    features: Callable[[VideoRecord], Tensor],
    records: Sequence[VideoRecord],
    seed: int,
    reporter: Reporter,
) -> Tensor:
    """Local features of clips, drawn at random: as many of each, float32 [N, D]."""
    each = -(-model.samples // max(1, len(records)))
    drawn, parts = torch.Generator().manual_seed(seed), []
    with reporter.bar("drawing local features", len(records)) as bar, torch.inference_mode():
        for record in records:
            local = model.local(features(record))
            parts.append(local[torch.randperm(len(local), generator=drawn)[:each]])
            bar.advance()
    return torch.cat(parts)[: model.samples].clone() if parts else torch.empty(0, 0)


def _figures(prefix: str, logits: Tensor, targets: Tensor, card: ModelCard) -> dict[str, float]:
    """Top-1 (or mean average precision) and loss of clips, as in validation."""
    ids = [str(number) for number in range(len(logits))]
    scores = Scores(ids, logits.numpy(), targets.numpy(), list(card.labels), {})
    name = "map" if card.multi_label else "top1"
    loss = float(make_loss(card.multi_label)(logits, targets))
    return {f"{prefix}{name}": float(summarise(scores)[name]), f"{prefix}loss": loss}
