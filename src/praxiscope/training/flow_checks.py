"""Checks of the training of a flow network before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from praxiscope.data.flow_samples import find_flow_data, is_flow_data
from praxiscope.data.manifest import find_data
from praxiscope.errors import ArgumentError
from praxiscope.training.checks import check_flow_folder, check_folder, check_network
from praxiscope.training.resuming import check_settings

if TYPE_CHECKING:
    from praxiscope.recipes.settings import TrainSettings

__all__ = ["check_flow_training"]


def check_flow_training(settings: TrainSettings, out: str | Path, resume: bool = False) -> None:
    """Check the model, the data and the folder of the training of a flow network.

    Raises:
        ArgumentError, DataError, CheckpointError: an argument, the data or a file cannot be used.
    """
    data, model = settings.data, settings.model
    check_folder(Path(out), resume)
    check_network(model)
    if resume:
        check_settings(Path(out), settings)
        return
    _check_meaning(settings)
    if data.tasks is not None:
        raise ArgumentError(f"{model.name} learns from one data set; give it as DATA.")
    if model.weights:
        raise ArgumentError(
            f"--weights {model.weights}: {model.name} starts from a run, with --from RUN, or from ImageNet weights, "
            "with --pretrained."
        )
    if is_flow_data(data.source):
        find_flow_data(data.source)
        if data.flow:
            raise ArgumentError(f"--flow {data.flow}: {data.source} has known flow. Leave it out.")
        return
    if not data.flow:
        found = Path(data.source).exists()
        raise ArgumentError(
            f"{data.source}: {'has no known flow' if found else 'no such data'}. {model.name} learns from frames with "
            "known flow (praxiscope dataset moving-shapes, or chairs:FOLDER, sintel:FOLDER, middlebury:FOLDER), or "
            "from videos with stored flow: --flow FOLDER, of praxiscope flow."
        )
    find_data(data.source, data.split, data.annotations)
    check_flow_folder(data.flow)


def _check_meaning(settings: TrainSettings) -> None:
    """Raise ArgumentError for settings that have no meaning without classes."""
    step, optim = settings.backprop.name, settings.optim
    if step not in ("full", "action-flow"):
        raise ArgumentError(
            f"backprop.name = {step}: {settings.model.name} learns flow alone. Leave it out; action-flow sets the "
            "weights of the resolutions."
        )
    unused = {
        "data.validation": settings.data.validation,
        "data.class_weights": settings.data.class_weights,
        "optim.frozen_epochs": optim.frozen_epochs,
        "optim.frozen_steps": optim.frozen_steps,
        "optim.label_smoothing": optim.label_smoothing,
        "optim.patience": optim.patience,
        "optim.probe": optim.probe,
    }
    for name, value in unused.items():
        if value:
            raise ArgumentError(
                f"{name} = {value}: {settings.model.name} learns flow, for which this has no meaning. Leave it out."
            )
