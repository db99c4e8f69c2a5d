"""Convert the options of ``praxiscope train`` and the keywords of ``praxiscope.train`` to the settings of a run.

This does not import torch, except for a warm start from runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint import check_recogniser, find_checkpoint, load_card
from praxiscope.commands.fit_options import check_fit, given_options, resolve_fit
from praxiscope.commands.fit_trajectory_options import check_trajectory_fit, resolve_trajectory_fit
from praxiscope.commands.row_options import resolve_rows
from praxiscope.commands.start_options import warm_start_settings
from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.models.names import (
    FILES,
    default_stream,
    frames_of,
    is_fitted,
    keywords_of,
    learns_of,
    takes_flow_targets,
)
from praxiscope.recipes.named import Start, get_recipe, recipe_of, scratch_of
from praxiscope.recipes.sections import ModelSettings
from praxiscope.recipes.settings import load_yaml, override
from praxiscope.run_folder import SETTINGS_FILE
from praxiscope.training.checks import (
    check_training,
    learns_on_features,
    model_keywords,
    seen_streams,
    starts_from_weights,
    with_known_start,
)
from praxiscope.training.flow_checks import check_flow_training
from praxiscope.training.run_data import choose_model

if TYPE_CHECKING:
    from praxiscope.recipes.settings import TrainSettings

__all__ = ["SETTINGS", "DataOptions", "TrainOptions", "resolve"]

SETTINGS = {
    "split": "data.split",
    "annotations": "data.annotations",
    "flow_range": "data.flow_range",
    "workers": "data.workers",
    "max_skip": "data.max_skip",
    "allow_one_class": "data.allow_one_class",
    "allow_no_test": "data.allow_no_test",
    "backbone": "model.backbone",
    "weights": "model.weights",
    "stream": "model.stream",
    "pretrained": "model.pretrained",
    "clusters": "model.clusters",
    "size": "input.size",
    "watch": "input.snippets",
    "frames": "input.snippets",
    "fps": "input.fps",
    "backprop": "backprop.name",
    "choose": "backprop.choose",
    "rule": "backprop.rule",
    "memory": "backprop.memory",
    "epochs": "optim.epochs",
    "batch": "optim.batch",
    "lr": "optim.lr",
    "seed": "run.seed",
    "device": "run.accelerator",
    "devices": "run.devices",
    "log": "run.log",
}
"""The setting that each plain option sets."""


@dataclass(frozen=True)
class DataOptions:
    """The data sets of a run, as given by the options.

    Attributes:
        source: a single data set: a folder, a CSV, or LAYOUT:FOLDER.
        tasks: several data sets, in place of ``source``: NAME=DATA.
        splits: splits of several data sets: NAME=SPLIT.
        annotations: folders of their official lists: NAME=FOLDER.
        flow: the folder of stored flow of a single data set; of several: NAME=FOLDER.
    """

    source: str | None = None
    tasks: Sequence[str] = ()
    splits: Sequence[str] = ()
    annotations: Sequence[str] = ()
    flow: Sequence[str] = ()


@dataclass(frozen=True)
class TrainOptions:
    """The options of a run.

    Attributes:
        data: the data sets.
        model: name of the model; None: the recipe's; "auto": by the number of clips, see
            `praxiscope.training.run_data.choose_model`; for many clips, that of a recipe that is named.
        recipe: name of a recipe, or a run's YAML file. "default" is ``default-MODEL`` if it exists; if a network of RGB
            frames starts from trained weights, ``fine-tune-MODEL`` or ``fine-tune``. From random weights, "demo-own"
            is ``demo-own-scratch``.
        start: a run of the same model, or RGB_RUN,FLOW_RUN for a network of both: a warm start.
        plain: values of the options in `SETTINGS`, by their names; None: not given.
        assignments: ``section.key=value`` texts.
        values: values by their settings' full names, "section.key".
    """

    data: DataOptions
    model: str | None = None
    recipe: str = "default"
    start: str | None = None
    plain: Mapping[str, Any] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def resolve(options: TrainOptions, out: Path, resume: bool = False) -> TrainSettings:
    """Return the settings of a run, after all checks that do not need torch.

    Args:
        options: options of the run.
        out: folder of the run.
        resume: continue the run in ``out``.

    Raises:
        ArgumentError, DataError, CheckpointError: an option, the data or a file cannot be used.
    """
    if resume and not (out / SETTINGS_FILE).is_file():
        raise ArgumentError(f"--resume: {out} contains no run. Give the folder of a run as --out.")
    plain = {name: value for name, value in options.plain.items() if value is not None}
    if options.model == "auto":
        options = replace(options, model=None)
        chosen = None if resume else choose_model(_settings(options, plain, out, resume, "scratch"))
        if chosen is not None and (options.recipe == "default" or is_fitted(chosen)):
            options = replace(options, model=chosen)  # for many clips, a recipe has its own
    # The start of the network decides about the recipe. Of two recipes, the first here does not set the start.
    start: Start = "scratch" if options.recipe == "default" else "weights"
    settings = _settings(options, plain, out, resume, start)
    if _start(settings) != start:
        settings = _settings(options, plain, out, resume, _start(settings))
    settings.data.sources()  # raises if there is no data set
    asked = given_options([(key, SETTINGS[key]) for key in plain], options.assignments, options.values)
    if learns_of(settings.model.name) == "flow":
        check_flow_training(settings, out, resume)
        return settings
    if learns_on_features(settings):
        if options.data.flow:
            asked["data.flow"] = f"--flow {options.data.flow[0]}"
        settings = resolve_rows(settings, asked)
        check_training(settings, out, resume)
        return settings
    if learns_of(settings.model.name) == "trajectories":
        settings = resolve_trajectory_fit(settings, asked)
        check_trajectory_fit(settings, out, resume)
        return settings
    if learns_of(settings.model.name) == "features":
        settings = resolve_fit(settings, asked)
        check_fit(settings, out, resume)
        return settings
    for name in ("watch", "frames"):
        if name in plain and frames_of(settings.model.name) == "all":
            raise ArgumentError(
                f"--{name} {plain[name]}: {settings.model.name} sees every frame. Leave --{name} out, or choose "
                "another --model."
            )
    check_training(settings, out, resume)
    return settings


def _start(settings: TrainSettings) -> Start:
    """What the network starts from. The weights of image networks are far from what flow needs."""
    if learns_on_features(settings):
        return "features"
    trained = starts_from_weights(settings.model) and not is_fitted(settings.model.name)
    return "weights" if trained and seen_streams(settings) == ("rgb",) else "scratch"


def _settings(
    options: TrainOptions, plain: Mapping[str, Any], out: Path, resume: bool, start: Start
) -> TrainSettings:
    """Return the settings that the options give, with the recipe for this start."""
    saved = out / SETTINGS_FILE
    model = options.model or _model_of(plain, options.start, options.recipe)
    settings = _beginning(options.recipe, model, saved if resume else None, start)
    name = model or settings.model.name
    taken_over = warm_start_settings(options.start, name, plain, out, resume)
    changes = _changes(plain, settings)
    if model is not None:
        changes["model.name"] = model
    taught = takes_flow_targets(name) or learns_of(name) == "flow"  # then flow is not the input
    if "stream" not in plain and options.data.flow and default_stream(name) != "both" and not taught:
        changes["model.stream"] = "flow"
    changes |= options.values
    told = [*options.assignments, *changes]
    if resume and not any(text.startswith(("optim.epochs", "optim.steps")) for text in told):
        # A resumed run keeps its length unless another one is given, even if a recipe is given again.
        length = load_yaml(saved).optim
        changes = {"optim.epochs": length.epochs, "optim.steps": length.steps} | changes
    # Checked together with the recipe: options that fit each other may not fit its settings.
    settings = override(
        settings, options.assignments, {**taken_over, **_data_sets(settings, options.data), **changes}
    )
    if settings.model.backbone is None:  # a run's settings name it, as defaults may change
        settings = settings.updated({"model.backbone": model_keywords(settings.model).get("backbone")})
    return with_known_start(settings, out if resume else None)


def _model_of(plain: Mapping[str, Any], start: str | None, recipe: str) -> str | None:
    """Return the model that an option belongs to, or None: that of the recipe. A recipe of the default model serves all
    models, so the run of ``--from`` keeps its own."""
    if "clusters" in plain:
        option, having = "--clusters", [name for name in FILES if "clusters" in keywords_of(name)]
    elif get_recipe(recipe).model.name != get_recipe("default").model.name:
        return None
    elif start is not None:
        if "," not in start:  # one run: a longer network of the same model
            check_recogniser(start)
            return load_card(find_checkpoint(start)).name
        option, having = "--from", [name for name in FILES if default_stream(name) == "both"]
    else:
        return None
    if len(having) > 1:
        raise ArgumentError(
            f"{option}: only some models have this option. Give --model: {', '.join(having)}."
        )
    return having[0]


def _beginning(recipe: str, model: str | None, saved: Path | None, start: Start) -> TrainSettings:
    """Return the settings to start from: those of the recipe, or of the run to resume."""
    if saved is not None and recipe == "default":
        return load_yaml(saved)
    scratch = scratch_of(recipe)
    if scratch is not None and model is not None and is_fitted(model):
        recipe = "default"  # the other two train a network
    if recipe != "default":
        return get_recipe(scratch or recipe if start == "scratch" else recipe)
    name = model or get_recipe("default").model.name
    settings = recipe_of(name, start)
    # The recipe is for all models, so a keyword of it may be unknown to this one.
    known = {*keywords_of(name), *ModelSettings.model_fields}
    kept = {key: value for key, value in settings.model.model_dump().items() if key in known}
    return settings.model_copy(update={"model": ModelSettings(**kept)})


def _changes(plain: Mapping[str, Any], settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that plain options change."""
    if unknown := [name for name in plain if name not in SETTINGS]:
        raise unknown_name("option", unknown[0], SETTINGS)
    if plain.get("watch") is not None and plain.get("frames") is not None:
        raise ArgumentError(
            f"--watch {plain['watch']} and --frames {plain['frames']} set the same number. Omit one of them."
        )
    given = dict(plain)
    if "device" in given:
        given["device"] = check_device(given["device"])
    if given.get("choose") is not None:
        given.setdefault("backprop", "principal")
    changes = {SETTINGS[name]: value for name, value in given.items()}
    if "size" in given:  # the frames around the crop keep their relation to it
        shown = settings.input
        changes["input.short_side"] = round(int(given["size"]) * shown.short_side / shown.size)
    return changes


