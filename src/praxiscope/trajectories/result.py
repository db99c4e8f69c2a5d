"""Extracted trajectories, and the rules by which some are rejected.

Axis letters: N trajectories, L steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from praxiscope.trajectories.settings import DESCRIPTORS, TrajectorySettings
from praxiscope.trajectories.tracks import Finished

__all__ = ["DESCRIPTORS", "INFO", "Trajectories", "described", "joined"]

INFO = (
    "frame",
    "mean_x",
    "mean_y",
    "deviation_x",
    "deviation_y",
    "length",
    "scale",
    "place_x",
    "place_y",
    "place_t",
)
"""Columns of ``info``: number of the last frame, from 0; mean place, its standard deviations and the length of the
path, in pixels of the frame; how much smaller the frame of its scale is; place in the video from 0 to 1, of its mean
and of the middle frame."""


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of a video, float32.

    Attributes:
        info: [N, 10], see `INFO`.
        track: displacements x, y of each step divided by the sum of their lengths, [N, 2 L].
        hog, hof, mbhx, mbhy: [N, 96], [N, 108], [N, 96], [N, 96]: for each of 3 time cells 2 x 2 cells of histograms.
    """

    info: NDArray[np.float32]
    track: NDArray[np.float32]
    hog: NDArray[np.float32]
    hof: NDArray[np.float32]
    mbhx: NDArray[np.float32]
    mbhy: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.info)

    def take(self, rows: NDArray[np.int64]) -> Trajectories:
        """Some of them, by their numbers."""
        return Trajectories(*(getattr(self, name)[rows] for name in ("info", *DESCRIPTORS)))


def joined(parts: Sequence[Trajectories]) -> Trajectories:
    """Trajectories one after the other; at least one part."""
    names = ("info", *DESCRIPTORS)
    return Trajectories(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def described(
    finished: Finished,
    frame: int,
    ratio: float,
    size: tuple[int, int],
    settings: TrajectorySettings,
) -> Trajectories:
    """Reject trajectories, and describe the others.

    Args:
        finished: of one scale.
        frame: number of their last frame.
        ratio: pixels of the frame in one of the scale.
        size: rows and columns of the frame.
        settings: see there.

    Returns:
        Trajectories whose places in time, the last column of ``info``, are still numbers of frames.
    """
    points = finished.points * np.float32(ratio)
    good = _valid(points, settings)
    warped = finished.warped * np.float32(ratio)
    if settings.camera_motion:
        good &= np.linalg.norm(warped, axis=2).max(1) > settings.least_warped
    points, warped = points[good], warped[good]
    steps = warped if settings.camera_motion else np.diff(points, axis=1)
    lengths = np.linalg.norm(steps, axis=2).sum(1)
    mean, spread = points.mean(1), points.std(1)
    rows, columns = size
    info = np.column_stack(
        [
            np.full(len(points), frame),
            mean,
            spread,
            np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1),
            np.full(len(points), ratio),
            mean[:, 0] / columns,
            mean[:, 1] / rows,
            np.full(len(points), frame - settings.length / 2),
        ]
    ).astype(np.float32)
    track = (steps / np.maximum(lengths, 1e-6)[:, None, None]).reshape(len(points), 2 * settings.length)
    parts = np.split(finished.descriptors[good], np.cumsum([*settings.frame_sizes.values()])[:-1], axis=2)
    flat = (part.reshape(len(part), part.shape[1] * part.shape[2]) for part in parts)
    return Trajectories(info, track.astype(np.float32), *flat)


def _valid(points: NDArray[np.float32], settings: TrajectorySettings) -> NDArray[np.bool_]:
    """Trajectories [N, L + 1, 2] in pixels of the frame that move, neither wander nor jump."""
    spread = points.std(1)
    moves = (spread >= settings.least_deviation).any(1)
    stays = (spread <= settings.most_deviation).all(1)
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    longest = steps.max(1)
    jumps = (longest > settings.jump * steps.sum(1)) & (longest > settings.jump_pixels)
    found: NDArray[np.bool_] = moves & stays & ~jumps
    return found
