"""Fit a model to stored trajectories of videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from praxiscope.commands.fit_trajectory_options import check_trajectory_fit, is_trajectories
from praxiscope.commands.trajectories import trajectories
from praxiscope.data.manifest import Manifest
from praxiscope.data.splitlist import Learned, trained_on
from praxiscope.models import create_model
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import TRAJECTORIES
from praxiscope.training.checks import model_keywords
from praxiscope.training.feature_fit import Fitted
from praxiscope.training.trajectory_fit import build_on_trajectories, fit_to_trajectories
from praxiscope.trajectories.store import StoredTrajectories

__all__ = ["FromTrajectories"]


class FromTrajectories:
    """See `praxiscope.commands.fit.FitSource`."""

    def check(self, settings: TrainSettings, folder: Path, resume: bool) -> None:
        """Check the settings."""
        check_trajectory_fit(settings, folder, resume)
        create_model(settings.model.name, **model_keywords(settings.model), num_classes=2)  # its own checks

    def is_stored(self, path: str | Path) -> bool:
        """Whether a path is a folder of trajectories."""
        return is_trajectories(path)

    def compute(self, settings: TrainSettings, folder: Path, reporter: Reporter) -> Path:
        """Extract the trajectories of the videos of a run."""
        data, out = settings.data, folder / TRAJECTORIES
        trajectories(
            data.source,
            out,
            split=data.split,
            annotations=data.annotations,
            workers=max(1, data.workers),
            max_skip=data.max_skip,
            reporter=reporter,
        )
        return out

    def open(self, root: Path) -> StoredTrajectories:
        """The store."""
        return StoredTrajectories(root)

    def trained_on(self, stored: Any) -> Learned:
        """No network was trained before."""
        return trained_on()

    def fit(
        self, settings: TrainSettings, stored: Any, manifest: Manifest, scratch: Path, reporter: Reporter
    ) -> tuple[nn.Module, Fitted]:
        """Build and fit the model."""
        words: Mapping[str, Any] = model_keywords(settings.model)
        seed = settings.run.seed
        model, card = build_on_trajectories(settings.model.name, {"seed": seed, **words}, stored, manifest)
        return model, fit_to_trajectories(
            model, card, stored, manifest, scratch=scratch, seed=seed, reporter=reporter
        )
