"""Warm start of the parts of a network, each from a run of this or of another model.

(Ng, 2018, section 5.3.4: the image network of a temporal difference network starts from a temporal segment network.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard, find_checkpoint, load_card, load_tensors
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.flow.store import FlowStore
from praxiscope.models import create_model
from praxiscope.models.names import learns_of
from praxiscope.models.parts import AdaptsWeights, StartsFromParts
from praxiscope.models.undrawn import Undrawn
from praxiscope.models.weights import holds_backbone
from praxiscope.training.expansion import check_standardised, expand, take_normalisation

__all__ = ["start_from_parts"]


@dataclass(frozen=True)
class _Trained:
    """The weights of a run.

    Attributes:
        run: the path that the user gave.
        card: its model card.
        parts: tensors of the parts of its network, by name.
        network: tensors of its only stream network; empty if it has several.
    """

    run: str
    card: ModelCard
    parts: Mapping[str, Mapping[str, Tensor]]
    network: Mapping[str, Tensor]


def start_from_parts(
    name: str,
    model: Any,
    starts: Iterable[tuple[str, str | None]],
    labels: Sequence[str],
    store: FlowStore | None,
) -> list[str]:
    """Load weights of runs into the parts of a network, in place.

    The normalisation of the input is that of the run that starts the first part.

    Args:
        name: name of the model.
        model: a network with the interface `praxiscope.models.parts.StartsFromParts`.
        starts: runs or model folders, each with the name of the part that it starts. None: a run of the same model
            starts the whole network; another run starts the parts that its network also has, except those that differ
            (one has to fit), or, if there are none, the first part from its only network.
        labels: classes of the model. A classifier is loaded only if its classes are the same.
        store: the stored flow to train on.

    Returns:
        One line per run for the user.

    Raises:
        ArgumentError: a run has no network for a part.
        CheckpointError: weights that do not fit.
        DataError: the flow was computed differently from the flow that the run was trained on.
    """
    lines = []
    own: Mapping[str, nn.Module] = model.start_parts
    first = next(iter(own))
    heads: set[nn.Module] = set(model.classifiers)
    for run, part in starts:
        if part is None and load_card(find_checkpoint(run)).name == name:
            lines.append(expand(name, model, run, labels, store))
            continue
        trained = _read(run)
        chosen = [part] if part else [key for key in own if key in trained.parts] or [first]
        left_out, differing = "", dict[str, CheckpointError]()
        for key in chosen:
            came = trained.parts.get(key) or trained.network
            if not came:
                raise ArgumentError(
                    f"--from {run}: holds {trained.card.name}, which has no network for {key} of {name}. Give a run of "
                    "one network, such as tsn."
                )
            try:
                left_out = _load(name, own[key], came, heads, trained, tuple(labels)) or left_out
            except CheckpointError as error:
                differing[key] = error
        if len(differing) == len(chosen):
            raise differing[chosen[0]]
        check_standardised(model, trained.card, run)
        if first in chosen:
            take_normalisation(model, trained.card, run, store)
        lines.append(_describe(name, run, chosen, differing, left_out))
    return lines


def _describe(name: str, run: str, chosen: Sequence[str], differing: Iterable[str], left_out: str) -> str:
    loaded = [key for key in chosen if key not in differing]
    rest = f" except the classifier, {left_out}" if left_out else ""
    other = f"; its {' and '.join(differing)} differs and starts anew" if differing else ""
    return f"{name} starts its {' and '.join(loaded)} from {run}: all weights{rest}{other}."


def _read(run: str) -> _Trained:
    folder = find_checkpoint(run)
    card, tensors = load_card(folder), load_tensors(folder)
    with Undrawn():
        source: Any = create_model(card.name, **card.kwargs)
    parts: Mapping[str, nn.Module] = source.start_parts if isinstance(source, StartsFromParts) else {}
    networks = list(source.stream_networks.values())
    network = _of(source, networks[0], tensors) if len(networks) == 1 else {}
    return _Trained(run, card, {key: _of(source, part, tensors) for key, part in parts.items()}, network)


def _of(source: nn.Module, part: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a part of a network, by their names within the part."""
    place = next(name for name, module in source.named_modules() if module is part)
    prefix = f"{place}." if place else ""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _load(
    name: str,
    part: nn.Module,
    came: Mapping[str, Tensor],
    heads: set[nn.Module],
    trained: _Trained,
    labels: tuple[str, ...],
) -> str:
    """Load a part. Returns why its classifier was left out; empty if it was not, or there is none."""
    own = part.state_dict()
    if isinstance(part, AdaptsWeights):
        came = part.adapted(came)
    of_heads = {
        f"{place}.{key}"
        for place, module in part.named_modules()
        if module in heads
        for key, _ in module.named_parameters(recurse=False)
    }
    fits = {key for key in own if key in came and came[key].shape == own[key].shape}
    wrong = sorted((own.keys() - fits - of_heads) | (came.keys() - own.keys() - of_heads))
    if wrong:
        raise CheckpointError(
            f"--from {trained.run}: holds {trained.card.name}, whose {trained.card.kwargs.get('backbone')} does not "
            f"fit {name} ({wrong[0]} differs). {_remedy(name, trained, came, own, wrong[0])}"
        )
    same = trained.card.labels == labels
    new = of_heads if not same else of_heads - fits
    part.load_state_dict({key: came[key] for key in fits - new}, strict=False)
    if not new:
        return ""
    return "which the run lacks" if same or not new & came.keys() else "whose classes differ"


def _remedy(
    name: str, trained: _Trained, came: Mapping[str, Tensor], own: Mapping[str, Tensor], wrong: str
) -> str:
    if wrong in came and wrong in own and came[wrong].dim() > own[wrong].dim():
        return "Its filters are over time; give a run of single images or of two frames, such as flownet."
    same = "Use the backbone and the input of the run"
    if learns_of(name) == "frames" and holds_backbone(trained.run):
        return f"{same}, or --weights {trained.run}, which adapts weights of images to other inputs."
    return f"{same}, or a run of another model."
