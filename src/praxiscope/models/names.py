"""Names of models and backbones, and what is known of a model before it is built, without importing torch.

A model's keywords, their defaults and its registration are read from its file, so that they stand there alone.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.models.registered import GROUP, Registered, models, offered_models

__all__ = [
    "BACKBONES",
    "FILES",
    "check_backbone",
    "check_keywords",
    "default_stream",
    "frames_of",
    "keywords_of",
    "list_models",
]

FILES = {
    "frame": "frame",
    "full-video": "full_video",
    "multiplier": "multiplier",
    "tsm": "tsm",
    "tsn": "tsn",
}
"""The file in this folder that registers each model."""

BACKBONES = (
    *("alexnet", "cnn_m_2048", "cnn_m_2048_temporal", "googlenet", "mobilenet_v1", "mobilenet_v2"),
    *("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("squeezenet1_0", "squeezenet1_1", "vgg16", "vgg16_bn"),
)
"""The backbones that need no extra package; ``timm/NAME`` adds all of timm's."""

REQUIRED = inspect.Parameter.empty
"""In place of the default of a keyword that has none."""


def list_models() -> list[str]:
    """Return the names that `praxiscope.models.create_model` knows, sorted: ours, and those of other packages."""
    return sorted({*FILES, *models, *offered_models()})


def registered(name: str) -> Registered | None:
    """A model's registration; None for a model of ours whose file has not been imported.

    A package that offers the model by an entry point is imported.

    Raises:
        UnknownNameError: no such model; the message names the nearest.
        ArgumentError: the package that offers the model does not register it.
    """
    if name in models:
        return models.get(name)
    if name in FILES:
        return None
    offer = offered_models().get(name)
    if offer is None:
        raise unknown_name("model", name, list_models())
    offer.load()
    if name not in models:
        raise ArgumentError(
            f"model {name!r}: the entry point {offer.value!r} ({GROUP}) does not register it. Decorate its builder "
            f"with @register_model({name!r})."
        )
    return models.get(name)


def keywords_of(name: str) -> dict[str, Any]:
    """The keywords of a model's builder with their defaults, `REQUIRED` where there is none.

    Raises:
        UnknownNameError: no such model; the message names the nearest.
    """
    if (known := registered(name)) is not None:
        return {key: word.default for key, word in inspect.signature(known.build).parameters.items()}
    arguments = _definition(name)[0].args
    return {
        word.arg: REQUIRED if default is None else ast.literal_eval(default)
        for word, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }


def frames_of(name: str) -> str:
    """Whether a model sees "sampled" frames or "all". Raises UnknownNameError for an unknown model."""
    if (known := registered(name)) is not None:
        return known.frames
    facts = {word.arg: ast.literal_eval(word.value) for word in _definition(name)[1].keywords}
    return str(facts.get("frames", "sampled"))


def _definition(name: str) -> tuple[ast.FunctionDef, ast.Call]:
    """The builder of a model of ours, and its registration, read from its file."""
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
    """Raise ArgumentError for a keyword that a model's builder does not take; the message names the nearest.

    Raises:
        UnknownNameError: no such model.
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
    """What a model sees by default: "rgb", "flow", or "both" where it needs RGB and flow.

    Raises:
        UnknownNameError: no such model.
    """
    return str(keywords_of(name).get("stream", "rgb"))


def check_backbone(name: str) -> None:
    """Raise UnknownNameError for an unknown backbone. Whether timm knows a ``timm/NAME`` is not checked."""
    if name not in BACKBONES and not name.startswith("timm/"):
        raise unknown_name("backbone", name, [*BACKBONES, "timm/NAME"])
