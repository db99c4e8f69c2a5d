"""Warm start: initialise a network of several streams from networks that were trained on one stream each.

(Feichtenhofer et al., 2017, section 4.1: "We first separately train the two streams".)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard, find_checkpoint, is_fused, load_card, load_tensors
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.store import FlowContract, FlowStore
from praxiscope.inference.loading import build_from_card
from praxiscope.models.contract import Normalisation, VideoModel
from praxiscope.models.network_ends import classifier_name
from praxiscope.models.undrawn import Undrawn
from praxiscope.training.checks import check_streams

__all__ = ["TrainedStream", "settings_of_runs", "trained_streams", "warm_start"]


@dataclass(frozen=True)
class TrainedStream:
    """A network that was trained on one stream.

    Attributes:
        run: the path that the user gave.
        folder: folder of the weights.
        card: its model card.
        prefix: prefix of the parameter names of the stream's network.
    """

    run: str
    folder: Path
    card: ModelCard
    prefix: str


def trained_streams(runs: Sequence[str]) -> dict[str, TrainedStream]:
    """The networks of ``runs`` (run or model folders, in any order) by their stream: "rgb" and "flow".

    Raises:
        ArgumentError: there is not one of each, or a network is more than a backbone with mean consensus.
        CheckpointError: a model is missing or damaged.
    """
    check_streams(runs)
    found: dict[str, TrainedStream] = {}
    for run in runs:
        trained = _trained_stream(run)
        stream = trained.card.input.streams[0]
        if stream in found:
            raise ArgumentError(
                f"--from: {found[stream].run} and {run} were both trained on {stream}. Give one run trained on "
                "RGB and one on flow."
            )
        found[stream] = trained
    if (frames := found["rgb"].card.input.length) > 1:
        raise ArgumentError(
            f"--from {found['rgb'].run}: was trained on stacks of {frames} RGB frames. Train the RGB stream on "
            "single frames."
        )
    if isinstance(found["flow"].card.kwargs.get("in_channels"), list):
        raise ArgumentError(
            f"--from {found['flow'].run}: has a first convolution for each of several stack lengths. Train the flow "
            "stream on one input.flow_length."
        )
    return {name: found[name] for name in ("rgb", "flow")}


def _trained_stream(run: str) -> TrainedStream:
    if is_fused(run):
        raise ArgumentError(f"--from {run}: holds several networks. Give the runs of two single networks.")
    folder = find_checkpoint(run)
    card = load_card(folder)
    with Undrawn():
        model: Any = build_from_card(card, folder)
    if len(model.stream_networks) != 1 or not model.sees.instants_apart:
        raise ArgumentError(
            f"--from {run}: holds {card.name}, which is not a single network that scores single snippets. Train the "
            "streams with --model tsn or --model frame."
        )
    if card.tasks:
        raise ArgumentError(f"--from {run}: was trained on several data sets. Give a run on one data set.")
    (network,) = model.stream_networks.values()
    prefix = next(name for name, module in model.named_modules() if module is network)
    return TrainedStream(run, folder, card, f"{prefix}." if prefix else "")


def settings_of_runs(runs: Sequence[str]) -> dict[str, Any]:
    """Settings that joint training takes from its streams, by ``section.key``: networks, sizes, kind of stacks, flips.

    Raises:
        ArgumentError, CheckpointError: see `trained_streams`; or the two streams were trained at different sizes.
    """
    streams = trained_streams(runs)
    one, other = streams["rgb"], streams["flow"]
    sizes = [(stream.card.input.size, stream.card.input.short_side) for stream in (one, other)]
    if sizes[0] != sizes[1]:
        raise ArgumentError(
            f"--from: {one.run} was trained on crops of {sizes[0][0]} pixels out of {sizes[0][1]}, {other.run} "
            f"of {sizes[1][0]} "
            f"out of {sizes[1][1]}; both streams need the same crop. Train one of them again with the other's "
            "input.size and input.short_side."
        )
    flow = other.card.input.flow
    assert flow is not None
    return {
        "model.start": tuple(runs),
        "model.backbone": one.card.kwargs["backbone"],
        "model.motion_backbone": other.card.kwargs["backbone"],
        "input.size": sizes[0][0],
        "input.short_side": sizes[0][1],
        "input.flow_length": flow.length,
        "input.flow_kind": flow.kind,
        "input.subtract_mean": flow.subtract_mean,
        # If one stream was trained without flips, do not flip for either.
        "input.flip": one.card.input.flip and other.card.input.flip,
    }


def warm_start(
    model: VideoModel, runs: Sequence[str], labels: Sequence[str], store: FlowStore | None
) -> list[str]:
    """Load the weights of a run into each stream of a network, in place, with the normalisation of their training.

    Args:
        model: model with a network for each stream.
        runs: see `trained_streams`.
        labels: classes of the model. A stream's classifier is loaded only if its classes are the same.
        store: the stored flow to train on.

    Returns:
        One line for each stream, for the user.

    Raises:
        ArgumentError: the model has one stream, or its networks differ from those of the runs.
        DataError: the flow was computed differently from the flow that the flow stream was trained on.
        CheckpointError: weights that do not fit.
    """
    if len(model.stream_networks) < 2:
        raise ArgumentError(
            f"--from {','.join(runs)}: a warm start needs a model with two streams, but this model has one. Add "
            "--model multiplier, "
            "or give initial weights with --weights."
        )
    lines = []
    for name, trained in trained_streams(runs).items():
        contract = trained.card.input
        if name == "flow":
            assert contract.flow is not None
            learned = FlowContract.from_dict(contract.flow.made)
            if store is not None and store.contract != learned:
                raise DataError(
                    f"{store.root}: was computed differently from the flow that {trained.run} was trained on: "
                    f"{learned.difference(store.contract)}. Compute it again with those settings, or train the "
                    "flow stream on "
                    "it."
                )
            model.normalisation[name] = Normalisation(mean=contract.flow_mean, std=contract.flow_std)
        else:
            model.normalisation[name] = Normalisation(mean=contract.mean, std=contract.std)
        same = trained.card.labels == tuple(labels)
        _load(model.stream_networks[name], trained, classifier=same)
        rest = "" if same else " except the classifier, whose classes differ"
        lines.append(f"The {name} stream starts from {trained.run}: all{rest}.")
    return lines


def _load(network: nn.Module, trained: TrainedStream, classifier: bool) -> None:
    own = network.state_dict()
    tensors: dict[str, Tensor] = {
        key.removeprefix(trained.prefix): value for key, value in load_tensors(trained.folder).items()
    }
    if not classifier:
        last = classifier_name(network)
        tensors |= {key: value for key, value in own.items() if key.rpartition(".")[0] == last}
    differing = [key for key in own if key not in tensors or tensors[key].shape != own[key].shape]
    if differing or tensors.keys() - own.keys():
        example = next(iter([*differing, *sorted(tensors.keys() - own.keys())]))
        raise CheckpointError(
            f"--from {trained.run}: its {trained.card.kwargs.get('backbone')} does not fit the model "
            f"({example} differs). Do not change model.backbone, model.motion_backbone and input.flow_length "
            "from those of "
            "the runs."
        )
    network.load_state_dict(tensors)
