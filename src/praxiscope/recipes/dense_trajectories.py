"""Improved dense trajectories (Wang and Schmid, ICCV 2013), as papers add them to their networks."""

from __future__ import annotations

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import ModelSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []


@recipes.register("idt")
def idt() -> TrainSettings:
    """Stored trajectories (praxiscope trajectories): Fisher vectors of HOG, HOF and MBH, 256 Gaussians on 256,000 of
    them, support vector machines with C = 100."""
    words = {"gaussians": 256, "samples": 256_000, "descriptors": ["hog", "hof", "mbhx", "mbhy"], "c": 100.0}
    return TrainSettings(model=ModelSettings(name="fisher-svm", **words))
