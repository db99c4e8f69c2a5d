"""Fixtures of exported networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exported_models import each_exported_once
from narrow import narrow_resnets


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    """Tests here build narrow ResNets with two stages of residual blocks: the other two would be like the second.

    PyTorch's exporter, whose time is that of the number of layers, runs once for each network.
    """
    with narrow_resnets(stages=2), each_exported_once():
        yield
