"""Fit a model to stored features of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.commands.fit_options import builder_keywords, check_fit, feature_options
from praxiscope.data.manifest import Manifest
from praxiscope.data.splitlist import Learned, trained_on
from praxiscope.features.store import FeatureStore, is_store
from praxiscope.inference.frame_network import check_network
from praxiscope.models import create_model
from praxiscope.models.undrawn import Undrawn
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import FEATURES
from praxiscope.training.feature_fit import Fitted, build_on_features, fit_to_store

__all__ = ["FromFeatures"]


class FromFeatures:
    """See `praxiscope.commands.fit.FitSource`."""

    def check(self, settings: TrainSettings, folder: Path, resume: bool) -> None:
        """Check the settings."""
        check_fit(settings, folder, resume)
        own = {key: value for key, value in builder_keywords(settings).items() if key != "pretrained"}
        with Undrawn():  # the checks of the builder; the network itself is that of the features
            create_model(settings.model.name, **own, num_classes=2)

    def is_stored(self, path: str | Path) -> bool:
        """Whether a path is a feature store."""
        return is_store(path)

    def compute(self, settings: TrainSettings, folder: Path, reporter: Reporter) -> Path:
        """Compute features of the videos of a run."""
        options = FeatureOptions(**feature_options(settings))
        return features(settings.data.source, folder / FEATURES, options, reporter=reporter)

    def open(self, root: Path) -> FeatureStore:
        """A store whose network is the one of its contract."""
        store = FeatureStore(root)
        check_network(store.network, store.contract)
        return store

    def trained_on(self, stored: Any) -> Learned:
        """The videos that the network of the features was trained on."""
        return trained_on(stored.network)

    def fit(
        self, settings: TrainSettings, stored: Any, manifest: Manifest, scratch: Path, reporter: Reporter
    ) -> tuple[nn.Module, Fitted]:
        """Build and fit the model."""
        model, card = build_on_features(settings.model.name, builder_keywords(settings), stored, manifest)
        seed = settings.run.seed
        return model, fit_to_store(
            model, card, stored, manifest, scratch=scratch, seed=seed, reporter=reporter
        )
