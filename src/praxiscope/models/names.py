"""Names of models and backbones, and the keywords of models: told without importing torch, for who made a typing error.

A model's keywords and their defaults are read from its file, so that they stand there alone.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.models.registered import models

__all__ = [
    "BACKBONES",
    "FILES",
    "check_backbone",
    "check_keywords",
    "default_stream",
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
    """Return the names that `praxiscope.models.create_model` knows, sorted."""
    return sorted({*FILES, *models})


def keywords_of(name: str) -> dict[str, Any]:
    """The keywords of a model's builder with their defaults, `REQUIRED` where there is none.

    Raises:
        UnknownNameError: no such model; the message names the nearest.
    """
    if name in models:
        return {key: word.default for key, word in inspect.signature(models.get(name)).parameters.items()}
    if name not in FILES:
        raise unknown_name("model", name, list_models())
    text = Path(__file__).with_name(f"{FILES[name]}.py").read_text(encoding="utf-8")
    registration = ast.dump(ast.parse(f"models.register({name!r})", mode="eval").body)
    (builder,) = (
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and registration in map(ast.dump, node.decorator_list)
    )
    return {
        word.arg: REQUIRED if default is None else ast.literal_eval(default)
        for word, default in zip(builder.args.kwonlyargs, builder.args.kw_defaults, strict=True)
    }


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
                f"model {name!r} takes no argument {keyword!r}. {hint}It takes: {', '.join(known)}"
            )


def default_stream(name: str) -> str:
    """What a model sees unless it is told otherwise: "rgb", or "both" where it needs pictures and flow.

    Raises:
        UnknownNameError: no such model.
    """
    return str(keywords_of(name).get("stream", "rgb"))


def check_backbone(name: str) -> None:
    """Raise UnknownNameError for a name that is no backbone's; which names timm knows is not looked at."""
    if name not in BACKBONES and not name.startswith("timm/"):
        raise unknown_name("backbone", name, [*BACKBONES, "timm/NAME"])
