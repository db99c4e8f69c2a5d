"""The data of a training run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from praxiscope.data.held_out import clips_of_a_class, hold_out
from praxiscope.data.joined import join
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.split_checks import FEW_CLIPS
from praxiscope.features.store import is_store
from praxiscope.models.names import is_fitted, learns_of
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import TrainSettings

__all__ = ["choose_model", "few_clips", "load_data", "load_source"]


def load_source(settings: TrainSettings, source: TaskSource) -> Manifest:
    """List one data set of a run, with its splits as given, or drawn by the run's seed."""
    return load_records(
        source.source,
        split=source.split,
        annotations=Path(source.annotations) if source.annotations else None,
        seed=settings.run.seed,
        test_fraction=settings.data.test_fraction,
    )


def load_data(settings: TrainSettings) -> Manifest:
    """List the data set of a run, or several as one, with the validation part of the training videos.

    If there are few training videos, before some are held out, a note names a model for them.

    Raises:
        DataError, ArgumentError: as `praxiscope.data.manifest.load_records` does.
    """
    manifests = {name: load_source(settings, source) for name, source in settings.data.sources().items()}
    few = few_clips(manifests[""]) if settings.data.tasks is None else None
    made = {
        name: hold_out(manifest, settings.data.validation, settings.run.seed)
        for name, manifest in manifests.items()
    }
    if settings.data.tasks is not None:
        return join(made)
    if few is None or is_fitted(settings.model.name) or learns_of(settings.model.name) == "flow":
        return made[""]
    note = (
        f"half of the classes have fewer than {FEW_CLIPS} training clips. --model {few} is for few clips; "
        "--model auto chooses by their number."
    )
    return replace(made[""], notes=(*made[""].notes, note))


def choose_model(settings: TrainSettings) -> str:
    """The model that suits the number of training clips (``--model auto``).

    Returns:
        By the median over the classes: "prototypes" for one clip, "probe" for fewer than 5, else "tsn", or "probe"
        if the data are a feature store; "tsn" for several data sets.

    Raises:
        DataError, ArgumentError: as `praxiscope.data.manifest.load_records` does.
    """
    if settings.data.tasks is not None:
        return "tsn"
    (source,) = settings.data.sources().values()
    enough = "probe" if is_store(source.source) else "tsn"
    return few_clips(load_source(settings, source)) or enough


def few_clips(manifest: Manifest) -> str | None:
    """The model for a data set of few training clips; None if there are enough to train a network."""
    clips = clips_of_a_class(manifest)
    return "prototypes" if clips < 2 else "probe" if clips < FEW_CLIPS else None
