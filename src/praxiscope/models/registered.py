"""The registry of models: ours, and those of other packages.

Importing this file does not import torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from praxiscope.errors import ArgumentError
from praxiscope.registry import Registry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["GROUP", "Registered", "models", "offered_models", "register_model"]

GROUP = "praxiscope.models"
"""The group of entry points by which an installed package offers models: a model's name, and the module that registers
it."""

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registered:
    """What is known of a model before it is built.

    Attributes:
        build: its builder.
        frames: "sampled" or "all", as ``sees.frames`` of what it builds.
    """

    build: Callable[..., nn.Module]
    frames: Literal["sampled", "all"] = "sampled"


models: Registry[Registered] = Registry("model")


def register_model(
    name: str, *, frames: Literal["sampled", "all"] = "sampled"
) -> Callable[[Builder], Builder]:
    """Return a decorator that makes a builder known as a model, for ``--model NAME`` and ``create_model(NAME)``.

    A run offers the builder what it declares of ``num_classes``, ``in_channels``, ``input_size`` and ``snippets``; its
    other keywords are settings: ``--set model.KEYWORD=VALUE``. A package makes its models known without being imported
    by an entry point in the group ``praxiscope.models``: the model's name, and the module that registers it.

    Args:
        name: the model's name.
        frames: "all" for a model that sees every frame of a video.

    Raises:
        ArgumentError: the name is taken; or the builder has a parameter that cannot be given by name.

    Example:
        >>> @register_model("mine")
        ... def mine(*, num_classes: int, backbone: str = "resnet18") -> nn.Module: ...
    """
    if frames not in ("sampled", "all"):
        raise ArgumentError(f"frames must be 'sampled' or 'all', got {frames!r}")

    def add(build: Builder) -> Builder:
        by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for parameter in inspect.signature(build).parameters.values():
            if parameter.kind not in by_name:
                raise ArgumentError(
                    f"model {name!r}: the builder's parameter {str(parameter)!r} cannot be given by name; name each one"
                )
        models.register(name)(Registered(build, frames))
        return build

    return add


def offered_models() -> dict[str, EntryPoint]:
    """The models that installed packages offer by entry points, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}
