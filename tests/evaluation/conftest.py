"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _report_pixels() -> None:
    """Reports here are as users get them, with the pixels of their figures."""
