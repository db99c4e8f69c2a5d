"""From the settings of a run to its network, with its start weights, and the card that stands beside it."""

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
from praxiscope.flow.store import FlowStore
from praxiscope.models import create_model
from praxiscope.models.contract import Normalisation, VideoModel
from praxiscope.models.names import keywords_of
from praxiscope.models.weights import load_weights
from praxiscope.progress import Reporter
from praxiscope.recipes.sections import InputSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import model_keywords, seen_streams
from praxiscope.training.duration import Duration
from praxiscope.training.warm_start import warm_start
from praxiscope.units import counted

__all__ = ["build_model"]


def build_model(
    settings: TrainSettings, manifest: Manifest, reporter: Reporter, store: FlowStore | None = None
) -> tuple[nn.Module, ModelCard]:
    """The network with its start weights, and the card that will stand beside it.

    Args:
        settings: of the run.
        manifest: the videos and classes to train on.
        reporter: tells which weights the network starts from.
        store: the flow to train on, for a model that sees flow.

    Raises:
        ArgumentError: settings that the model cannot be built of, or that do not fit it.
        CheckpointError: start weights that cannot be loaded.
    """
    name = settings.model.name
    _check_start(settings)
    kwargs = _keywords(settings, manifest, store)
    model: Any
    try:
        model = create_model(name, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"model {name!r} cannot be built of {kwargs}: {error}") from error
    _check_classes_and_channels(settings, manifest, model, store)
    _check_backprop(settings, model)
    _check_input(settings, model)
    if settings.optim.epochs:
        Duration.of(settings, 1)  # what is wrong with any number of steps is said before there is a folder
    _start(settings, manifest, model, reporter, store)
    # Weights come from the checkpoint when the model is loaded again, never from the network.
    kwargs.pop("pretrained", None)
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
    """Refuse start weights of two kinds, before any are downloaded."""
    given = settings.model
    if given.start and (given.weights or given.keywords().get("pretrained")):
        other = f"--weights {given.weights}" if given.weights else "--pretrained"
        raise ArgumentError(f"{other} and --from both give start weights. Leave one of them out.")


def _keywords(settings: TrainSettings, manifest: Manifest, store: FlowStore | None) -> dict[str, Any]:
    """The builder's keywords: those of the settings, and of what every run offers those that it declares."""
    wanted, given = settings.input, settings.model
    # One linear layer over the classes of all tasks is one classifier per task: separate layers on the same
    # features, side by side. Each task's loss reaches its own rows alone (`praxiscope.steps.make_loss`).
    known = keywords_of(given.name)
    fixed: dict[str, Any] = {"num_classes": len(manifest.classes)}
    if store is not None:
        channels = [2 * length for length in wanted.flow_lengths]
        fixed["in_channels"] = channels if len(channels) > 1 else channels[0]
    if wanted.frames > 1:
        streams = seen_streams(settings)
        if streams != ("rgb",):
            raise ArgumentError(
                f"input.frames = {wanted.frames} stacks RGB frames, and {given.name} sees {' and '.join(streams)}. "
                "Leave it out."
            )
        fixed["in_channels"] = 3 * wanted.frames
    defaults: dict[str, Any] = {"snippets": settings.learned_snippets}
    if given.backbone.startswith("timm/"):
        defaults["input_size"] = wanted.size
    own = model_keywords(given)
    return {key: value for key, value in {**defaults, **own, **fixed}.items() if key in known or key in own}


def _check_classes_and_channels(
    settings: TrainSettings, manifest: Manifest, model: VideoModel, store: FlowStore | None
) -> None:
    """Refuse a network that gives other scores, or sees another input, than the run has."""
    name, wanted = settings.model.name, settings.input
    if model.num_classes != len(manifest.classes):
        raise ArgumentError(
            f"model {name!r} has num_classes = {model.num_classes}, and the data has "
            f"{counted(len(manifest.classes), 'class', 'classes')}. Let its builder take num_classes."
        )
    expected = {"rgb": 3 * wanted.frames}
    if store is not None:
        expected["flow"] = 2 * wanted.flow_lengths[-1]
    for stream, channels in model.channels.items():
        if channels != expected.get(stream):
            raise ArgumentError(
                f"model {name!r} takes {channels} channels of {stream}, and the input has {expected.get(stream, 0)} "
                "(input.frames, input.flow_length). Let its builder take in_channels."
            )


