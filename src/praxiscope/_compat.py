"""torchvision and timm, imported so that a mismatched torchvision wheel does no harm, and no more than is needed.

A torchvision wheel beside a torch of another build (its CUDA wheel beside a CPU-only torch, say) cannot load
its compiled operators, and its import then dies on ``operator torchvision::nms does not exist``. Networks,
transforms and flow networks need none of these operators: once they are *declared*, the import succeeds.
Everything here that needs torchvision, or a package that imports it, asks this module first.

``import torchvision`` also imports its data sets, detectors and operators, and through these torch's compiler: more
than torch itself costs. A backbone is one file of it, which `torchvision_file` imports alone. Its packages' own code
runs when something else of them is first asked for, so whoever imports torchvision afterwards gets all of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import threading
from types import ModuleType

import torch

from praxiscope.errors import ArgumentError

__all__ = ["import_timm", "import_torchvision", "torchvision_file", "torchvision_models"]

# The operators that torchvision's Python code names at import, with their published signatures.
_SIGNATURES = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"torchvision::\w+ does not exist")

# A library object that is collected takes its declarations along, so they are kept for the process's life.
_declared: list[torch.library.Library] = []

# The packages on the way to a backbone's file, parents first: it imports from all of them.
_PACKAGES = ("torchvision", "torchvision.models", "torchvision.ops", "torchvision.transforms")
_lock = threading.RLock()


class _Waiting(ModuleType):
    """A package whose submodules can be imported, and whose own code runs when another name of it is asked for."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name not in ("__all__", "__version__"):  # who looks through all modules
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            if type(self) is _Waiting:  # another thread may have been here first
                _run(self)
        return getattr(self, name)


def _run(package: ModuleType) -> None:
    """Run the code of a package that waits; where it fails, the package waits again."""
    package.__class__ = ModuleType
    try:
        assert package.__spec__ is not None
        assert package.__spec__.loader is not None
        package.__spec__.loader.exec_module(package)
    except BaseException:
        package.__class__ = _Waiting
        raise


def torchvision_file(name: str) -> ModuleType:
    """Return the module ``torchvision.models.NAME``, importing little else of torchvision.

    Raises:
        ImportError: torchvision is not installed, or has no such file.
    """
    with _lock:
        if "torchvision" not in sys.modules:
            for package in _PACKAGES:
                _wait(package)
    return importlib.import_module(f"torchvision.models.{name}")


def _wait(name: str) -> None:
    """Enter a package into ``sys.modules`` whose code has not run."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Waiting
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def import_torchvision() -> ModuleType:
    """Return the module ``torchvision``, all of it, also where its compiled operators do not fit this torch.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: its import fails for another reason than missing operators.
    """
    try:
        return _whole()
    except RuntimeError as error:
        if not _MISSING.search(str(error)):
            raise
    if not isinstance(sys.modules.get("torchvision"), _Waiting):
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]
    _declare_operators()
    return _whole()


def _whole() -> ModuleType:
    with _lock:
        for name in _PACKAGES:
            if isinstance(waiting := sys.modules.get(name), _Waiting):
                _run(waiting)
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    """Declare (without a kernel) those operators that this process does not know."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)  # type: ignore[no-untyped-call]
    _declared.append(library)


def torchvision_models() -> ModuleType:
    """Return the module ``torchvision.models``, all of it."""
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
