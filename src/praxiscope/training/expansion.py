"""Network expansion: a network starts from a run of the same model, which may have had fewer frames.

(Ng et al., CVPR 2015: a network of 1 frame becomes one of 30, then of 120.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from praxiscope.checkpoint import ModelCard, find_checkpoint, load_card, load_tensors
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.flow.store import FlowContract, FlowStore
from praxiscope.models.contract import Normalisation, StandardisesClips
from praxiscope.models.weights import holds_backbone

__all__ = ["check_standardised", "expand", "take_normalisation"]


def expand(name: str, model: Any, run: str, labels: Sequence[str], store: FlowStore | None) -> str:
    """Load all weights of a run into a network of the same model, in place, with the normalisation of its training.

    Only a classifier may differ: for other classes, or for another number of frames. It then keeps its new weights.

    Args:
        name: name of the model.
        model: a network of one stream.
        run: run or model folder.
        labels: classes of the model. A classifier is loaded only if its classes are the same.
        store: the stored flow to train on.

    Returns:
        One line for the user, which names what was not loaded.

    Raises:
        ArgumentError: the run holds another model.
        CheckpointError: other weights than those of the classifier differ.
        DataError: the flow was computed differently from the flow that the run was trained on.
    """
    folder = find_checkpoint(run)
    card = load_card(folder)
    if card.name != name:
        remedy = f"Give a run of {name}."
        if holds_backbone(run):
            remedy = f"Its image network alone is loaded by --weights {run}."
        raise ArgumentError(f"--from {run}: holds {card.name}, and {name} is trained. {remedy}")
    came, own = load_tensors(folder), model.state_dict()
    heads = _of_classifiers(model)
    same = card.labels == tuple(labels)
    fits = {key for key in own if key in came and came[key].shape == own[key].shape}
    wrong = sorted((own.keys() - fits - heads) | (came.keys() - own.keys() - heads))
    if wrong:
        raise CheckpointError(
            f"--from {run}: its {card.kwargs.get('backbone')} does not fit the model ({wrong[0]} differs). Keep the "
            "keywords of the model as in the run."
        )
    new = heads & own.keys() if not same else (heads & own.keys()) - fits
    model.load_state_dict({key: came[key] for key in fits - new}, strict=False)
    take_normalisation(model, card, run, store)
    if not new:
        return f"Starts from {run}: all weights."
    why = "the classes differ"
    if same:
        example = next(key for key in sorted(new, reverse=True))
        why = f"{example} is {list(own[example].shape)}, in the run {list(came[example].shape)}"
    return f"Starts from {run}: all weights except the classifier ({why})."


def _of_classifiers(model: Any) -> set[str]:
    """Names of the parameters of the classifiers."""
    layers: set[nn.Module] = set(model.classifiers)
    return {
        f"{place}.{key}"
        for place, module in model.named_modules()
        if module in layers
        for key, _ in module.named_parameters(recurse=False)
    }


def take_normalisation(model: Any, card: ModelCard, run: str, store: FlowStore | None) -> None:
    """Take over the normalisation of a run's training, for a model of one stream.

    Raises:
        ArgumentError: see `check_standardised`.
        DataError: the flow was computed differently from the flow that the run was trained on.
    """
    (stream,) = model.normalisation
    check_standardised(model, card, run)
    contract = card.input
    if contract.flow is None:
        model.normalisation[stream] = Normalisation(mean=contract.mean, std=contract.std)
        return
    learned = FlowContract.from_dict(contract.flow.made)
    if store is not None and store.contract != learned:
        raise DataError(
            f"{store.root}: was computed differently from the flow that {run} was trained on: "
            f"{learned.difference(store.contract)}. Compute it again with those settings."
        )
    model.normalisation[stream] = Normalisation(mean=contract.flow_mean, std=contract.flow_std)


def check_standardised(model: Any, card: ModelCard, run: str) -> None:
    """Raise ArgumentError if a run standardised its clips and the model does not, or the other way round."""
    before = bool(card.kwargs.get("standardise", False))
    if isinstance(model, StandardisesClips) and model.standardise != before:
        raise ArgumentError(
            f"--from {run}: was trained with model.standardise = {str(before).lower()}. Use the same: --set "
            f"model.standardise={str(before).lower()}."
        )
