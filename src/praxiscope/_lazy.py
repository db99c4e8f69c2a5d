"""Packages whose modules are imported when they are first named: ``px.layers.shift`` just works, and
``praxiscope --help`` imports no torch. And how a command imports it, when it comes to that."""

from __future__ import annotations

import gc
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quick_imports", "submodules"]


def submodules(package: str) -> Callable[[str], Any]:
    """A module-level ``__getattr__`` that imports submodules of ``package`` by name."""

    def get(name: str) -> Any:
        full = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(full)

    return get


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large packages in three quarters of the time: for a process that is ours, such as a command's.

    Nearly all objects of an import stay for good. The garbage collector, which would look through them again and again
    meanwhile and once more at the end of the process, is told to leave them alone.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
