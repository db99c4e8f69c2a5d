"""Histograms of orientations in the cells around points: HOG, HOF and MBH of one frame.

Axis letters: H rows, W columns, B bins, N points, C cells along a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from praxiscope.trajectories.opencv import opencv
from praxiscope.trajectories.settings import ORIENTATIONS

__all__ = ["Sums", "flow_sums", "gradient_sums", "patch_histograms"]

Sums = list[NDArray[np.float64]]
"""For each of B bins the sums of what the pixels above and to the left of each corner add to it, [H + 1, W + 1]."""


def gradient_sums(image: NDArray[np.float32]) -> Sums:
    """Of the gradient of an image [H, W]: its length, shared by the two nearest of 8 orientations over the circle."""
    cv2 = opencv()

    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=1)
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=1)
    return _orientation_sums(*cv2.cartToPolar(dx, dy))


def flow_sums(u: NDArray[np.float32], v: NDArray[np.float32], still: float) -> Sums:
    """Of flow [H, W]: 8 orientations as in `gradient_sums`, and a ninth bin that counts pixels of shorter flow.

    Args:
        u, v: along x and y, pixels.
        still: length below which a pixel only adds 1 to the ninth bin.
    """
    cv2 = opencv()

    length, angle = cv2.cartToPolar(u, v)
    moving = (length > still).astype(np.float32)
    return [*_orientation_sums(length * moving, angle), cv2.integral(1 - moving, sdepth=cv2.CV_64F)]


def _orientation_sums(length: NDArray[np.float32], angle: NDArray[np.float32]) -> Sums:
    cv2 = opencv()

    place = angle * np.float32(ORIENTATIONS / (2 * np.pi))
    share = np.empty_like(place)
    found = []
    for number in range(ORIENTATIONS):
        # 1 at the orientation of the bin, 0 at those of its neighbours; the first is also the neighbour of the last.
        np.abs(np.subtract(place, np.float32(number), out=share), out=share)
        np.subtract(np.float32(1), share, out=share)
        np.maximum(share, place - np.float32(ORIENTATIONS - 1) if number == 0 else 0, out=share)
        np.maximum(share, 0, out=share)
        np.multiply(share, length, out=share)
        found.append(cv2.integral(share, sdepth=cv2.CV_64F))
    return found


def patch_histograms(sums: Sums, points: NDArray[np.float32], side: int, cells: int) -> NDArray[np.float32]:
    """The normalised histogram of the patch around each point: divided by its sum, then the square root.

    A patch that would lie outside the frame is moved inside.

    Args:
        sums: of the frame.
        points: x and y, [N, 2].
        side: of a cell, pixels.
        cells: C.

    Returns:
        float32 [N, C * C * B], cells by column, then row.
    """
    height, width = (length - 1 for length in sums[0].shape)
    left, top = np.rint(points).astype(np.intp).T - cells * side // 2
    edge = side * np.arange(cells + 1)
    columns = left.clip(0, width - cells * side) + edge[:, None, None]
    rows = top.clip(0, height - cells * side) + edge[:, None]
    corners = columns + rows * (width + 1)
    found = np.empty((len(points), cells, cells, len(sums)), np.float32)
    for number, each in enumerate(sums):
        at = each.reshape(-1)[corners]
        across = at[1:] - at[:-1]
        found[..., number] = (across[:, 1:] - across[:, :-1]).transpose(2, 0, 1)
    found = np.maximum(found.reshape(len(points), -1), 0)  # differences of sums may be a little below 0
    total = found.sum(1, keepdims=True)
    return np.sqrt(found / np.maximum(total, np.float32(1e-6)))
