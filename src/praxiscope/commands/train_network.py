"""Create the network of a training run, new or to be resumed."""

from __future__ import annotations

from pathlib import Path

import torch

from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.commands.fit_options import builder_keywords
from praxiscope.data.batch import mix_seeds
from praxiscope.data.manifest import Manifest
from praxiscope.data.splitlist import SplitList
from praxiscope.features.store import FeatureStore
from praxiscope.inference.loading import build_from_card
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.build_model import build_model
from praxiscope.training.checks import learns_on_features
from praxiscope.training.loader import flow_store, flow_teacher
from praxiscope.training.network import Network
from praxiscope.training.stored_rows import network_on_rows
from praxiscope.training.teacher import check_teacher

__all__ = ["build_network"]


def build_network(
    settings: TrainSettings, manifest: Manifest, reporter: Reporter, resumed: Path | None
) -> Network:
    """Create a network with its initial weights, or, for a resumed run, one whose weights are loaded later.

    Args:
        settings, manifest: of the run.
        reporter: reports which weights were loaded.
        resumed: the folder of a run that is resumed.

    Raises:
        ArgumentError, DataError, CheckpointError: the network cannot be built, or the data have changed.
    """
    # All processes must start from the same weights.
    torch.manual_seed(mix_seeds(settings.run.seed, 0))
    checkpoint = None if resumed is None else find_checkpoint(resumed, "last")
    card = None if checkpoint is None else load_card(checkpoint)
    if resumed is not None and card is not None:
        same = card.labels == manifest.classes and card.tasks == manifest.tasks
        SplitList(resumed).check_unchanged(manifest.records, manifest.name, classes=same)
    if learns_on_features(settings):
        stored = FeatureStore(settings.data.source)
        told = reporter if resumed is None else None
        return network_on_rows(settings, builder_keywords(settings), manifest, stored, told)
    store = flow_store(settings)
    if checkpoint is None or card is None:
        model, card = build_model(settings, manifest, reporter, store)
        teacher = flow_teacher(settings, model)
        card = card if teacher is None else teacher.on_card(card)
    else:
        model = build_from_card(card, checkpoint)
        teacher = flow_teacher(settings, model)
        if teacher is not None:
            check_teacher(card, teacher)
    return Network(model, card, store, teacher=teacher)
