"""The trajectories of one scale that are being tracked.

Axis letters: N trajectories, L steps, D values of the descriptors of a frame, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from praxiscope.trajectories.settings import TrajectorySettings

__all__ = ["Finished", "Tracks"]


@dataclass(frozen=True)
class Finished:
    """Trajectories that have their full length.

    Attributes:
        points: x and y in pixels of the scale, [N, L + 1, 2].
        warped: displacements without the motion of the camera, [N, L, 2].
        descriptors: the mean over the frames of each time cell, [N, time cells, D].
    """

    points: NDArray[np.float32]
    warped: NDArray[np.float32]
    descriptors: NDArray[np.float32]


class Tracks:
    """Trajectories of any age, in arrays that grow as needed.

    Args:
        size: rows and columns of the frames of this scale.
        settings: see there.
        width: D.
    """

    def __init__(self, size: tuple[int, int], settings: TrajectorySettings, width: int) -> None:
        self.size, self._settings = size, settings
        length = settings.length
        self._age = np.empty(0, np.intp)
        self._points = np.empty((0, length + 1, 2), np.float32)
        self._warped = np.empty((0, length, 2), np.float32)
        self._descriptors = np.empty((0, settings.time_cells, width), np.float32)

    def __len__(self) -> int:
        return len(self._age)

    @property
    def places(self) -> NDArray[np.float32]:
        """Where the trajectories are now, [N, 2]."""
        return self._points[np.arange(len(self)), self._age]

    def start(self, corners: NDArray[np.float32], largest: float) -> None:
        """Start trajectories on a grid, where the frame has structure and none is near.

        Args:
            corners: the smaller eigenvalue of the structure tensor, [H, W].
            largest: the largest of the frame.
        """
        stride = self._settings.stride
        rows, columns = (side // stride for side in self.size)
        free = np.ones((rows, columns), bool)
        if len(self):
            x, y = (self.places / stride).astype(np.intp).T
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            free[y[inside], x[inside]] = False
        row, column = np.nonzero(free)
        y, x = row * stride + stride // 2, column * stride + stride // 2  # the middle of each cell
        good = corners[y, x] > self._settings.quality * largest
        self._add(np.stack([x[good], y[good]], 1).astype(np.float32))

    def _add(self, points: NDArray[np.float32]) -> None:
        count = len(points)

        def longer(array: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.concatenate([array, np.zeros((count, *array.shape[1:]), np.float32)])

        self._age = np.concatenate([self._age, np.zeros(count, np.intp)])
        self._points, self._warped, self._descriptors = map(
            longer, (self._points, self._warped, self._descriptors)
        )
        if count:
            self._points[-count:, 0] = points

    def step(
        self, flow: NDArray[np.float32], warped: NDArray[np.float32], descriptors: NDArray[np.float32]
    ) -> Finished:
        """Move all trajectories to the next frame; those that leave it end.

        Args:
            flow: to the next frame, median-filtered, [2, H, W].
            warped: the same without the motion of the camera.
            descriptors: at the places of now, [N, D].

        Returns:
            The trajectories that have their full length now.
        """
        here, number = self.places, np.arange(len(self))
        height, width = self.size
        column = np.rint(here[:, 0]).astype(np.intp).clip(0, width - 1)
        row = np.rint(here[:, 1]).astype(np.intp).clip(0, height - 1)
        frames = self._settings.length // self._settings.time_cells  # of a time cell
        self._descriptors[number, self._age // frames] += descriptors / np.float32(frames)
        self._warped[number, self._age] = warped[:, row, column].T
        there = here + flow[:, row, column].T
        self._age += 1
        self._points[number, self._age] = there
        inside = (there > 0).all(1) & (there[:, 0] < width) & (there[:, 1] < height)
        done = inside & (self._age == self._settings.length)
        finished = Finished(self._points[done], self._warped[done], self._descriptors[done])
        self._keep(inside & ~done)
        return finished

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._age, self._points = self._age[which], self._points[which]
        self._warped, self._descriptors = self._warped[which], self._descriptors[which]
