"""Fixtures of whole runs."""

from __future__ import annotations

import pytest

import praxiscope.training.loop as loop
from runs import Stop


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Make runs stop, as by Ctrl-C, after so many steps; None lets them run."""
    real = loop.StopRequest

    def arm(steps: int | None) -> None:
        asked = [0]

        class Stopping(real):  # type: ignore[misc, valid-type]
            @property
            def requested(self) -> bool:
                asked[0] += 1
                return asked[0] >= (steps or 0)

            @requested.setter
            def requested(self, value: bool) -> None: ...

        monkeypatch.setattr(loop, "StopRequest", real if steps is None else Stopping)

    return arm
