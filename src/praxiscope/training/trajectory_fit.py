"""Fit a model to stored trajectories: what it learns from a sample of them, the vectors of the clips, and the fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.checkpoint import ModelCard
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError, DataError
from praxiscope.models import create_model
from praxiscope.models.contract import ScoresTrajectories
from praxiscope.models.names import keywords_of
from praxiscope.progress import Reporter
from praxiscope.training.feature_fit import Described, Fitted, fit_described
from praxiscope.trajectories.result import Trajectories, joined
from praxiscope.trajectories.store import StoredTrajectories
from praxiscope.types import VideoRecord

__all__ = ["build_on_trajectories", "drawn", "fit_to_trajectories"]


def build_on_trajectories(
    name: str, keywords: dict[str, Any], store: StoredTrajectories, manifest: Manifest
) -> tuple[Any, ModelCard]:
    """Build a model of trajectories that are extracted as those of a store.

    Args:
        name: of the model.
        keywords: of its builder, as given by the settings.
        store: the trajectories.
        manifest: the data set.
    """
    words = {**keywords, "num_classes": len(manifest.classes), "extraction": store.extraction.to_dict()}
    known = keywords_of(name)
    kwargs = {key: value for key, value in words.items() if key in known and value is not None}
    card = ModelCard(
        name=name,
        kwargs=kwargs,
        labels=manifest.classes,
        multi_label=manifest.multi_label,
        training={"step": 1, "epoch": 1},
    )
    return create_model(name, **kwargs).eval(), card


def fit_to_trajectories(
    model: ScoresTrajectories,
    card: ModelCard,
    store: StoredTrajectories,
    manifest: Manifest,
    *,
    scratch: Path,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Fitted:
    """Fit a model to the training clips of a data set that have trajectories.

    Args:
        model, card: from `build_on_trajectories`.
        store: the trajectories.
        manifest: the data set; only its training clips are used.
        scratch: folder of a temporary file, for more clips than fit into memory.
        seed: of the draw of trajectories, and of the fit.
        reporter: shows progress.

    Raises:
        ArgumentError, DataError: the model cannot be fitted to such data.
    """
    reporter = reporter or Reporter()
    records = [record for record in manifest.to_train() if record.id in store]
    model.learn(drawn(store, records, model.samples, seed, reporter), reporter=reporter)

    def score(x: Any) -> Tensor:
        with torch.inference_mode():
            return torch.cat([model.score(torch.from_numpy(np.array(row))[None]) for row in x]).clone()

    clips = Described(records, lambda record: model.describe(store.clip(record.id)), score)
    return fit_described(model, card, manifest, clips, scratch=scratch, seed=seed, reporter=reporter)


def drawn(
    store: StoredTrajectories, records: Sequence[VideoRecord], most: int, seed: int, reporter: Reporter
) -> Trajectories:
    """Trajectories of clips, drawn at random: about as many of each clip, and ``most`` in all.

    Raises:
        ArgumentError: there are no clips.
        DataError: they have no trajectories.
    """
    if not records:
        raise ArgumentError("there are no clips to draw trajectories from")
    each, rng = -(-most // len(records)), np.random.default_rng(seed)
    parts = []
    with reporter.bar("drawing trajectories", len(records)) as bar:
        for record in records:
            found = store.clip(record.id)
            parts.append(found.take(np.sort(rng.permutation(len(found))[:each])))
            bar.advance()
    found = joined(parts)
    if not len(found):
        raise DataError(
            f"{store.root}: no training clip has a trajectory: nothing moves in them, or they have fewer than "
            f"{store.extraction.settings.length + 1} frames."
        )
    return found.take(np.sort(rng.permutation(len(found))[:most]))
