"""Recipes by name: settings of published and of useful experiments."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.registry import Registry

__all__ = ["FILES", "get_recipe", "list_recipes", "recipe_of", "recipes"]

FILES = ("baselines", "two_stream", "principal", "full_video", "multiplier")
"""The files of this folder that register recipes, in the order in which they are listed."""

recipes: Registry[Callable[[], TrainSettings]] = Registry("recipe")


def _registered() -> Registry[Callable[[], TrainSettings]]:
    for name in FILES:
        importlib.import_module(f"praxiscope.recipes.{name}")
    return recipes


def list_recipes() -> list[str]:
    """The names that `get_recipe` knows, sorted."""
    return _registered().names()


def get_recipe(name_or_path: str) -> TrainSettings:
    """Settings by a recipe's name, or from a run's YAML file.

    Raises:
        UnknownNameError: no such recipe; the message names the nearest.
        ArgumentError: the file cannot be read, or a setting in it cannot be used.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_yaml(path)
    return _registered().get(name_or_path)()


def recipe_of(model: str) -> TrainSettings:
    """The settings that a model starts from where no recipe is named: ``default-MODEL``, or else ``default``."""
    known = _registered()
    own = f"default-{model}"
    return known.get(own if own in known else "default")()
