"""A network of several streams from networks that were trained on one stream each.

(Feichtenhofer et al., 2017, section 4.1: "We first separately train the two streams".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard, find_checkpoint, is_fused, load_card, load_tensors
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.store import FlowContract, FlowStore
from praxiscope.models.backbones import classifier_name
from praxiscope.training.checks import check_streams

__all__ = ["TrainedStream", "settings_of_runs", "start_from", "trained_streams"]

_SINGLE = ("frame", "tsn")  # models that are a backbone and a mean of scores
_BACKBONE = "backbone."


@dataclass(frozen=True)
class TrainedStream:
    """A network that was trained on one stream.

    Attributes:
        run: as it was named.
        folder: of its weights.
        card: what is said of them.
    """

    run: str
    folder: Path
    card: ModelCard


def trained_streams(runs: Sequence[str]) -> dict[str, TrainedStream]:
    """The networks of ``runs`` (run or model folders, in any order) by their stream: "rgb" and "flow".

    Raises:
        ArgumentError: not one of each, or a network that is more than a backbone and a mean.
        CheckpointError: there is no model, or it is damaged.
    """
    check_streams(runs)
    found: dict[str, TrainedStream] = {}
    for run in runs:
        if is_fused(run):
            raise ArgumentError(
                f"--from {run}: several networks answer as one there; name the runs of two of them"
            )
        folder = find_checkpoint(run)
        card = load_card(folder)
        if card.name not in _SINGLE:
            raise ArgumentError(
                f"--from {run}: holds {card.name}; the streams are trained with --model {' or '.join(_SINGLE)}"
            )
        if card.tasks:
            raise ArgumentError(f"--from {run}: was trained on several data sets; name a run of one")
        stream = card.input.streams[0]
        if stream in found:
            raise ArgumentError(
                f"--from: {found[stream].run} and {run} both see {stream}; name one of pictures and one of flow"
            )
        found[stream] = TrainedStream(run, folder, card)
    if (frames := found["rgb"].card.input.length) > 1:
        raise ArgumentError(
            f"--from {found['rgb'].run}: sees stacks of {frames} RGB frames; train the appearance stream on single ones"
        )
    if isinstance(found["flow"].card.kwargs.get("in_channels"), list):
        raise ArgumentError(
            f"--from {found['flow'].run}: has a stem for each of several stack lengths; train the motion stream on one"
        )
    return {name: found[name] for name in ("rgb", "flow")}


def settings_of_runs(runs: Sequence[str]) -> dict[str, Any]:
    """What a joint training takes over of its streams, as ``section.key`` settings: networks, sizes, kind of stacks,
    whether videos are mirrored.

    Raises:
        ArgumentError, CheckpointError: as `trained_streams`; or the two were trained at different sizes.
    """
    streams = trained_streams(runs)
    one, other = streams["rgb"], streams["flow"]
    sizes = [(stream.card.input.size, stream.card.input.short_side) for stream in (one, other)]
    if sizes[0] != sizes[1]:
        raise ArgumentError(
            f"--from: {one.run} sees crops of {sizes[0][0]} pixels out of {sizes[0][1]}, {other.run} of {sizes[1][0]} "
            f"out of {sizes[1][1]}; both see one crop here. Train one of them anew at the other's input.size and "
            "input.short_side."
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
        # Where left is not right for one of them, it is not for both.
        "input.flip": one.card.input.flip and other.card.input.flip,
    }


def start_from(
    model: nn.Module, runs: Sequence[str], labels: Sequence[str], store: FlowStore | None
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Give a network of two streams the weights that each was trained to, in place.

    Args:
        model: with ``stream_networks``, a backbone for each stream.
        runs: see `trained_streams`.
        labels: of the model's scores. A stream's classifier is taken where it has the same.
        store: the flow that will be trained on.

    Returns:
        How either stream's input is normalised, ``mean`` and ``std`` by name; and a line on each for the user.

    Raises:
        ArgumentError: the model is of one stream, or another network than a run's.
        DataError: the flow was made in another way than that which the motion stream has learned from.
        CheckpointError: weights that do not fit.
    """
    networks: dict[str, nn.Module] | None = getattr(model, "stream_networks", None)
    if networks is None:
        raise ArgumentError(
            f"--from {','.join(runs)}: is for a model of pictures and flow; add --model multiplier, or name start "
            "weights by --weights"
        )
    contracts: dict[str, Mapping[str, Any]] = {}
    lines = []
    for name, trained in trained_streams(runs).items():
        contract = trained.card.input
        if name == "flow":
            assert contract.flow is not None
            learned = FlowContract.from_dict(contract.flow.made)
            if store is not None and store.contract != learned:
                raise DataError(
                    f"{store.root}: was made in another way than the flow that {trained.run} has learned from: "
                    f"{learned.difference(store.contract)}. Make it anew in that way, or train the motion stream on it."
                )
            contracts[name] = {"mean": contract.flow_mean, "std": contract.flow_std}
        else:
            contracts[name] = {"mean": contract.mean, "std": contract.std}
        same = trained.card.labels == tuple(labels)
        _load(networks[name], trained, classifier=same)
        rest = "" if same else " but the classifier, whose classes differ"
        lines.append(f"The {name} stream starts from {trained.run}: all{rest}.")
    return contracts, lines


def _load(network: nn.Module, trained: TrainedStream, classifier: bool) -> None:
    own = network.state_dict()
    tensors: dict[str, Tensor] = {
        key.removeprefix(_BACKBONE): value for key, value in load_tensors(trained.folder).items()
    }
    if not classifier:
        last = classifier_name(network)
        tensors |= {key: value for key, value in own.items() if key.rpartition(".")[0] == last}
    differing = [key for key in own if key not in tensors or tensors[key].shape != own[key].shape]
    if differing or tensors.keys() - own.keys():
        example = next(iter([*differing, *sorted(tensors.keys() - own.keys())]))
        raise CheckpointError(
            f"--from {trained.run}: its {trained.card.kwargs.get('backbone')} does not fit the network that is built "
            f"({example} differs). Leave model.backbone, model.motion_backbone and input.flow_length as the runs have "
            "them."
        )
    network.load_state_dict(tensors)
