"""Recipes by name: settings of published and of useful experiments."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.registry import Registry

__all__ = ["FILES", "get_recipe", "list_recipes", "recipe_groups", "recipe_of", "recipes"]

FILES = {
    "start": "Start here",
    "baselines": "TSN and TSM (Wang et al., 2016; Lin et al., 2019)",
    "two_stream": "Two-stream networks (Simonyan and Zisserman, 2014)",
    "principal": "Principal backpropagation (Huang et al., 2019)",
    "full_video": "Full-video action recognition (Liu et al., 2021)",
    "multiplier": "Spatiotemporal multiplier networks (Feichtenhofer et al., 2017)",
}
"""The files of this folder that register recipes, with their titles, in the order in which they are listed."""

recipes: Registry[Callable[[], TrainSettings]] = Registry("recipe")


def _registered() -> Registry[Callable[[], TrainSettings]]:
    for name in FILES:
        importlib.import_module(f"praxiscope.recipes.{name}")
    return recipes


def list_recipes() -> list[str]:
    """The names that `get_recipe` knows, sorted."""
    return _registered().names()


def recipe_groups() -> dict[str, dict[str, str]]:
    """Descriptions of all recipes by name, grouped under the titles of `FILES`; those of other packages come last."""
    known = _registered()
    titles = {f"{__package__}.{file}": title for file, title in FILES.items()}
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


def recipe_of(model: str) -> TrainSettings:
    """The default settings of a model: recipe ``default-MODEL`` if there is one, or else ``default``."""
    known = _registered()
    own = f"default-{model}"
    return known.get(own if own in known else "default")()
