"""Names of this package cannot be taken by others, whatever is imported first."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import praxiscope as px
from praxiscope.data.layouts.common import LAYOUTS
from praxiscope.errors import ArgumentError
from praxiscope.flow.methods import estimators

TAKEN = """
from typing import Literal

import praxiscope as px
from praxiscope.data.layouts.common import LAYOUTS
from praxiscope.errors import ArgumentError
from praxiscope.flow.estimate import create_estimator
from praxiscope.flow.methods import estimators
from praxiscope.steps import StepSettings, list_steps, register_step


class Full(StepSettings):
    name: Literal["full"] = "full"


def build(*, num_classes: int): ...


for name, register in {
    "tsn": px.register_model("tsn"),
    "full-video": px.register_model("full-video", frames="all"),
    "tvl1": estimators.register("tvl1"),
    "dis": estimators.register("dis"),
    "hmdb51": LAYOUTS.register("hmdb51"),
}.items():
    try:
        register(build)
    except ArgumentError as error:
        assert repr(name) in str(error), error
    else:
        raise AssertionError(name)
try:
    register_step(Full)
except ArgumentError as error:
    assert "'full'" in str(error), error
else:
    raise AssertionError("full")
assert list_steps() == ["action-flow", "cached", "full", "principal"]
px.create_model("tsn", num_classes=2, backbone="resnet10")
px.create_model("full-video", num_classes=2, backbone="resnet10", clusters=2)
for name in ("dis", "tvl1"):
    create_estimator(name)
"""


def test_names_of_the_package_are_taken_before_their_files_are_imported() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "told"), [(5, "5"), ("", "''"), (None, "None"), (print, "print")])
def test_a_name_must_be_a_non_empty_string(name: Any, told: str) -> None:
    for register in (px.register_model, estimators.register, LAYOUTS.register):
        with pytest.raises(ArgumentError, match=told) as caught:
            register(name)
        assert "\n" not in str(caught.value)


def test_a_builder_and_a_step_must_be_what_they_are_registered_as() -> None:
    with pytest.raises(ArgumentError, match=r"'mine'.*5"):
        px.register_model("mine")(5)  # type: ignore[type-var]
    with pytest.raises(ArgumentError, match=r"StepSettings.*5"):
        px.steps.register_step(5)  # type: ignore[type-var]
