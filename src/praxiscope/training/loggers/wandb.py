"""Weights & Biases. Without an account, its files stay in the run's folder: ``wandb sync`` sends them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from praxiscope.training.loggers import register_logger

__all__ = ["Wandb"]


@register_logger("wandb")
class Wandb:
    """See `praxiscope.training.loggers.Logger`. WANDB_PROJECT and the other variables of wandb count."""

    needs = "wandb"

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin a run; offline unless the user has configured wandb."""
        import wandb

        known = os.environ.get("WANDB_MODE") or wandb.api.api_key or os.environ.get("WANDB_API_KEY")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "praxiscope"),
            name=run.name,
            dir=str(run),
            config=dict(config),
            mode=None if known else "offline",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        self._run.log({**values, "step": step})

    def finish(self) -> None:
        """End the run."""
        self._run.finish()
