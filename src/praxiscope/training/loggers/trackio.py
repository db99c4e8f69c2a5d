"""Trackio, which writes to a database on this machine: ``trackio show`` opens its pages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from praxiscope.training.loggers import register_logger

__all__ = ["Trackio"]


@register_logger("trackio")
class Trackio:
    """See `praxiscope.training.loggers.Logger`. TRACKIO_PROJECT names the project, TRACKIO_DIR the folder."""

    needs = "trackio"

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin a run."""
        import trackio

        project = os.environ.get("TRACKIO_PROJECT", "praxiscope")
        self._run = trackio.init(project=project, name=run.name, config=dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """End the run."""
        self._run.finish()
