"""How trajectories are extracted. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from praxiscope.errors import ArgumentError

__all__ = ["DESCRIPTORS", "ORIENTATIONS", "Extraction", "TrajectorySettings"]

ORIENTATIONS = 8
"""Bins of HOG and MBH; HOF has one more, for no motion."""

DESCRIPTORS = ("track", "hog", "hof", "mbhx", "mbhy")


@dataclass(frozen=True)
class TrajectorySettings:
    """The numbers of the method; defaults are those of the papers, or, where they print none, as said.

    Attributes:
        length: frames from the start of a trajectory to its end.
        stride: of the grid on which points are sampled, pixels.
        patch: side of the tube around a trajectory, pixels of its scale; a multiple of ``cells``.
        cells: cells of the tube along each side.
        time_cells: cells of the tube over time; ``length`` is a multiple of it.
        scales: largest number of spatial scales; as many are used as hold a patch.
        quality: a point needs a smaller eigenvalue of the structure tensor above this share of the largest of the
            frame.
        least_deviation: a trajectory is static if its standard deviation is below this along both axes, pixels. Not
            printed: in the published output none is below the square root of 3.
        most_deviation: a trajectory wanders if its standard deviation is above this along one axis, pixels. Not
            printed.
        jump: a trajectory jumps if one displacement is above this share of its length and above ``jump_pixels``.
        jump_pixels: see ``jump``. Not printed: shares above 0.7 occur in the published output.
        least_warped: a trajectory is that of the camera if none of its displacements without camera motion is above
            this, pixels. Not printed.
        still: flow below this counts as no motion in HOF, pixels. Not printed.
        camera_motion: remove the motion of the camera.
        camera: how frames are matched for it: "lucas-kanade", "sift" or "orb".
        seed: of RANSAC.

    Raises:
        ArgumentError: a number that cannot be used.
    """

    length: int = 15
    stride: int = 5
    patch: int = 32
    cells: int = 2
    time_cells: int = 3
    scales: int = 8
    quality: float = 0.001
    least_deviation: float = math.sqrt(3)
    most_deviation: float = 50.0
    jump: float = 0.7
    jump_pixels: float = 20.0
    least_warped: float = 1.0
    still: float = 0.4
    camera_motion: bool = True
    camera: str = "lucas-kanade"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("length", "stride", "patch", "cells", "time_cells", "scales"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "quality",
            "least_deviation",
            "most_deviation",
            "jump",
            "jump_pixels",
            "least_warped",
            "still",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.patch % (2 * self.cells):
            raise ArgumentError(f"patch must be a multiple of {2 * self.cells}, got {self.patch}")
        if self.length % self.time_cells:
            raise ArgumentError(f"length must be a multiple of {self.time_cells}, got {self.length}")

    @property
    def frame_sizes(self) -> dict[str, int]:
        """Values of HOG, HOF, MBHx and MBHy in one frame."""
        cells = self.cells**2
        return {name: cells * (ORIENTATIONS + (name == "hof")) for name in DESCRIPTORS[1:]}

    @property
    def sizes(self) -> dict[str, int]:
        """Values of each descriptor of a trajectory; 30, 96, 108, 96 and 96 with the settings of the paper."""
        return {
            "track": 2 * self.length,
            **{name: self.time_cells * width for name, width in self.frame_sizes.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Extraction:
    """How the trajectories of a store were extracted.

    Attributes:
        settings: of the method.
        short_side: larger videos are scaled to this short side, pixels; 0: never.
        most: largest number of trajectories of a video; of more, some are drawn at random.
    """

    settings: TrajectorySettings = field(default_factory=TrajectorySettings)
    short_side: int = 240
    most: int = 50_000

    def __post_init__(self) -> None:
        if self.short_side and self.short_side < self.settings.patch:
            raise ArgumentError(f"short side must be at least {self.settings.patch}, got {self.short_side}")
        if self.most < 1:
            raise ArgumentError(f"most must be at least 1, got {self.most}")

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Extraction:
        """The inverse of `to_dict`. Raises TypeError and ArgumentError for other content."""
        values = dict(content)
        return Extraction(TrajectorySettings(**values.pop("settings")), **values)
