"""Names of models and backbones, and properties of models before they are built, without importing torch.

The keywords of a model, their defaults and its registration are read from its file, so that they are not repeated here.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.models.registered import FILES, GROUP, Registered, models, offered_models
from praxiscope.registry import load_offer

__all__ = [
    "BACKBONES",
    "FILES",
    "backbones_of",
    "check_backbone",
    "check_keywords",
    "default_stream",
    "frames_of",
    "is_fitted",
    "is_timm",
    "keywords_of",
    "learns_of",
    "list_models",
    "parts_of",
    "takes_flow_targets",
]

BACKBONES = (
    *("alexnet", "cnn_m_2048", "cnn_m_2048_temporal"),
    *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    *("googlenet", "mobilenet_v1", "mobilenet_v2"),
    *("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("squeezenet1_0", "squeezenet1_1", "vgg16", "vgg16_bn"),
)
"""The backbones that need no extra package; ``timm/NAME`` adds all of timm's."""

REQUIRED = inspect.Parameter.empty
"""Marks a keyword without a default."""


def list_models() -> list[str]:
    """Return the names that `praxiscope.models.create_model` knows, sorted: of this package and of other packages."""
    return sorted({*FILES, *models, *offered_models()})


def registered(name: str) -> Registered | None:
    """The registration of a model; None for a model of this package whose file has not been imported.

    If another package provides the model by an entry point, it is imported.

    Raises:
        UnknownNameError: the model is unknown; the message names the nearest.
        ArgumentError: the package that provides the model does not register it.
    """
    if name in models:
        return models.get(name)
    if name in FILES:
        return None
    offer = offered_models().get(name)
    if offer is None:
        raise unknown_name("model", name, list_models())
    load_offer(offer)
    if name not in models:
        raise ArgumentError(
            f"model {name!r}: the entry point {offer.value!r} ({GROUP}) does not register it. Decorate its builder "
            f"with @register_model({name!r})."
        )
    return models.get(name)


def keywords_of(name: str) -> dict[str, Any]:
    """The keywords of a model's builder with their defaults, `REQUIRED` for those without.

    Raises:
        UnknownNameError: the model is unknown; the message names the nearest.
    """
    if (known := registered(name)) is not None:
        return {key: word.default for key, word in inspect.signature(known.build).parameters.items()}
    arguments = _definition(name)[0].args
    return {
        word.arg: REQUIRED if default is None else ast.literal_eval(default)
        for word, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }


def frames_of(name: str) -> str:
    """Whether a model takes "sampled" frames or "all". Raises UnknownNameError for an unknown model."""
    if (known := registered(name)) is not None:
        return known.frames
    return str(_facts(name).get("frames", "sampled"))


def learns_of(name: str) -> str:
    """What a model learns from: "frames", "features", "either" or "trajectories"; or "flow" if it only estimates
    flow.

    Raises:
        UnknownNameError: the model is unknown.
    """
    if (known := registered(name)) is not None:
        return known.learns
    return str(_facts(name).get("learns", "frames"))


def is_fitted(name: str) -> bool:
    """Whether a model is fitted in one go, to stored features or trajectories, without steps and epochs. Raises
    UnknownNameError for an unknown model."""
    return learns_of(name) in ("features", "trajectories")


def takes_flow_targets(name: str) -> bool:
    """Whether stored flow is what a model learns to estimate, not its input. Raises UnknownNameError for an unknown
    model."""
    if (known := registered(name)) is not None:
        return known.targets == "flow"
    return _facts(name).get("targets") == "flow"


def backbones_of(name: str) -> Sequence[str] | None:
    """The backbones that a model can have; None: any. Raises UnknownNameError for an unknown model."""
    if (known := registered(name)) is not None:
        return known.backbones
    return _facts(name).get("backbones")


def parts_of(name: str) -> Sequence[str]:
    """The parts of a model that may each start from a run. Raises UnknownNameError for an unknown model."""
    if (known := registered(name)) is not None:
        return known.parts
    parts: Sequence[str] = _facts(name).get("parts", ())
    return parts


def _facts(name: str) -> dict[str | None, Any]:
    """The keywords with which a model of this package is registered."""
    return {word.arg: ast.literal_eval(word.value) for word in _definition(name)[1].keywords}


def _definition(name: str) -> tuple[ast.FunctionDef, ast.Call]:
    """The builder of a model of this package, and its registration, parsed from its file."""
    text = Path(__file__).with_name(f"{FILES[name]}.py").read_text(encoding="utf-8")
    (found,) = (
        (node, decorator)
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and ast.unparse(decorator.func) == "register_model"
        and ast.literal_eval(decorator.args[0]) == name
    )
    return found


def check_keywords(name: str, given: Iterable[str]) -> None:
    """Raise ArgumentError for an unknown keyword of a model's builder; the message names the nearest.

    Raises:
        UnknownNameError: the model is unknown.
    """
    known = keywords_of(name)
    for keyword in given:
        if keyword not in known:
            near = difflib.get_close_matches(keyword, known, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ArgumentError(
                f"model {name!r} has no argument {keyword!r}. {hint}It has: {', '.join(known)}"
            )


def default_stream(name: str) -> str:
    """The default stream of a model: "rgb", "flow", or "both" if it needs RGB and flow.

    Raises:
        UnknownNameError: the model is unknown.
    """
    return str(keywords_of(name).get("stream", "rgb"))


def is_timm(name: str) -> bool:
    """Whether timm builds a backbone (`praxiscope.models.timm_backbones`)."""
    return name.startswith(("timm/", "hf-hub:", "local-dir:"))


def check_backbone(name: str) -> None:
    """Raise UnknownNameError for an unknown backbone. Whether timm knows a ``timm/NAME`` is not checked."""
    if name not in BACKBONES and not is_timm(name):
        raise unknown_name("backbone", name, [*BACKBONES, "timm/NAME", "hf-hub:ORG/NAME"])
