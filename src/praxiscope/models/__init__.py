"""Recognition networks: ``create_model(name, **keywords)``, one file per published system."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from praxiscope._lazy import submodules
from praxiscope.errors import ArgumentError
from praxiscope.models.contract_checks import check_contract, check_flow_contract, check_trajectory_contract
from praxiscope.models.names import (
    FILES,
    REQUIRED,
    check_keywords,
    default_stream,
    frames_of,
    keywords_of,
    learns_of,
    list_models,
)
from praxiscope.models.registered import models, register_model

if TYPE_CHECKING:
    from torch import nn

__getattr__ = submodules(__name__)

__all__ = ["create_model", "default_stream", "list_models", "models", "register_model"]


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: one of `list_models`.
        kwargs: keyword arguments of the builder; all models of the package that classify need ``num_classes``.

    Returns:
        The network, in training mode, on the CPU, with random weights unless ``pretrained=True``.

    Raises:
        UnknownNameError: the model is unknown; the message names the nearest.
        ArgumentError: a keyword is unknown (the message names the nearest) or missing, or the network does not satisfy
            `praxiscope.models.contract.VideoModel`, or `praxiscope.models.contract.EstimatesFlow` if it only estimates
            flow, or `praxiscope.models.contract.ScoresTrajectories` if it is fitted to trajectories.

    Example:
        >>> model = create_model("tsn", backbone="resnet50", num_classes=101)
    """
    check_keywords(name, kwargs)
    for keyword, default in keywords_of(name).items():
        if default is REQUIRED and keyword not in kwargs:
            raise ArgumentError(f"model {name!r} needs the argument {keyword!r}")
    if name not in models:
        importlib.import_module(f"{__name__}.{FILES[name]}")  # registers the model
    model = models.get(name).build(**kwargs)
    if learns_of(name) == "flow":
        check_flow_contract(name, model)
    elif learns_of(name) == "trajectories":
        check_trajectory_contract(name, model)
    else:
        check_contract(name, model, frames_of(name))
    return model
