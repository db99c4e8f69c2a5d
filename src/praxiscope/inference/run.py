"""A run: the folder that training writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint import ModelCard, find_checkpoint, load_card
from praxiscope.errors import CheckpointError
from praxiscope.inference.options import LoadOptions
from praxiscope.recipes.settings import load_yaml
from praxiscope.run_folder import LOG_FILE, SETTINGS_FILE

if TYPE_CHECKING:
    from praxiscope.inference.recogniser import Recogniser
    from praxiscope.recipes.settings import TrainSettings

__all__ = ["Run", "logged_metrics"]


def logged_metrics(run: str | Path, card: ModelCard) -> dict[str, float]:
    """Return the validation metrics of a checkpoint from the log of its run; empty if there are none."""
    log = Path(run) / LOG_FILE
    if not log.is_file():
        return {}
    with log.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("step") == str(card.training.get("step"))]
    return {
        name.removeprefix("val_"): float(value)
        for row in rows
        for name, value in row.items()
        if isinstance(name, str) and name.startswith("val_") and value
    }


class Run:
    """A run folder, as returned by `praxiscope.train`. It can be used in place of the path of a run.

    Args:
        path: the folder.
        finished: False if training was interrupted.

    Example:
        >>> run = px.Run("runs/a")
        >>> run.metrics["top1"], run.settings.optim.epochs
        >>> run.load().predict("clip.mp4")
    """

    def __init__(self, path: str | Path, *, finished: bool = True) -> None:
        self.path = Path(path)
        self.finished = finished

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        try:
            figures = [f"{name} {value:.3f}" for name, value in self.metrics.items()]
        except CheckpointError:
            figures = ["no checkpoint"]
        state = "" if self.finished else ", interrupted"
        return f"<Run {self.path}{state}{': ' if figures else ''}{', '.join(figures)}>"

    @property
    def settings(self) -> TrainSettings:
        """The resolved settings. Raises ArgumentError if the folder has none."""
        return load_yaml(self.path / SETTINGS_FILE)

    @property
    def metrics(self) -> dict[str, float]:
        """Validation metrics of the checkpoint that `load` loads, as fractions ("top1", "map", "loss"); empty if there
        are none.

        Raises:
            CheckpointError: the run has no checkpoint.
        """
        return logged_metrics(self.path, load_card(find_checkpoint(self.path)))

    def load(self, **options: Any) -> Recogniser:
        """Load the trained recogniser. Takes the keyword arguments of `praxiscope.load`."""
        from praxiscope.inference.loading import load_single

        return load_single(self.path, LoadOptions.of(**options))
