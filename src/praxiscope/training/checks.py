"""Checks of a training run before torch is imported: its folder, model, data, flow and start weights.

The parts of the run check their arguments again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint import read_pointer
from praxiscope.data.manifest import find_data
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.features.store import NETWORK, is_store
from praxiscope.models.installed_weights import (
    INSTALLED,
    has_installed_weights,
    install_command,
    not_installed,
)
from praxiscope.models.names import (
    backbones_of,
    check_backbone,
    check_keywords,
    default_stream,
    keywords_of,
    learns_of,
    list_models,
    parts_of,
    takes_flow_targets,
)
from praxiscope.recipes.settings import load_yaml
from praxiscope.run_folder import SETTINGS_FILE
from praxiscope.training.duration import length_of

if TYPE_CHECKING:
    from praxiscope.recipes.sections import ModelSettings
    from praxiscope.recipes.settings import TrainSettings

__all__ = [
    "check_flow_folder",
    "check_folder",
    "check_installed",
    "check_network",
    "check_start",
    "check_streams",
    "check_training",
    "flow_folders",
    "learns_on_features",
    "model_keywords",
    "note_on_start",
    "seen_streams",
    "starts_from_weights",
    "starts_of",
    "starts_pretrained",
    "with_known_start",
]


def learns_on_features(settings: TrainSettings) -> bool:
    """Whether a model that can be trained on videos or on stored features is trained on the latter."""
    stored = settings.data.tasks is None and is_store(settings.data.source)
    return stored and learns_of(settings.model.name) == "either"


def starts_of(settings: TrainSettings) -> tuple[str, ...]:
    """The runs, or files of weights, that the network of a run starts from; on stored features, that of the store."""
    if learns_on_features(settings):
        return (str(Path(settings.data.source) / NETWORK),)
    return settings.model.starts


def check_folder(run: Path, resume: bool) -> None:
    for place in (run, *run.parents):
        if place.is_file():
            raise ArgumentError(f"--out {run}: {place} is a file, not a folder.")
    if not resume and (pointer := read_pointer(run)):
        raise ArgumentError(
            f"--out {run}: already contains a run (last checkpoint: {pointer.get('last')}). Continue it with --resume, "
            "or name another folder."
        )


def check_start(settings: TrainSettings, frozen: bool) -> None:
    """Raise ArgumentError if only the classifier (``frozen``) of a network with random weights would be trained."""
    optim = settings.optim
    if frozen and not starts_from_weights(settings.model):
        epochs = optim.frozen_epochs if isinstance(optim.frozen_epochs, str) else f"{optim.frozen_epochs:g}"
        raise ArgumentError(
            f"optim.frozen_epochs = {epochs} of {length_of(optim)}: only the classifier would be trained, on random "
            "weights. Give initial weights (--weights FILE or --pretrained), or use --set optim.frozen_epochs=0."
        )


def starts_from_weights(given: ModelSettings) -> bool:
    """Whether a network starts from trained weights, not from random ones."""
    return bool(given.weights or given.start or starts_pretrained(given))


def seen_streams(settings: TrainSettings) -> tuple[str, ...]:
    """Names of the streams of a run's model, before it is built."""
    stream = settings.model.keywords().get("stream", default_stream(settings.model.name))
    return ("rgb", "flow") if stream == "both" else (str(stream),)


def flow_folders(settings: TrainSettings) -> dict[str, str]:
    """The folders of stored flow that a run trains on, as input or as target, by data set.

    Raises:
        ArgumentError: flow is given but not used, or used but not given.
    """
    model, step, streams = settings.model.name, settings.backprop, seen_streams(settings)
    taught = takes_flow_targets(model)
    if step.learns_flow and not taught:
        having = ", ".join(filter(takes_flow_targets, list_models()))
        raise ArgumentError(
            f"backprop.name = {step.name}: {model} does not learn flow. Choose another step, or --model: {having}."
        )
    folders = {name: source.flow for name, source in settings.data.sources().items()}
    if ("flow" in streams or step.learns_flow) and None in folders.values():
        lacking = ", ".join(name for name, folder in folders.items() if folder is None)
        of_whom, example = (f" of {lacking}", f"{lacking.partition(',')[0]}=") if lacking else ("", "")
        without = ", or learn classes alone with --set backprop.flow_weight=0" if taught else ""
        use = "learns flow" if taught else f"on {' and '.join(streams)}"
        raise ArgumentError(
            f"{model} {use}: training needs stored flow{of_whom}. "
            f"Compute it with `praxiscope flow DATA --out flow/`, and give it as --flow {example}flow/{without}."
        )
    given = {name: folder for name, folder in folders.items() if folder is not None}
    bound = settings.data.flow_range
    if not given:
        if bound is not None:
            raise ArgumentError(
                f"data.flow_range = {bound:g} needs stored flow. Give its folder with --flow, or omit the range."
            )
        return {}
    if taught and not step.learns_flow:
        raise ArgumentError(
            f"--flow {next(iter(given.values()))}: is not learned with these settings. Omit it, or set "
            "backprop.name to action-flow with a backprop.flow_weight above 0."
        )
    if "flow" not in streams and not taught:
        raise ArgumentError(
            f"--flow {next(iter(given.values()))}: the stream of the model is {streams[0]!r}, not flow. "
            + (
                "Add --stream flow, or omit --flow."
                if default_stream(settings.model.name) == "rgb"
                else f"{settings.model.name} has both streams; omit --stream."
            )
        )
    return given


