"""Options of ``praxiscope train`` for models that learn from stored features, checked without importing torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from praxiscope.data.manifest import find_data
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.features.contract import FeatureContract
from praxiscope.features.store import is_store, read_store_file
from praxiscope.models.installed_weights import has_installed_weights
from praxiscope.models.names import check_backbone, check_keywords, keywords_of
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import SETTINGS_FILE
from praxiscope.training.checks import check_flow_folder, check_folder, check_installed, model_keywords
from praxiscope.training.resuming import changed_settings

__all__ = [
    "builder_keywords",
    "check_against_store",
    "check_fit",
    "check_unchanged",
    "feature_options",
    "given_options",
    "resolve_fit",
    "settings_of_store",
]

_WITHOUT_STEPS = ("optim.", "backprop.", "input.snippets")
_USED = (
    "model.",  # checked against the features or by the builder
    "data.source",
    "data.split",
    "data.annotations",
    "data.flow",
    "data.flow_range",
    "data.test_fraction",
    "data.workers",
    "data.max_skip",
    "data.time_limit_s",
    "data.allow_one_class",
    "data.allow_no_test",
    "input.size",
    "run.seed",
    "run.accelerator",
    "run.precision",
)
_USED_OF_A_STORE = ("input.short_side",)  # only to be compared with the store's
_USED_OF_VIDEOS = ("input.flow_length", "input.flow_kind")
_OF_THE_STORE = ("weights", "pretrained", "start")
_OF_FEATURES = ("backbone", "stream", "layer", "pool", "frames")


def resolve_fit(settings: TrainSettings, given: Mapping[str, str]) -> TrainSettings:
    """The settings of a fit: those of the feature store, if the data are one.

    Args:
        settings: from the recipe and the options.
        given: the options that the user gave, by the ``section.key`` that they set, as the user wrote them.

    Raises:
        ArgumentError: an option has no meaning for a fit, or contradicts the store; then the message shows both.
    """
    for key, option in given.items():
        if key.startswith(_WITHOUT_STEPS):
            raise ArgumentError(
                f"{option}: {settings.model.name} is fitted to features in one go, without steps. Leave it out."
            )
    if settings.data.tasks is not None:
        raise ArgumentError(f"{settings.model.name} learns from one data set; give it as DATA.")
    stored = is_store(settings.data.source)
    used = (*_USED, *(_USED_OF_A_STORE if stored else _USED_OF_VIDEOS))
    for key, option in given.items():
        if not key.startswith(used) or (key == "model.start" and not stored):
            raise ArgumentError(
                f"{option}: {settings.model.name} is fitted to features, for which this has no meaning. Leave it out."
            )
    if not stored:
        if settings.model.pretrained is False and "model.pretrained" in given:
            raise ArgumentError(
                f"{given['model.pretrained']}: features of random weights say little. Leave it out, or give --weights."
            )
        return settings
    contract, _ = read_store_file(Path(settings.data.source))
    if settings.data.flow is not None and contract.stream != "flow":
        raise ArgumentError(
            f"--flow {settings.data.flow}: the features of {settings.data.source} are of RGB frames ({contract}). "
            "Leave it out, or compute features of flow: praxiscope features DATA --flow FLOW."
        )
    check_against_store(settings, contract, given)
    return settings.updated(settings_of_store(settings.model.name, contract) | {"model.pretrained": None})


def settings_of_store(name: str, contract: FeatureContract) -> dict[str, Any]:
    """The settings of the model ``name`` that the features decide, by ``section.key``."""
    known = keywords_of(name)
    decided: dict[str, Any] = {f"input.{key}": contract.input[key] for key in ("size", "short_side")}
    decided |= {f"model.{key}": value for key, value in _keywords(contract).items() if key in known}
    return decided | {"model.backbone": contract.backbone}


def _keywords(contract: FeatureContract) -> dict[str, Any]:
    """The keywords of a builder that the features decide."""
    found: dict[str, Any] = {
        "backbone": contract.backbone,
        "stream": contract.stream,
        "layer": contract.layer,
        "pool": contract.pool,
    }
    if frames := contract.sampling.get("frames"):
        found["frames"] = frames
    return found


def check_against_store(settings: TrainSettings, contract: FeatureContract, given: Mapping[str, str]) -> None:
    """Raise ArgumentError for an option that contradicts the features."""
    store, name = settings.data.source, settings.model.name
    pool = keywords_of(name).get("pool", contract.pool)
    if contract.pool != pool:
        remedy = "--layer LAYER --pool none" if pool == "none" else f"--pool {pool}"
        raise ArgumentError(
            f"{store}: {name} needs features of pool {pool}, and these are of pool {contract.pool} ({contract}). "
            f"Compute others: praxiscope features DATA {remedy}"
        )
    wanted = settings.model.keywords()
    decided = {f"model.{key}": value for key, value in _keywords(contract).items()}
    decided |= {f"input.{key}": contract.input[key] for key in ("size", "short_side")}
    for key, value in decided.items():
        section, _, name = key.partition(".")
        asked = wanted.get(name) if section == "model" else settings.input.model_dump()[name]
        if key in given and asked != value:
            raise ArgumentError(
                f"{given[key]}: the features of {store} have {name} = {value} ({contract}). Leave it out, or compute "
                "others with praxiscope features."
            )
    for key in _OF_THE_STORE:
        if f"model.{key}" in given:
            raise ArgumentError(
                f"{given[f'model.{key}']}: {store} has the weights of its network ({contract}). Leave it out, or "
                "compute others with praxiscope features."
            )


def builder_keywords(settings: TrainSettings) -> dict[str, Any]:
    """The builder's own keywords; the features decide the others."""
    return {key: value for key, value in model_keywords(settings.model).items() if key not in _OF_FEATURES}


