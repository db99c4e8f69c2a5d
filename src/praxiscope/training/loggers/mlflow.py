"""MLflow. Without MLFLOW_TRACKING_URI, it writes to a database in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from praxiscope.training.loggers import register_logger

__all__ = ["Mlflow"]

_MOST = 100  # parameters in one call


@register_logger("mlflow")
class Mlflow:
    """See `praxiscope.training.loggers.Logger`. MLflow's own variables count."""

    needs = "mlflow"

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin a run."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine unasked
        import mlflow

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(f"sqlite:///{run.resolve() / 'mlflow.db'}")
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "praxiscope"))
        mlflow.start_run(run_name=run.name)
        flat = {
            f"{section}.{key}": value for section, values in config.items() for key, value in values.items()
        }
        items = list(flat.items())
        for first in range(0, len(items), _MOST):
            mlflow.log_params(dict(items[first : first + _MOST]))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        import mlflow

        mlflow.log_metrics(dict(values), step=step)

    def finish(self) -> None:
        """End the run."""
        import mlflow

        mlflow.end_run()
