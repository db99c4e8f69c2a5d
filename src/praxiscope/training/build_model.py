"""Build the network of a run from its settings: the model with its initial weights, and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from praxiscope.checkpoint import (
    FlowInput,
    InputContract,
    ModelCard,
)
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.flow.store import FlowStore
from praxiscope.models import create_model
from praxiscope.models.contract import EstimatesFlow, LearnsFromFeatures, Normalisation, VideoModel
from praxiscope.models.names import REQUIRED, is_timm, keywords_of, parts_of
from praxiscope.models.parts import StartsFromParts
from praxiscope.models.timm_backbones import portable_name
from praxiscope.models.weights import load_weights
from praxiscope.progress import Reporter
from praxiscope.recipes.sections import InputSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import model_keywords, seen_streams
from praxiscope.training.duration import Duration
from praxiscope.training.expansion import expand
from praxiscope.training.start_parts import start_from_parts
from praxiscope.training.warm_start import warm_start
from praxiscope.units import counted

__all__ = ["build_model"]


def build_model(
    settings: TrainSettings, manifest: Manifest, reporter: Reporter, store: FlowStore | None = None
) -> tuple[nn.Module, ModelCard]:
    """Build the network with its initial weights, and its model card.

    Args:
        settings: settings of the run.
        manifest: the videos and classes to train on.
        reporter: reports which weights were loaded.
        store: the stored flow to train on, for a model that takes flow.

    Raises:
        ArgumentError: settings with which the model cannot be built, or that do not fit it.
        CheckpointError: initial weights that cannot be loaded.
    """
    name = settings.model.name
    _check_start(settings)
    kwargs = _keywords(settings, manifest, store)
    model: Any
    try:
        model = create_model(name, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"model {name!r} cannot be built with {kwargs}: {error}") from error
    _check_shapes(settings, manifest, model, store)
    _check_protocol(name, model, settings.input.flip)
    _check_backprop(settings, model)
    _check_input(settings, model)
    if settings.optim.epochs:
        Duration.of(settings, 1)  # raise errors that do not depend on the data early
    _start(settings, manifest, model, reporter, store)
    # When the model is loaded again, its weights come from the checkpoint, so they need not be downloaded.
    kwargs.pop("pretrained", None)
    if "backbone" in kwargs:
        kwargs["backbone"] = portable_name(str(kwargs["backbone"]))
    card = ModelCard(
        name=name,
        kwargs=kwargs,
        labels=manifest.classes,
        multi_label=manifest.multi_label,
        tasks=manifest.tasks,
        input=_input_contract(settings, model, store),
    )
    return model, card


def _check_start(settings: TrainSettings) -> None:
    """Raise ArgumentError if initial weights are set in two ways, before any are downloaded."""
    given = settings.model
    if given.start and (given.weights or given.pretrained) and not parts_of(given.name):
        other = f"--weights {given.weights}" if given.weights else "--pretrained"
        raise ArgumentError(f"{other} and --from both set initial weights. Omit one of them.")


def _keywords(settings: TrainSettings, manifest: Manifest, store: FlowStore | None) -> dict[str, Any]:
    """The builder's keywords: those of the settings, and those derived from the run that the builder declares."""
    wanted, given = settings.input, settings.model
    # One linear layer over the classes of all tasks is one classifier per task: separate layers on the same features,
    # side by side. The loss of a task only reaches the rows of its own classes (`praxiscope.steps.make_loss`).
    known = keywords_of(given.name)
    fixed: dict[str, Any] = {"num_classes": len(manifest.classes)}
    if store is not None:
        channels = wanted.flow_channels
        fixed["in_channels"] = channels if len(channels) > 1 else channels[0]
    if wanted.frames > 1:
        streams = seen_streams(settings)
        if streams != ("rgb",):
            raise ArgumentError(
                f"input.frames = {wanted.frames} stacks RGB frames, but {given.name} takes {' and '.join(streams)}. "
                "Leave it out."
            )
        fixed["in_channels"] = 3 * wanted.frames
    own = model_keywords(given)
    defaults: dict[str, Any] = {
        "snippets": settings.learned_snippets,
        "multi_label": manifest.multi_label,
    }
    # Networks of timm are built for one size; a builder without a default asks for it.
    if is_timm(str(own.get("backbone"))) or known.get("input_size") is REQUIRED:
        defaults["input_size"] = wanted.size
    if known.get("in_channels") is REQUIRED:
        defaults["in_channels"] = 3
    return {key: value for key, value in {**defaults, **own, **fixed}.items() if key in known or key in own}


