"""Recipes by name: settings of published and of useful experiments."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.registry import Registry

__all__ = ["Start", "get_recipe", "list_recipes", "recipe_groups", "recipe_of", "recipes", "scratch_of"]

Start: TypeAlias = Literal["scratch", "weights", "features"]
"""What a network starts from: random weights, trained weights, or stored features."""

_FIRST = ("start", "baselines")
_NO_RECIPES = ("named", "sections", "settings")

recipes: Registry[Callable[[], TrainSettings]] = Registry("recipe", "praxiscope.recipes")


def _files() -> list[str]:
    """The files of this folder that register recipes, in the order in which they are listed."""
    found = {file.stem for file in Path(__file__).parent.glob("[!_]*.py")} - {*_FIRST, *_NO_RECIPES}
    return [*_FIRST, *sorted(found)]


def _registered() -> Registry[Callable[[], TrainSettings]]:
    for name in _files():
        importlib.import_module(f"{__package__}.{name}")
    return recipes


def list_recipes() -> list[str]:
    """The names that `get_recipe` knows, sorted."""
    return _registered().names()


def recipe_groups() -> dict[str, dict[str, str]]:
    """Descriptions of all recipes by name, grouped by file under its title; those of other packages come last."""
    known = _registered()
    modules = {f"{__package__}.{file}": importlib.import_module(f"{__package__}.{file}") for file in _files()}
    titles = {name: (module.__doc__ or name).splitlines()[0].rstrip(".") for name, module in modules.items()}
    groups: dict[str, dict[str, str]] = {title: {} for title in titles.values()}
    for name in known:
        recipe = known.get(name)
        module = getattr(recipe, "func", recipe).__module__  # a variant is a partial of a function
        groups.setdefault(titles.get(module, module), {})[name] = inspect.getdoc(recipe) or ""
    return groups


def get_recipe(name_or_path: str) -> TrainSettings:
    """Settings by the name of a recipe, or from the YAML file of a run.

    Raises:
        UnknownNameError: unknown recipe; the message names the nearest.
        ArgumentError: the file cannot be read, or contains invalid settings.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_yaml(path)
    return _registered().get(name_or_path)()


def recipe_of(model: str, start: Start = "scratch") -> TrainSettings:
    """The default settings of a model.

    Args:
        model: its name.
        start: what the network starts from: random weights, trained weights, or stored features.

    Returns:
        Those of the recipe ``default-MODEL`` or else ``default``; from trained weights, those of ``fine-tune-MODEL``,
        ``default-MODEL`` or else ``fine-tune``; on stored features, those of ``features-MODEL`` or else ``features``.
    """
    known = _registered()
    own = {
        "scratch": [f"default-{model}", "default"],
        "weights": [f"fine-tune-{model}", f"default-{model}", "fine-tune"],
        "features": [f"features-{model}", "features"],
    }[start]
    return known.get(next(name for name in own if name in known))()


_SCRATCH = {"demo-own": "demo-own-scratch"}
"""Recipes of papers are not replaced: ``two-stream-spatial`` is not its ``-scratch``, whatever the weights."""


def scratch_of(recipe: str) -> str | None:
    """The recipe that takes the place of another one if a network starts from random weights; None: none."""
    return _SCRATCH.get(recipe)
