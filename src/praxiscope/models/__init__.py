"""Recognition networks: ``create_model(name, **keywords)``, one file per published system."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.models import frame as _frame  # noqa: F401  (importing a model's file registers it)
from praxiscope.models import full_video as _full_video  # noqa: F401
from praxiscope.models import multiplier as _multiplier  # noqa: F401
from praxiscope.models import tsm as _tsm  # noqa: F401
from praxiscope.models import tsn as _tsn  # noqa: F401
from praxiscope.models.registered import models

__all__ = ["create_model", "default_stream", "list_models", "models"]


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: one of `list_models`.
        kwargs: the builder's keyword arguments; ``num_classes`` is always needed.

    Returns:
        The network, in training mode, on the CPU, with random weights unless ``pretrained=True``.

    Raises:
        UnknownNameError: no such model; the message names the nearest.
        ArgumentError: a keyword that the builder does not take (the message names the nearest), or one that
            it needs and did not get.

    Example:
        >>> model = create_model("tsn", backbone="resnet50", num_classes=101)
    """
    builder = models.get(name)
    keywords = inspect.signature(builder).parameters
    for given in kwargs:
        if given not in keywords:
            near = difflib.get_close_matches(given, keywords, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ArgumentError(
                f"model {name!r} takes no argument {given!r}. {hint}It takes: {', '.join(keywords)}"
            )
    for keyword, parameter in keywords.items():
        if parameter.default is parameter.empty and keyword not in kwargs:
            raise ArgumentError(f"model {name!r} needs the argument {keyword!r}")
    return builder(**kwargs)


def default_stream(name: str) -> str:
    """What a model sees unless it is told otherwise: "rgb", or "both" where it needs pictures and flow.

    Raises:
        UnknownNameError: no such model.
    """
    parameter = inspect.signature(models.get(name)).parameters.get("stream")
    return "rgb" if parameter is None else str(parameter.default)


def list_models() -> list[str]:
    """Return the names that `create_model` knows, sorted."""
    return models.names()
