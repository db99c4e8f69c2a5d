"""torchvision and timm, imported so that a mismatched torchvision wheel does no harm.

A torchvision wheel beside a torch of another build (its CUDA wheel beside a CPU-only torch, say) cannot load
its compiled operators, and its import then dies on ``operator torchvision::nms does not exist``. Networks,
transforms and flow networks need none of these operators: once they are *declared*, the import succeeds.
Everything here that needs torchvision, or a package that imports it, asks this module first.
"""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

import torch

from praxiscope.errors import ArgumentError

__all__ = ["import_timm", "import_torchvision", "torchvision_models"]

# The operators that torchvision's Python code names at import, with their published signatures.
_SIGNATURES = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"torchvision::\w+ does not exist")

# A library object that is collected takes its declarations along, so they are kept for the process's life.
_declared: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Return the module ``torchvision``, also where its compiled operators do not fit this torch.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: its import fails for another reason than missing operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if not _MISSING.search(str(error)):
            raise
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    _declare_operators()
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    """Declare (without a kernel) those operators that this process does not know."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)  # type: ignore[no-untyped-call]
    _declared.append(library)


def torchvision_models() -> ModuleType:
    """Return the module ``torchvision.models``."""
    import_torchvision()
    return importlib.import_module("torchvision.models")


def import_timm() -> ModuleType:
    """Return the module ``timm``. Raises ArgumentError with the remedy where it is not installed."""
    import_torchvision()  # timm imports it, and would meet the same failure
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ArgumentError(
            "backbones named timm/… need the package timm, which is not installed. "
            "Install it: pip install praxiscope[timm]"
        ) from None
