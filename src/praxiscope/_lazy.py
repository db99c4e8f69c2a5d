"""Packages whose modules are imported when they are first named: ``px.layers.shift`` just works, and
``praxiscope --help`` imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

__all__ = ["submodules"]


def submodules(package: str) -> Callable[[str], Any]:
    """A module-level ``__getattr__`` that imports submodules of ``package`` by name."""

    def get(name: str) -> Any:
        full = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(full)

    return get