def model_keywords(given: ModelSettings) -> dict[str, Any]:
    """The keywords that the settings give the builder of a model. A backbone of None is the builder's default; a
    builder without the keyword ``pretrained`` is not given False.

    Raises:
        UnknownNameError: the model is unknown.
    """
    words = given.keywords()
    if words.get("pretrained") is False and "pretrained" not in keywords_of(given.name):
        del words["pretrained"]
    if words["backbone"] is None:
        del words["backbone"]
        if isinstance(default := keywords_of(given.name).get("backbone"), str):
            words["backbone"] = default
    return words


def starts_pretrained(given: ModelSettings) -> bool:
    """Whether a network starts from ImageNet weights. If the settings leave it open: if those of its backbone are
    installed, and no other initial weights are given. Nothing is downloaded unless the settings ask for it.

    Raises:
        UnknownNameError: the model is unknown.
    """
    if given.pretrained is not None:
        return given.pretrained
    if given.weights or "pretrained" not in keywords_of(given.name):
        return False
    if given.start and not parts_of(
        given.name
    ):  # the other parts of a network may start from ImageNet weights
        return False
    return has_installed_weights(str(model_keywords(given).get("backbone")))


def with_known_start(settings: TrainSettings, resumed: Path | None = None) -> TrainSettings:
    """The settings with ``model.pretrained`` decided, so that a run's settings tell what was done.

    Args:
        settings: of a run.
        resumed: the folder of a run that is resumed. It decides as it did before, whatever is installed now.
    """
    if settings.model.pretrained is not None:
        return settings
    if resumed is not None and (saved := resumed / SETTINGS_FILE).is_file():
        pretrained = bool(load_yaml(saved).model.pretrained)
    else:
        pretrained = starts_pretrained(settings.model)
    return settings.updated({"model.pretrained": pretrained})


def note_on_start(given: ModelSettings) -> list[str]:
    """What a run loses if the weights of its backbone can be installed but are not: one line, or none."""
    backbone = str(model_keywords(given).get("backbone"))
    if backbone not in INSTALLED or has_installed_weights(backbone):
        return []
    if given.weights or given.start or given.pretrained:
        return []
    return [
        f"Note: {backbone} starts from random weights. Its ImageNet weights, from which a network learns more from few "
        f"videos, are not installed: {install_command(backbone)}"
    ]


def check_network(given: ModelSettings) -> None:
    """Raise UnknownNameError or ArgumentError for an unknown model, keyword of it, or backbone, or for a backbone that
    the model cannot have."""
    words = model_keywords(given)
    check_keywords(given.name, words)
    usable = backbones_of(given.name)
    for key in ("backbone", "motion_backbone"):
        if (name := words.get(key)) is None:
            continue
        check_backbone(str(name))
        if usable is not None and name not in usable:
            runs = (
                f" Train the runs of --from {','.join(given.start)} with one of them." if given.start else ""
            )
            raise ArgumentError(
                f"model.{key} = {name}: {given.name} cannot have this backbone. Choose one of "
                f"{', '.join(usable)}.{runs}"
            )


def check_flow_folder(folder: str | Path) -> None:
    """Raise DataError if a folder of stored flow does not exist."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder. Compute flow with `praxiscope flow DATA --out {folder}`.")


def check_installed(pretrained: bool | None, backbone: str | None) -> None:
    """Raise CheckpointError if weights that are asked for come from a package that is not installed."""
    if pretrained and backbone in INSTALLED and not has_installed_weights(backbone):
        raise not_installed(backbone)


def check_streams(runs: Sequence[str]) -> None:
    """Raise ArgumentError unless exactly two runs are given for a warm start."""
    if len(runs) != 2:
        raise ArgumentError(
            f"--from {','.join(runs)}: give two runs, one trained on RGB frames and one on flow, as in --from "
            "runs/rgb,runs/motion"
        )


def check_training(settings: TrainSettings, out: str | Path, resume: bool = False) -> None:
    """Check the model, the data and the folder of a training run.

    Raises:
        ArgumentError, DataError, CheckpointError: an argument, the data or a file cannot be used.
    """
    from praxiscope.training.resuming import check_settings

    run, optim = Path(out), settings.optim
    check_folder(run, resume)
    check_network(settings.model)
    if resume:
        check_settings(run, settings)
    frozen = optim.frozen_epochs
    whole = not isinstance(frozen, str) and optim.epochs is not None and frozen >= optim.epochs
    check_start(settings, frozen == "all" or whole)
    if resume:  # a finished run reads no data
        return
    for source in settings.data.sources().values():
        find_data(source.source, source.split, source.annotations)
    if learns_on_features(settings):  # the store has the weights and reads no flow
        return
    for folder in flow_folders(settings).values():
        check_flow_folder(folder)
    if (weights := settings.model.weights) and not os.path.exists(weights):  # noqa: PTH110
        raise CheckpointError(f"{weights}: no such weights file")
    check_installed(settings.model.pretrained, model_keywords(settings.model).get("backbone"))
