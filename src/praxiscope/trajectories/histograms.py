"""Histograms of orientations in the cells around points: HOG, HOF and MBH of one frame.

Axis letters: H rows, W columns, B bins, N points, C cells along a side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.trajectories.opencv import opencv

__all__ = ["Bins", "cell_sums", "flow_bins", "gradient_bins", "patch_histograms"]

Bins = NDArray[np.float32]
"""What each pixel adds to each bin, [H, W, B]."""

ORIENTATIONS = 8


def gradient_bins(image: NDArray[np.float32]) -> Bins:
    """The gradient of an image [H, W]: its length, shared by the two nearest of 8 orientations over the full circle."""
    cv2 = opencv()

    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=1)
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=1)
    return _orientation_bins(dx, dy, ORIENTATIONS)


def flow_bins(flow: NDArray[np.float32], still: float) -> Bins:
    """Flow [H, W, 2]: 8 orientations as in `gradient_bins`, and a ninth bin that counts pixels of shorter flow.

    Args:
        flow: in pixels, x first.
        still: length below which a pixel only adds 1 to the ninth bin.
    """
    dx, dy = flow[..., 0], flow[..., 1]
    moving = dx * dx + dy * dy > still * still
    bins = _orientation_bins(dx, dy, ORIENTATIONS + 1)
    bins *= moving[..., None]
    bins[..., ORIENTATIONS] = ~moving
    return bins


def _orientation_bins(dx: NDArray[np.float32], dy: NDArray[np.float32], bins: int) -> Bins:
    cv2 = opencv()

    length, angle = cv2.cartToPolar(dx, dy)
    place = angle * np.float32(ORIENTATIONS / (2 * np.pi))
    low = np.floor(place)
    share = place - low
    first = low.astype(np.intp) % ORIENTATIONS
    second = (first + 1) % ORIENTATIONS
    found = np.zeros((*dx.shape, bins), np.float32)
    rows, columns = np.ogrid[: dx.shape[0], : dx.shape[1]]
    found[rows, columns, first] = length * (1 - share)
    found[rows, columns, second] += length * share
    return found


def cell_sums(bins: Bins, side: int) -> Bins:
    """Sums over the squares of ``side`` pixels whose top left pixel is each pixel, [H - side + 1, W - side + 1, B]."""
    cv2 = opencv()

    height, width, count = bins.shape
    total = np.empty((height - side + 1, width - side + 1, count), np.float32)
    for number in range(count):
        sums: Any = cv2.integral(np.ascontiguousarray(bins[..., number]), sdepth=cv2.CV_64F)
        total[..., number] = (
            sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        )
    return np.maximum(total, 0, out=total)  # differences of sums may be a little below 0


def patch_histograms(sums: Bins, points: NDArray[np.float32], side: int, cells: int) -> NDArray[np.float32]:
    """The normalised histogram of the patch around each point: divided by its sum, then the square root.

    A patch that would lie outside the frame is moved inside.

    Args:
        sums: of `cell_sums` for cells of ``side`` pixels.
        points: x and y, [N, 2].
        side: of a cell, pixels.
        cells: C.

    Returns:
        float32 [N, C * C * B], cells by column, then row.
    """
    half = cells * side // 2
    rows, columns = sums.shape[:2]
    left = np.rint(points[:, 0]).astype(np.intp) - half
    top = np.rint(points[:, 1]).astype(np.intp) - half
    left = left.clip(0, columns - 1 - (cells - 1) * side)
    top = top.clip(0, rows - 1 - (cells - 1) * side)
    parts = [sums[top + row * side, left + column * side] for column in range(cells) for row in range(cells)]
    found = np.concatenate(parts, axis=1)
    total = found.sum(1, keepdims=True)
    return np.sqrt(found / np.maximum(total, np.float32(1e-6)))