def _check_backprop(settings: TrainSettings, model: VideoModel) -> None:
    """Refuse to choose among snippets that have no scores of their own."""
    name, sees = settings.backprop.name, model.sees
    if settings.backprop.needs_snippets and not sees.scores_snippets:
        what = "every frame of a video together" if sees.all_frames else "all snippets of a video together"
        raise ArgumentError(
            f"backprop.name = {name} needs scores of single snippets, and {settings.model.name} sees {what}. Leave out "
            "--choose and --backprop."
        )


def _check_input(settings: TrainSettings, model: VideoModel) -> None:
    """Refuse settings that only models of sampled frames, or of all frames, can use."""
    wanted, name = settings.input, settings.model.name
    if not model.sees.all_frames:
        unused = {"sampled_epochs": 0, "max_frames": None, "padded": False}
        for key, value in wanted.model_dump(include=set(unused)).items():
            if value != unused[key]:
                raise ArgumentError(
                    f"input.{key} = {value} is for a model that sees every frame (--model full-video); {name} sees "
                    "sampled frames. Leave it out."
                )
        return
    if wanted.frames > 1:
        raise ArgumentError(
            f"input.frames = {wanted.frames}: {name} sees every frame by itself. Leave it out, or take another "
            "model (--model tsn)."
        )
    if wanted.strides and not wanted.sampled_epochs:
        raise ArgumentError(
            f"input.strides = {list(wanted.strides)}: {name} sees every frame; strides apply to its first "
            "input.sampled_epochs only, which is 0. Leave it out."
        )


def _start(
    settings: TrainSettings,
    manifest: Manifest,
    model: VideoModel,
    reporter: Reporter,
    store: FlowStore | None,
) -> None:
    """Load the weights that the network starts from, of a file or of runs."""
    given = settings.model
    if given.weights and len(model.stream_networks) != 1:
        raise ArgumentError(
            f"--weights {given.weights}: {given.name} has {len(model.stream_networks)} networks, not one. Start them "
            "from two trained runs by --from RGB_RUN,FLOW_RUN."
        )
    if given.weights:
        report = load_weights(model, given.weights, labels=manifest.classes)
        kept = " but the classifier, whose classes differ" if report.skipped_classifier else ""
        reporter.line(f"Loaded {counted(len(report.loaded), 'tensor')} from {given.weights}: all{kept}.")
    if given.start:
        for line in warm_start(model, given.start, manifest.classes, store):
            reporter.line(line)


def _input_contract(settings: TrainSettings, model: VideoModel, store: FlowStore | None) -> InputContract:
    """What the network will be shown of a video, in training and after it."""
    wanted, together = settings.input, model.sees.together
    return InputContract(
        size=wanted.size,
        short_side=wanted.short_side,
        channels=model.channels[model.streams[0]],
        # What is seen together at a test, or, of models that average or see any number, in training.
        snippets=together if together is not None and together > 1 else wanted.snippets,
        length=wanted.frames,
        pictures={"rgb", "flow"} <= set(model.streams),
        flip=wanted.flip,
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
            "input.mean and input.std normalise RGB frames, and this model sees flow only. Leave them out."
        )
    if "flow" in own:
        assert store is not None
        made |= {"flow_mean": tuple(own["flow"]["mean"]), "flow_std": tuple(own["flow"]["std"])}
        # Where there are several lengths the longest is read; the network takes the shorter ones out of it.
        made["flow"] = FlowInput(
            wanted.flow_lengths[-1], wanted.flow_kind, wanted.subtract_mean, store.contract.to_dict()
        )
    return made
