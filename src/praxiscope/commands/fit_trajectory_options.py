"""Options of ``praxiscope train`` for models that are fitted to trajectories, checked without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from praxiscope.commands.fit_options import check_unchanged
from praxiscope.data.manifest import find_data
from praxiscope.errors import ArgumentError
from praxiscope.models.names import check_keywords
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import check_folder, model_keywords
from praxiscope.trajectories.opencv import opencv
from praxiscope.trajectories.store import StoredTrajectories, is_trajectories

__all__ = ["check_trajectory_fit", "is_trajectories", "resolve_trajectory_fit"]

_USED = (
    "model.name",
    "data.source",
    "data.split",
    "data.annotations",
    "data.test_fraction",
    "data.workers",
    "data.max_skip",
    "data.allow_one_class",
    "data.allow_no_test",
    "run.seed",
)
_NOT_OF_TRAJECTORIES = ("extraction", "backbone", "pretrained", "weights", "start", "stream")


def resolve_trajectory_fit(settings: TrainSettings, given: Mapping[str, str]) -> TrainSettings:
    """The settings of a fit to trajectories.

    Args:
        settings: from the recipe and the options.
        given: the options that the user gave, by the ``section.key`` that they set, as the user wrote them.

    Raises:
        ArgumentError: an option has no meaning for it.
    """
    if settings.data.tasks is not None:
        raise ArgumentError(f"{settings.model.name} learns from one data set; give it as DATA.")
    for key, option in given.items():
        section, _, name = key.partition(".")
        if key not in _USED and (section != "model" or name in _NOT_OF_TRAJECTORIES):
            raise ArgumentError(
                f"{option}: {settings.model.name} is fitted to trajectories, for which this has no meaning. Leave it "
                "out."
            )
    return settings.updated({"model.pretrained": None})


def check_trajectory_fit(settings: TrainSettings, out: str | Path, resume: bool = False) -> None:
    """Check the model, the data and the folder of a run that fits a model to trajectories.

    Raises:
        ArgumentError, DataError: an argument or the data cannot be used.
    """
    check_folder(Path(out), resume)
    if resume:
        check_unchanged(Path(out), settings)
    check_keywords(settings.model.name, model_keywords(settings.model))
    source = settings.data.source
    find_data(source, settings.data.split, settings.data.annotations)
    if is_trajectories(source):
        StoredTrajectories(source)  # raises if it cannot be read
    else:
        opencv()
