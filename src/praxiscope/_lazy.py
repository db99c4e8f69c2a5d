"""Lazy imports: ``px.layers.shift`` imports its module at first use, and ``praxiscope --help`` does not import torch.
Also a faster import of large packages for commands."""

from __future__ import annotations

import gc
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quick_imports", "submodules"]


def submodules(package: str) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` that imports submodules of ``package`` by name."""

    def get(name: str) -> Any:
        full = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(full)

    return get


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large packages in three quarters of the time. For the process of a command, not for library use.

    Garbage collection is disabled during the import and skips the imported objects afterwards, because nearly all of
    them live until the process ends.
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
