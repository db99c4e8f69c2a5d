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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_file_of_torchvision_is_imported_alone_and_all_of_it_later():
    code = """
import sys
from praxiscope import _compat
resnet = _compat.torchvision_file("resnet")
assert not {"torch._dynamo", "torchvision.ops.roi_align", "torchvision.models.alexnet"} & set(sys.modules)
network = resnet.resnet18()
assert not hasattr(sys.modules["torchvision"], "__warningregistry__")
assert "torchvision.datasets" not in sys.modules
whole = _compat.import_torchvision()
assert whole is sys.modules["torchvision"]
assert whole.models.resnet18 is resnet.resnet18
assert isinstance(network, whole.models.ResNet)
assert whole.models.alexnet and whole.transforms.Compose and whole.ops.nms and whole.__version__
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.slow
def test_a_package_that_waits_runs_when_something_else_of_it_is_asked_for():
    code = """
import sys
from praxiscope import _compat
mobilenet = _compat.torchvision_file("mobilenetv2")
_compat._declare_operators()  # as torchvision may be of another build
import torchvision
from torchvision.models import mobilenet_v2
from torchvision import transforms
assert mobilenet_v2 is mobilenet.mobilenet_v2 and transforms.CenterCrop(8) is not None
try:
    torchvision.models.no_such_name
except AttributeError:
    pass
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
