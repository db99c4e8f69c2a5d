"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _shared_data() -> Path | None:
    named = os.environ.get("PRAXISCOPE_TEST_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    return root.resolve() if root.is_dir() else None


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of third-party test data, or a skip that says what is missing."""
    root = _shared_data()
    if root is None:
        pytest.skip("no third-party test data: set PRAXISCOPE_TEST_DATA to its folder")
    return root
