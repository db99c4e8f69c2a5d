"""Options of ``praxiscope train`` for models that are trained on a feature store, checked without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from praxiscope.commands.fit_options import check_against_store, settings_of_store
from praxiscope.errors import ArgumentError
from praxiscope.features.store import read_store_file
from praxiscope.recipes.settings import TrainSettings

__all__ = ["resolve_rows"]

_USED = (
    "model.",  # checked against the features or by the builder
    "data.source",
    "data.split",
    "data.annotations",
    "data.test_fraction",
    "data.validation",
    "data.sampling",
    "data.workers",
    "data.class_weights",
    "data.max_skip",
    "data.allow_one_class",
    "data.allow_no_test",
    "input.size",  # only to be compared with the store's
    "input.short_side",
    "input.snippets",
    "input.sampling",
    "optim.",
    "run.",
)
_OF_VIDEOS = (
    "model.snippets",
    "optim.probe",
    "optim.frozen_epochs",
    "optim.first_conv_lr_scale",
    "run.protocol",
)


def resolve_rows(settings: TrainSettings, given: Mapping[str, str]) -> TrainSettings:
    """The settings of a run on stored features: what the features decide is theirs.

    Args:
        settings: from the recipe and the options.
        given: the options that the user gave, by the ``section.key`` that they set, as the user wrote them.

    Raises:
        ArgumentError: an option has no meaning for stored features, or contradicts them; then the message shows both.
    """
    source = settings.data.source
    for key, option in given.items():
        if not key.startswith(_USED) or key in _OF_VIDEOS:
            raise ArgumentError(
                f"{option}: {settings.model.name} is trained on the features of {source}, for which this has no "
                "meaning. Leave it out, or give the videos."
            )
    contract, _ = read_store_file(Path(source))
    check_against_store(settings, contract, given)
    changes: dict[str, Any] = settings_of_store(settings.model.name, contract)
    changes |= {"model.pretrained": False, "backprop.name": "full"}
    if "input.snippets" not in given and (frames := contract.sampling.get("frames")):
        changes["input.snippets"] = frames
    return settings.updated(changes)
