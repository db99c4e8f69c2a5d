"""Fixtures of exported networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exported_models import each_exported_once
from narrow import narrow_resnets


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    """Tests here build narrow ResNets, and PyTorch's exporter runs once for each network."""
    with narrow_resnets(), each_exported_once():
        yield
