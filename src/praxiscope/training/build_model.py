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
from praxiscope.models.weights import load_weights
from praxiscope.progress import Reporter
from praxiscope.recipes.sections import InputSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import seen_streams
from praxiscope.training.duration import Course
from praxiscope.training.warm_start import start_from
from praxiscope.units import counted

__all__ = ["build_model"]


def build_model(
    settings: TrainSettings, manifest: Manifest, reporter: Reporter, store: FlowStore | None = None
) -> tuple[nn.Module, ModelCard]:
    """The network with its start weights, and the card that will stand beside it."""
    wanted, given = settings.input, settings.model
    # One linear layer over the classes of all tasks is one classifier per task: separate layers on the same
    # features, side by side. Each task's loss reaches its own rows alone (`praxiscope.steps.make_loss`).
    kwargs = {**given.keywords(), "num_classes": len(manifest.classes)}
    if given.name == "tsm":
        kwargs.setdefault("snippets", settings.learned_snippets)
    streams = seen_streams(settings)
    if store is not None:
        channels = [2 * length for length in wanted.flow_lengths]
        if len(channels) > 1 and len(streams) > 1:
            raise ArgumentError(
                f"input.flow_length = {list(wanted.flow_lengths)}: {given.name} sees stacks of one length; name one"
            )
        kwargs["in_channels"] = channels if len(channels) > 1 else channels[0]
    if wanted.frames > 1:
        if streams != ("rgb",):
            raise ArgumentError(
                f"input.frames = {wanted.frames}: stacks RGB frames; {given.name} sees {' and '.join(streams)} here. "
                "Leave it out."
            )
        kwargs["in_channels"] = 3 * wanted.frames
    if given.backbone.startswith("timm/"):
        kwargs.setdefault("input_size", wanted.size)
    if given.start and (given.weights or kwargs.get("pretrained")):
        other = f"--weights {given.weights}" if given.weights else "--pretrained"
        raise ArgumentError(f"{other} and --from are two starts; leave one of them out")
    model: Any
    try:
        model = create_model(given.name, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"model {given.name!r} cannot be built of {kwargs}: {error}") from error
    if model.sees.all_frames and settings.backprop.needs_snippets:
        raise ArgumentError(
            f"backprop.name = {settings.backprop.name}: {given.name} sees every frame of a video together and has no "
            "snippets to choose among. Leave out --choose and --backprop."
        )
    if model.sees.together is None and settings.backprop.needs_snippets:
        raise ArgumentError(
            f"backprop.name = {settings.backprop.name}: {given.name} scores a video as a whole and has no snippets to "
            "choose among. Leave out --choose and --backprop."
        )
    if model.sees.all_frames and wanted.frames > 1:
        raise ArgumentError(
            f"input.frames = {wanted.frames}: {given.name} sees every frame by itself. Leave it out, or take another "
            "model (--model tsn)."
        )
    unused = {"sampled_epochs": 0, "max_frames": None, "padded": False}
    for key, default in unused.items() if not model.sees.all_frames else ():
        if (value := getattr(wanted, key)) != default:
            raise ArgumentError(
                f"input.{key} = {value}: {given.name} sees sampled frames anyway; it is for a model that sees every "
                "frame (--model full-video). Leave it out."
            )
    if model.sees.all_frames and wanted.strides and not wanted.sampled_epochs:
        raise ArgumentError(
            f"input.strides = {list(wanted.strides)}: {given.name} sees every frame; strides are of its "
            "input.sampled_epochs, of which there are none. Leave it out."
        )
    if settings.optim.epochs:
        Course.of(settings, 1)  # what is wrong with any number of steps is said before there is a folder
    if given.weights and len(streams) > 1:
        raise ArgumentError(
            f"--weights {given.weights}: {given.name} is two networks. Start it from two trained runs by --from "
            "RGB_RUN,FLOW_RUN."
        )
    contracts: Any = None
    if given.weights:
        report = load_weights(model, given.weights, labels=manifest.classes)
        kept = " but the classifier, whose classes differ" if report.skipped_classifier else ""
        reporter.line(f"Loaded {counted(len(report.loaded), 'tensor')} from {given.weights}: all{kept}.")
    if given.start:
        contracts, lines = start_from(model, given.start, manifest.classes, store)
        for line in lines:
            reporter.line(line)
    contracts = contracts or model.input_contracts  # as the weights want them
    # Weights come from the checkpoint when the model is loaded again, never from the network.
    kwargs.pop("pretrained", None)
    card = ModelCard(
        name=given.name,
        kwargs=kwargs,
        labels=manifest.classes,
        multi_label=manifest.multi_label,
        tasks=manifest.tasks,
        input=InputContract(
            size=wanted.size,
            short_side=wanted.short_side,
            channels=3 * wanted.frames
            if "rgb" in streams
            else len(model.input_contracts[streams[0]]["mean"]),
            # What is seen together at a test, or, of models that average or see any number, in training.
            snippets=model.sees.together if (model.sees.together or 1) > 1 else wanted.snippets,
            length=wanted.frames,
            pictures=len(streams) > 1,
            flip=wanted.flip,
            **_normalisation(wanted, contracts, store),
        ),
    )
    return model, card


def _normalisation(
    wanted: InputSettings, contracts: Mapping[str, Mapping[str, Any]], store: FlowStore | None
) -> dict[str, Any]:
    """The part of the input contract that differs between pixels and flow."""
    made: dict[str, Any] = {}
    if "rgb" in contracts:
        made |= {key: tuple(getattr(wanted, key) or contracts["rgb"][key]) for key in ("mean", "std")}
    elif wanted.mean or wanted.std:
        raise ArgumentError(
            "input.mean and input.std are of pixels; a network that sees flow has no use of them"
        )
    if "flow" in contracts:
        assert store is not None
        made |= {f"flow_{key}": tuple(contracts["flow"][key]) for key in ("mean", "std")}
        # Where there are several lengths the longest is read; the network takes the shorter ones out of it.
        made["flow"] = FlowInput(
            wanted.flow_lengths[-1], wanted.flow_kind, wanted.subtract_mean, store.contract.to_dict()
        )
    return made
