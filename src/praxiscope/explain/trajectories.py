"""The picture of trajectories, before and after the motion of the camera is removed.

Axis letters: H rows, W columns, N trajectories, L steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.explanation import BLUE, ORANGE, TEXT, Explanation, new_figure, set_title, style_axes
from praxiscope.progress import Reporter
from praxiscope.trajectories.extraction import extract
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import TrajectorySettings
from praxiscope.units import counted
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["explain_trajectories"]


class _Shown(NamedTuple):
    """A frame, uint8 [H, W, 3], and the paths of its trajectories, [N, L + 1, 2], in pixels.

    still: paths that end when the motion of the camera is removed.
    kept: the others.
    """

    pixels: NDArray[np.uint8]
    still: NDArray[np.float32]
    kept: NDArray[np.float32]


def explain_trajectories(
    video: str | Path, *, frames: int = 4, short_side: int = 240, reporter: Reporter | None = None
) -> Explanation:
    """Draw the trajectories that cross frames of a video: all of them, and those that are not the camera's.

    Args:
        video: video file.
        frames: number of frames, evenly spaced.
        short_side: larger frames are resized to this short side, in pixels.
        reporter: shows progress.

    Returns:
        The figure with the facts ``frames`` (numbers), ``before`` and ``after`` (numbers of trajectories at each).

    Raises:
        ArgumentError: a number is invalid, or OpenCV is not installed.
        DataError: the video is shorter than a trajectory.
        VideoError: the video cannot be read.
    """
    if frames < 1:
        raise ArgumentError(f"frames must be at least 1, got {frames}")
    source, length = open_video(video), TrajectorySettings().length
    places = len(source) - length
    if places < 1:
        raise DataError(
            f"{video}: has {counted(len(source), 'frame')}, but a trajectory needs {length + 1}. Use a longer video."
        )
    # A trajectory crosses a frame if it starts at most L frames before it: half of them before, half after.
    numbers = [length // 2 + number for number in segment_indices(places, min(frames, places)).tolist()]
    shown = []
    with (reporter or Reporter()).bar("extracting trajectories", len(numbers)) as bar:
        for number in numbers:
            first = max(0, number - length)
            part = torch.arange(first, min(len(source), number + length + 1))
            pixels = source.frames(part, short_side=min(short_side, source.width, source.height)).numpy()
            shown.append(_at(pixels, number - first))
            bar.advance()
    times = [float(source.timestamps()[number]) for number in numbers]
    captions = [f"frame {number}, {time:.2f} s" for number, time in zip(numbers, times, strict=True)]
    facts = {
        "frames": numbers,
        "before": [len(one.still) + len(one.kept) for one in shown],
        "after": [len(one.kept) for one in shown],
    }
    title = f"{Path(video).name}: trajectories before and after camera motion is removed"
    return Explanation(_draw(shown, captions, title), facts)


def _at(pixels: NDArray[np.uint8], number: int) -> _Shown:
    """The trajectories that cross one of consecutive frames, uint8 [T, 3, H, W]."""
    whole, moving = extract(pixels, camera_motion=False), extract(pixels, camera_motion=True)
    length = whole.track.shape[1] // 2
    crosses = (whole.info[:, 0] >= number) & (whole.info[:, 0] - length <= number)
    # Points are tracked alike in both: the others were rejected as the camera's.
    alike = {tuple(row) for row in moving.info[:, :7].tolist()}
    kept = np.array([tuple(row) in alike for row in whole.info[:, :7].tolist()], dtype=bool)
    paths = _paths(whole)
    return _Shown(pixels[number].transpose(1, 2, 0), paths[crosses & ~kept], paths[crosses & kept])


def _paths(found: Trajectories) -> NDArray[np.float32]:
    """The points of trajectories whose displacements are those of the points, [N, L + 1, 2]."""
    steps = found.track.reshape(len(found), found.track.shape[1] // 2, 2) * found.info[:, 5, None, None]
    points = np.concatenate([np.zeros((len(found), 1, 2), np.float32), steps.cumsum(1)], axis=1)
    return points - points.mean(1, keepdims=True) + found.info[:, None, 1:3]


def _draw(shown: list[_Shown], captions: list[str], title: str) -> Any:
    """All trajectories above those that are left."""
    from matplotlib.collections import LineCollection

    height, width = shown[0].pixels.shape[:2]
    cell = 2.7  # inches
    figure = new_figure(cell * len(shown), 2 * cell * height / width + 0.9)
    set_title(figure, title)
    for place, (one, caption) in enumerate(zip(shown, captions, strict=True)):
        for row, groups in enumerate(((one.still, one.kept), (one.kept,))):
            axes = figure.add_subplot(2, len(shown), row * len(shown) + place + 1)
            axes.imshow(one.pixels // 2 + 100)
            for paths, colour in zip(groups, (ORANGE, BLUE)[2 - len(groups) :], strict=True):
                axes.add_collection(LineCollection(list(paths), colors=colour, linewidths=0.6))
                axes.plot(*paths[:, -1].T, ".", color=colour, markersize=1.5)
            count = counted(sum(map(len, groups)), "trajectory", "trajectories")
            axes.set_title(
                f"{caption}: {count}" if row == 0 else f"left: {count}", fontsize=8, color=TEXT, pad=3
            )
            axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            axes.set_xticks([])
            axes.set_yticks([])
            style_axes(axes)
    return figure
