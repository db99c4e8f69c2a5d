from __future__ import annotations

import subprocess
import sys

import pytest

from praxiscope import _compat
from praxiscope.errors import ArgumentError


def test_torchvision_is_imported_once_and_whole():
    first = _compat.import_torchvision()
    assert first is _compat.import_torchvision()
    assert _compat.torchvision_models().resnet18 is first.models.resnet18


def test_missing_operators_are_declared_and_other_failures_are_not_hidden():
    # A fresh process whose torchvision fails as a mismatched wheel does, then for a reason of its own.
    code = """
import importlib, sys, types
from praxiscope import _compat
real, calls = importlib.import_module, []
def failing(name):
    calls.append(name)
    if len(calls) == 1:
        sys.modules["torchvision.half"] = types.ModuleType("torchvision.half")
        raise RuntimeError("operator torchvision::nms does not exist")
    return types.ModuleType(name)
importlib.import_module = failing
assert _compat.import_torchvision().__name__ == "torchvision"
assert calls == ["torchvision"] * 2 and "torchvision.half" not in sys.modules
import torch
assert hasattr(torch.ops.torchvision, "nms")
def broken(name):
    raise RuntimeError("something else")
importlib.import_module = broken
try:
    _compat.import_torchvision()
except RuntimeError as error:
    assert str(error) == "something else"
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ArgumentError, match=r"pip install praxiscope\[timm\]"):
        _compat.import_timm()