def _data_sets(settings: TrainSettings, data: DataOptions) -> dict[str, Any]:
    """Return the settings of one data set or of several. They override those of a recipe.

    Raises:
        ArgumentError: an option names an unknown data set, or one and several data sets are given.
    """
    if data.source is not None and data.tasks:
        raise ArgumentError(
            f"{data.source} and --data {data.tasks[0]}: give one data set as DATA, or several as --data NAME=DATA."
        )
    named = _by_name("--data", data.tasks)
    kept = settings.data.tasks if data.source is None and not named else None
    sets: dict[str, dict[str, Any]] = {name: {"source": source} for name, source in named.items()}
    sets |= {name: task.model_dump() for name, task in (kept or {}).items()}
    options = [
        ("--data-split", "split", data.splits),
        ("--data-annotations", "annotations", data.annotations),
    ]
    changes: dict[str, Any] = {}
    if sets:
        options.append(("--flow", "flow", data.flow))
    else:
        if data.source is not None:
            changes = {"data.source": data.source, "data.tasks": None}
        if len(data.flow) > 1:
            raise ArgumentError(
                f"--flow {' --flow '.join(data.flow)}: one data set has one folder of flow. Give several data sets as "
                "--data NAME=DATA."
            )
        if data.flow:
            changes["data.flow"] = data.flow[0]
    for option, key, texts in options:
        for name, value in _by_name(option, texts).items():
            if not sets:
                raise ArgumentError(f"{option} {name}={value}: needs several data sets, --data NAME=DATA.")
            if name not in sets:
                raise ArgumentError(f"{option} {name}={value}: {unknown_name('data set', name, sets)}")
            sets[name][key] = value
    if sets:
        changes["data.tasks"] = sets
        if named:  # in place of a recipe's single data set
            changes |= {"data.source": "", "data.split": None, "data.annotations": None, "data.flow": None}
    return changes


def _by_name(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Parse NAME=VALUE texts. Raises ArgumentError for other text, and for a repeated name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ArgumentError(f"{option} {text}: expected NAME=VALUE, such as {option} ucf=….")
        if name in found:
            raise ArgumentError(f"{option} {text}: {name} is given twice; the first is {found[name]}.")
        found[name] = value
    return found
