"""Two trained streams and the network that joins them: their settings, for tests of whole runs."""

from __future__ import annotations

from pathlib import Path

from praxiscope.recipes.named import get_recipe, recipe_of
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.warm_start import settings_of_runs
from support import SMALL

Moving = tuple[Path, Path]
Streams = tuple[Path, Path]
RESNET = ("model.backbone=resnet18", "model.dropout=0", "input.flip=false")


def single(videos: Path, flow: Path | None, *assignments: str) -> TrainSettings:
    given = [] if flow is None else [f"data.flow={flow}", "model.stream=flow", "input.flow_length=4"]
    return override(
        get_recipe("default"),
        [
            *SMALL,
            *RESNET,
            f"data.source={videos}",
            "optim.epochs=1",
            "run.validate_epochs=0",
            *given,
            *assignments,
        ],
    )


def joint(moving: Moving, runs: tuple[Path, ...], *assignments: str) -> TrainSettings:
    small = [text for text in SMALL if not text.startswith(("model.", "input."))]
    settings = recipe_of("multiplier").updated(settings_of_runs([str(run) for run in runs]))
    wanted = [f"data.source={moving[0]}", f"data.flow={moving[1]}", "input.snippets=3", "input.strides=[1,3]"]
    return override(
        settings,
        [*small, "input.flip=false", *wanted, "optim.epochs=1", "run.validate_epochs=0", *assignments],
    )