def feature_options(settings: TrainSettings) -> dict[str, Any]:
    """The arguments of `praxiscope.commands.feature_options.FeatureOptions` for the videos of a run."""
    data, model, run = settings.data, model_keywords(settings.model), settings.run
    known = keywords_of(settings.model.name)
    downloaded = settings.model.pretrained and not has_installed_weights(str(model["backbone"]))
    return {
        "backbone": model["backbone"],
        "weights": settings.model.weights or ("download" if downloaded else None),
        "layer": model.get("layer"),
        "pool": model.get("pool", known.get("pool", "space")),
        "sampling": {"frames": model.get("frames", known.get("frames", 25))},
        "size": settings.input.size,
        "flow": data.flow,
        "flow_range": data.flow_range,
        "flow_length": settings.input.flow_lengths[-1],
        "flow_kind": settings.input.flow_kind,
        "precision": run.precision if run.precision in ("32", "bf16") else "auto",
        "split": data.split,
        "annotations": data.annotations,
        "workers": max(1, data.workers),
        "devices": (run.accelerator,),
        "max_skip": data.max_skip,
        "time_limit_s": data.time_limit_s,
    }


def check_fit(settings: TrainSettings, out: str | Path, resume: bool = False) -> None:
    """Check the model, the data and the folder of a run that fits a model to features. A resumed run must have the
    settings with which it was started, except for those that do not affect the fit.

    Raises:
        ArgumentError, DataError, CheckpointError: an argument or the data cannot be used.
    """
    check_folder(Path(out), resume)
    if resume:
        check_unchanged(Path(out), settings)
    words = model_keywords(settings.model)
    check_keywords(settings.model.name, words)
    source = settings.data.source
    if is_store(source):
        read_store_file(Path(source))
    elif not Path(str(words["backbone"])).is_dir():
        check_backbone(str(words["backbone"]))
        check_installed(settings.model.pretrained and not resume, str(words["backbone"]))
    find_data(source, settings.data.split, settings.data.annotations)
    stream = str(words.get("stream", "rgb"))
    if not is_store(source) and (stream == "flow") != (settings.data.flow is not None):
        remedy = "Give stored flow with --flow." if stream == "flow" else "Add --stream flow, or omit --flow."
        raise ArgumentError(f"{settings.model.name} on {stream}: {remedy}")
    if (weights := settings.model.weights) and not Path(weights).exists():
        raise CheckpointError(f"{weights}: no such weights file")
    if settings.data.flow is not None:
        check_flow_folder(settings.data.flow)


def check_unchanged(out: Path, settings: TrainSettings) -> None:
    """Raise ArgumentError if a run was started with other settings."""
    if not (saved := out / SETTINGS_FILE).is_file():
        return
    if changed := changed_settings(load_yaml(saved), settings):
        listed = ", ".join(f"{key} {before!r} → {now!r}" for key, (before, now) in list(changed.items())[:3])
        raise ArgumentError(
            f"--resume: {out} was started with other settings ({listed}). Leave them out, or fit a new model: "
            "--out NEW."
        )


def given_options(
    plain: Iterable[tuple[str, str]], assignments: Iterable[str], values: Iterable[str]
) -> dict[str, str]:
    """The settings that a user gave, as they were written: by ``section.key``.

    Args:
        plain: names of options, and the settings that they set.
        assignments: ``section.key=value`` texts of ``--set``.
        values: full names of settings.
    """
    return {
        **{key: f"--{name.replace('_', '-')}" for name, key in plain},
        **{text.partition("=")[0].strip(): f"--set {text}" for text in assignments},
        **{key: key for key in values},
    }