def _check_shapes(
    settings: TrainSettings, manifest: Manifest, model: VideoModel, store: FlowStore | None
) -> None:
    """Raise ArgumentError if classes or channels differ from those of the run, or snippets are too few."""
    name, wanted = settings.model.name, settings.input
    if model.num_classes != len(manifest.classes):
        raise ArgumentError(
            f"model {name!r} has num_classes = {model.num_classes}, but the data has "
            f"{counted(len(manifest.classes), 'class', 'classes')}. Add the keyword num_classes to its builder."
        )
    if settings.learned_snippets < model.sees.least:
        raise ArgumentError(
            f"input.snippets = {wanted.snippets}: {name} learns from {model.sees.least} snippets of a video or more. "
            f"Use --snippets {model.sees.least} or more."
        )
    expected = {"rgb": 3 * wanted.frames}
    if store is not None:
        expected["flow"] = wanted.flow_channels[-1]
    for stream, channels in model.channels.items():
        if channels != expected.get(stream):
            frames = channels // 3 if stream == "rgb" and channels % 3 == 0 else None
            remedy = f"Set input.frames to {frames}, or add" if frames else "Add"
            raise ArgumentError(
                f"model {name!r} takes {channels} channels of {stream}, but the input has {expected.get(stream, 0)} "
                f"(input.frames, input.flow_length). {remedy} the keyword in_channels to its builder."
            )


def _check_protocol(name: str, model: VideoModel, flip: bool) -> None:
    """Raise ArgumentError if the network's default test protocol is unknown."""
    try:
        parse_protocol(str(model.default_protocol(flip)))
    except (ArgumentError, TypeError) as error:
        raise ArgumentError(
            f"model {name!r}: default_protocol must take flip and return the name of a test protocol ({error})"
        ) from error


def _check_backprop(settings: TrainSettings, model: VideoModel) -> None:
    """Raise ArgumentError if the step needs scores of single snippets and the model has none."""
    name, sees = settings.backprop.name, model.sees
    if settings.backprop.learns_flow and not isinstance(model, EstimatesFlow):
        raise ArgumentError(
            f"backprop.name = {name} needs a model with the interface praxiscope.models.contract.EstimatesFlow, which "
            f"{settings.model.name} lacks. Choose another step."
        )
    split = settings.backprop.takes_features and isinstance(model, LearnsFromFeatures)
    if settings.backprop.needs_snippets and not sees.scores_snippets and not split:
        what = "every frame of a video together" if sees.all_frames else "all snippets of a video together"
        raise ArgumentError(
            f"backprop.name = {name} needs scores of single snippets, but {settings.model.name} scores {what}. Omit "
            "--choose and --backprop."
        )


def _check_input(settings: TrainSettings, model: VideoModel) -> None:
    """Raise ArgumentError for settings that apply only to models of sampled frames, or only to models of all frames."""
    wanted, name = settings.input, settings.model.name
    if wanted.flow_kind == "image" and model.streams != ("flow",):
        raise ArgumentError(
            f"input.flow_kind = image: needs a network of flow alone; {name} takes {' and '.join(model.streams)}. "
            "Omit it."
        )
    if not model.sees.all_frames:
        unused = {"sampled_epochs": 0, "max_frames": None, "padded": False}
        for key, value in wanted.model_dump(include=set(unused)).items():
            if value != unused[key]:
                raise ArgumentError(
                    f"input.{key} = {value} requires a model that takes every frame (--model full-video); {name} takes "
                    "sampled frames. Omit it."
                )
        return
    if wanted.frames > 1:
        raise ArgumentError(
            f"input.frames = {wanted.frames}: {name} takes single frames. Omit it, or use another "
            "model (--model tsn)."
        )
    if wanted.sampling == "window":
        raise ArgumentError(f"input.sampling = window: {name} takes every frame, not windows. Omit it.")
    if wanted.strides and not wanted.sampled_epochs:
        raise ArgumentError(
            f"input.strides = {list(wanted.strides)}: {name} takes every frame; strides apply only to its first "
            "input.sampled_epochs, which is 0. Omit it."
        )


