"""Import torchvision and timm: tolerate a mismatched torchvision wheel, and import only what is needed.

If torchvision and torch are different builds (such as torchvision for CUDA with a CPU-only torch), torchvision cannot
load its compiled operators, and its import fails with ``operator torchvision::nms does not exist``. Classification and
flow networks and transforms do not need these operators: once they are *declared*, the import succeeds. Code that needs
torchvision, or a package that imports it, must import it with this module.

``import torchvision`` also imports its data sets, detectors and operators, and with them torch's compiler, which takes
longer than importing torch. A backbone needs a single file of torchvision; `torchvision_file` imports only that. The
code of its parent packages runs when another name of them is first used, so a later ``import torchvision`` is complete.
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

# The operators that torchvision's Python code refers to at import, with their published signatures.
_SIGNATURES = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"torchvision::\w+ does not exist")

# Garbage collection of a library object removes its declarations, so the objects are kept.
_declared: list[torch.library.Library] = []

# The packages that a backbone's file imports from, parents first.
_PACKAGES = ("torchvision", "torchvision.models", "torchvision.ops", "torchvision.transforms")
_lock = threading.RLock()


class _Waiting(ModuleType):
    """A package whose submodules can be imported and whose own code runs when another name of it is used."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name not in ("__all__", "__version__"):  # tools that inspect all modules
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            if type(self) is _Waiting:  # another thread may have run it already
                _run(self)
        return getattr(self, name)


def _run(package: ModuleType) -> None:
    """Run the code of a waiting package. If it fails, the package waits again."""
    package.__class__ = ModuleType
    try:
        assert package.__spec__ is not None
        assert package.__spec__.loader is not None
        package.__spec__.loader.exec_module(package)
    except BaseException:
        package.__class__ = _Waiting
        raise


def torchvision_file(name: str) -> ModuleType:
    """Import and return the module ``torchvision.models.NAME`` without the rest of torchvision.

    Raises:
        ImportError: If torchvision is not installed, or has no such file.
    """
    with _lock:
        if "torchvision" not in sys.modules:
            for package in _PACKAGES:
                _wait(package)
    return importlib.import_module(f"torchvision.models.{name}")


def _wait(name: str) -> None:
    """Add a package to ``sys.modules`` without running its code."""
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
    """Import and return ``torchvision``, even if its compiled operators do not match this torch.

    Raises:
        ImportError: If torchvision is not installed.
        RuntimeError: If its import fails for another reason than missing operators.
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
    """Declare the missing operators, without kernels."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)  # type: ignore[no-untyped-call]
    _declared.append(library)


def torchvision_models() -> ModuleType:
    """Import and return ``torchvision.models``."""
    import_torchvision()
    return importlib.import_module("torchvision.models")


def import_timm() -> ModuleType:
    """Import and return ``timm``. Raises ArgumentError if it is not installed."""
    import_torchvision()  # timm imports torchvision, and would fail in the same way
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ArgumentError(
            "backbones named timm/… need the package timm, which is not installed. "
            "Install it: pip install praxiscope[timm]"
        ) from None
