"""Extract improved dense trajectories from frames, one after the other, in memory that does not grow with the video.

Axis letters: T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.trajectories.camera import CameraMotion, warp_to_previous
from praxiscope.trajectories.farneback import Expansion, expand, pyramid_flow
from praxiscope.trajectories.histograms import (
    flow_sums,
    gradient_sums,
    patch_histograms,
)
from praxiscope.trajectories.opencv import opencv
from praxiscope.trajectories.result import INFO, Trajectories, described, joined
from praxiscope.trajectories.settings import TrajectorySettings
from praxiscope.trajectories.tracks import Tracks

__all__ = ["extract", "extract_parts"]

_SMALLER = 2**-0.5


class _Scale(NamedTuple):
    """A spatial scale: rows and columns of its frames, pixels of the frame in one of its pixels, its trajectories."""

    size: tuple[int, int]
    ratio: float
    tracks: Tracks


class _View(NamedTuple):
    """A frame at one scale, uint8 [H, W], and its polynomial expansion."""

    gray: NDArray[np.uint8]
    expansion: Expansion


def extract(
    frames: Any,
    camera_motion: bool = True,
    settings: TrajectorySettings | None = None,
) -> Trajectories:
    """Extract the trajectories of a clip.

    Args:
        frames: uint8 [T, 3, H, W] RGB or [T, H, W] grey, an array or a tensor; or an iterable of frames.
        camera_motion: remove the motion of the camera; overrides that of ``settings``.
        settings: see there.

    Returns:
        All trajectories, in the order of their last frames.

    Raises:
        ArgumentError: frames of another shape or type, or smaller than a patch; or OpenCV is not installed.
    """
    chosen = replace(settings or TrajectorySettings(), camera_motion=camera_motion)
    count = 0

    def counted() -> Iterator[NDArray[np.uint8]]:
        nonlocal count
        for frame in frames:
            count += 1
            yield np.asarray(frame)

    parts = list(extract_parts(counted(), chosen))
    if not parts:
        return _none(chosen)
    found = joined(parts)
    found.info[:, -1] /= max(count, 1)
    return found


def extract_parts(
    frames: Iterable[NDArray[np.uint8]], settings: TrajectorySettings
) -> Iterator[Trajectories]:
    """Yield the trajectories that end at each frame. The last column of their ``info`` is the number of the middle
    frame, as the number of frames is not known yet.

    Args:
        frames: uint8 [3, H, W] RGB or [H, W] grey, of one size.
        settings: see there.

    Raises:
        ArgumentError: see `extract`.
    """
    scales: list[_Scale] = []
    camera = CameraMotion(settings.camera, settings.seed) if settings.camera_motion else None
    before: list[_View] = []
    for number, frame in enumerate(frames):
        gray = _gray(frame, number)
        if not scales:
            scales = _scales(gray.shape, settings)
        elif gray.shape != scales[0].size:
            raise ArgumentError(f"frame {number} has {gray.shape} pixels, the first {scales[0].size}")
        now = _views(gray, scales)
        if before:
            for scale, finished in zip(scales, _advance(before, now, scales, camera, settings), strict=True):
                part = described(finished, number, scale.ratio, scales[0].size, settings)
                if len(part):
                    yield part
        _start(now, scales)
        before = now


def _advance(
    before: list[_View],
    now: list[_View],
    scales: list[_Scale],
    camera: CameraMotion | None,
    settings: TrajectorySettings,
) -> Iterator[Any]:
    """Move the trajectories of all scales from a frame to the next."""
    flows = _flows(before, now)
    still = flows
    if camera is not None:
        homography = camera.homography(before[0].gray, now[0].gray, flows[0])
        if not np.array_equal(homography, np.eye(3)):
            warped = warp_to_previous(before[0].gray, now[0].gray, homography)
            still = _flows(before, _views(warped, scales))
    for scale, view, flow, own in zip(scales, before, flows, still, strict=True):
        values = _descriptors(view.gray, own, scale.tracks, settings)
        yield scale.tracks.step(_median(flow), _median(own), values)


def _descriptors(
    gray: NDArray[np.uint8], flow: NDArray[np.float32], tracks: Tracks, settings: TrajectorySettings
) -> NDArray[np.float32]:
    """HOG, HOF, MBHx and MBHy of a frame around the trajectories, side by side."""
    if not len(tracks):
        return np.empty((0, sum(settings.frame_sizes.values())), np.float32)
    side, places = settings.patch // settings.cells, tracks.places
    u, v = flow
    maps = (
        gradient_sums(gray.astype(np.float32)),
        flow_sums(u, v, settings.still),
        gradient_sums(u),
        gradient_sums(v),
    )
    return np.concatenate([patch_histograms(sums, places, side, settings.cells) for sums in maps], axis=1)


def _start(now: list[_View], scales: list[_Scale]) -> None:
    cv2 = opencv()

    for view, scale in zip(now, scales, strict=True):
        corners = cv2.cornerMinEigenVal(view.gray, 3, ksize=3)
        scale.tracks.start(corners, float(corners.max()))


def _scales(size: tuple[int, ...], settings: TrajectorySettings) -> list[_Scale]:
    width = sum(settings.frame_sizes.values())
    found = []
    for number in range(settings.scales):
        ratio = _SMALLER**-number
        rows, columns = (round(side / ratio) for side in size)
        if min(rows, columns) < settings.patch:
            break
        found.append(_Scale((rows, columns), ratio, Tracks((rows, columns), settings, width)))
    if not found:
        raise ArgumentError(
            f"frames of {size[1]} x {size[0]} pixels are smaller than the patch of {settings.patch}. Use larger frames."
        )
    return found


def _views(gray: NDArray[np.uint8], scales: list[_Scale]) -> list[_View]:
    cv2 = opencv()

    found = [_View(gray, expand(gray))]
    for scale in scales[1:]:
        # Flow needs frames without details that the smaller frame cannot show; the descriptors are of plain ones.
        smooth = cv2.GaussianBlur(gray, (0, 0), (scale.ratio - 1) / 2)
        view, smooth = (
            cv2.resize(frame, scale.size[::-1], interpolation=cv2.INTER_LINEAR) for frame in (gray, smooth)
        )
        found.append(_View(view, expand(smooth)))
    return found


def _flows(before: list[_View], now: list[_View]) -> list[NDArray[np.float32]]:
    return pyramid_flow([view.expansion for view in before], [view.expansion for view in now])


def _median(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    cv2 = opencv()

    return np.stack([cv2.medianBlur(plane, 5) for plane in flow])


def _gray(frame: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    cv2 = opencv()

    if frame.dtype != np.uint8 or not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[0] == 3)):
        raise ArgumentError(
            f"frame {number} must be uint8 [3, H, W] or [H, W], got {frame.dtype} {list(frame.shape)}"
        )
    if frame.ndim == 2:
        return np.ascontiguousarray(frame)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY))


def _none(settings: TrajectorySettings) -> Trajectories:
    def empty(width: int) -> NDArray[np.float32]:
        return np.empty((0, width), np.float32)

    return Trajectories(empty(len(INFO)), *map(empty, settings.sizes.values()))