def _start(
    settings: TrainSettings,
    manifest: Manifest,
    model: VideoModel,
    reporter: Reporter,
    store: FlowStore | None,
) -> None:
    """Load the initial weights from a file or from runs."""
    given = settings.model
    if given.weights and len(model.stream_networks) != 1:
        count = len(model.stream_networks)
        remedy = "Initialise them from two trained runs with --from RGB_RUN,FLOW_RUN."
        if not count:
            remedy = "Omit --weights, or add the network to the model's stream_networks."
        raise ArgumentError(
            f"--weights {given.weights}: {given.name} has {count} networks, not one. {remedy}"
        )
    if given.pretrained:
        reporter.line(f"Starts from pretrained weights of {model_keywords(given).get('backbone')}.")
    if given.weights:
        report = load_weights(model, given.weights, labels=manifest.classes)
        kept = " except the classifier, whose classes differ" if report.skipped_classifier else ""
        reporter.line(f"Loaded {counted(len(report.loaded), 'tensor')} from {given.weights}: all{kept}.")
    if isinstance(model, StartsFromParts) and not (given.start or given.weights or given.pretrained):
        _check_learning(given.name, model)
    if given.start and isinstance(model, StartsFromParts):
        starts = zip(given.start, given.start_parts or [None] * len(given.start), strict=True)
        for line in start_from_parts(given.name, model, starts, manifest.classes, store):
            reporter.line(line)
    elif given.start and len(given.start) == len(model.stream_networks) == 1:
        reporter.line(expand(given.name, model, given.start[0], manifest.classes, store))
    elif given.start:
        for line in warm_start(model, given.start, manifest.classes, store):
            reporter.line(line)


def _check_learning(name: str, model: StartsFromParts) -> None:
    """Raise ArgumentError if a part that does not learn would keep random weights."""
    for part, network in model.start_parts.items():
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise ArgumentError(
                f"{name}: its {part} does not learn, and has random weights. Give a run that trained it: --from RUN."
            )


def _input_contract(settings: TrainSettings, model: VideoModel, store: FlowStore | None) -> InputContract:
    """The input contract of the network, for training and inference."""
    wanted, together = settings.input, model.sees.together
    return InputContract(
        size=wanted.size,
        short_side=wanted.short_side,
        channels=model.channels[model.streams[0]],
        # The number of snippets at test; for models that average or take any number, the number in training.
        snippets=together if together is not None and together > 1 else wanted.snippets,
        length=wanted.frames,
        pictures={"rgb", "flow"} <= set(model.streams),
        flip=wanted.flip,
        fps=wanted.fps,
        max_seconds=wanted.max_seconds,
        sampling="window" if wanted.samples_windows and not model.sees.all_frames else "segments",
        **_normalisation(wanted, model.normalisation, store),
    )


def _normalisation(
    wanted: InputSettings, own: Mapping[str, Normalisation], store: FlowStore | None
) -> dict[str, Any]:
    """The part of the input contract that differs between RGB and flow; ``own`` are the model's normalisations."""
    made: dict[str, Any] = {}
    if "rgb" in own:
        rgb = own["rgb"]
        made |= {"mean": tuple(wanted.mean or rgb["mean"]), "std": tuple(wanted.std or rgb["std"])}
    elif wanted.mean or wanted.std:
        raise ArgumentError(
            "input.mean and input.std normalise RGB frames, but this model takes flow only. Omit them."
        )
    if "flow" in own:
        assert store is not None
        made |= {"flow_mean": tuple(own["flow"]["mean"]), "flow_std": tuple(own["flow"]["std"])}
        # With several lengths the longest stack is read, and the network takes the shorter ones from it.
        made["flow"] = FlowInput(
            wanted.flow_lengths[-1], wanted.flow_kind, wanted.subtract_mean, store.contract.to_dict()
        )
    return made
