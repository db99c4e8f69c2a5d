"""Shell completion of option values, without importing torch."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["backbones", "flow_methods", "models", "protocols", "recipes"]


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Names of models."""
    from praxiscope.models import list_models

    return _starting(list_models(), incomplete)


def backbones(incomplete: str) -> list[str]:
    """Names of backbones that need no extra package."""
    from praxiscope.models.names import BACKBONES

    return _starting(BACKBONES, incomplete)


def recipes(incomplete: str) -> list[str]:
    """Names of recipes."""
    from praxiscope.recipes.named import list_recipes

    return _starting(list_recipes(), incomplete)


def flow_methods(incomplete: str) -> list[str]:
    """Names of methods of estimating flow."""
    from praxiscope.flow.methods import list_methods

    return _starting(list_methods(), incomplete)


def protocols(incomplete: str) -> list[str]:
    """Names of common protocols."""
    return _starting(("1x1", "25x1", "25x10", "25xfull", "allxfull", "two-stream"), incomplete)
