"""Optical flow by polynomial expansion, at every scale of a pyramid in one pass from the coarsest to the finest.

G. Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003. OpenCV's function starts anew at
each call; here the expansion of a frame is made once, for the flow to it and the flow from it, and the flow of a scale
starts from that of the next coarser one.

H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.trajectories.opencv import opencv

__all__ = ["Expansion", "expand", "pyramid_flow"]

_RADIUS, _SIGMA = 7, 1.5  # of the neighbourhood of the expansion, pixels
_WINDOW, _WINDOW_SIGMA = 5, 1.5  # radius of the window in which one displacement is found, pixels
_PASSES = 2
_BORDER = (0.14, 0.14, 0.4472, 0.4472, 0.4472)  # certainty of the expansion of the outermost pixels
_RIDGE = 1e-5  # added to the diagonal of a system, as a share of its trace
_LEAST = 1e-3  # added to determinants, for intensities of 0 to 255


class Expansion(NamedTuple):
    """Around each pixel the frame is x'Ax + b'x + c, with A = [[axx, axy], [axy, ayy]].

    planes: bx, by, axx, ayy and axy, each float32 [H, W].
    four: the first four, float32 [H, W, 4]: they are sampled at once.
    """

    planes: Sequence[NDArray[np.float32]]
    four: NDArray[np.float32]


def expand(gray: NDArray[np.uint8]) -> Expansion:
    """The polynomial expansion of a frame, weighted by a Gaussian.

    Args:
        gray: uint8 [H, W].
    """
    cv2 = opencv()

    at = np.arange(-_RADIUS, _RADIUS + 1)
    weight = np.exp(-(at**2) / (2 * _SIGMA**2))
    weight /= weight.sum()
    two, four = (weight * at**2).sum(), (weight * at**4).sum()
    # Of 1, x², y² the products of pairs under the weights; the other terms are orthogonal to them and to each other.
    _, over_x, over_y = np.linalg.inv([[1, two, two], [two, four, two**2], [two, two**2, four]])
    kernels = [(weight * at**power).astype(np.float32) for power in range(3)]
    image = gray.astype(np.float32)

    def moment(x: int, y: int) -> NDArray[np.float32]:
        found: Any = cv2.sepFilter2D(
            image, cv2.CV_32F, kernels[x], kernels[y], borderType=cv2.BORDER_REPLICATE
        )
        return np.asarray(found, np.float32)

    plain, xx, yy = moment(0, 0), moment(2, 0), moment(0, 2)

    def curve(row: NDArray[np.float64]) -> NDArray[np.float32]:
        one, other, third = (np.float32(value) for value in row)
        return np.asarray(one * plain + other * xx + third * yy)

    planes = (
        moment(1, 0) / np.float32(two),
        moment(0, 1) / np.float32(two),
        curve(over_x),
        curve(over_y),
        moment(1, 1) / np.float32(2 * two**2),
    )
    return Expansion(planes, cv2.merge(planes[:4]))


def pyramid_flow(one: Sequence[Expansion], two: Sequence[Expansion]) -> list[NDArray[np.float32]]:
    """The flow from one frame to another, at each scale.

    Args:
        one, two: their expansions, from the largest frame to the smallest.

    Returns:
        For each scale float32 [2, H, W] in pixels of the scale, x first.
    """
    cv2 = opencv()

    flow: NDArray[np.float32] | None = None
    found = []
    for before, after in zip(reversed(one), reversed(two), strict=True):
        height, width = before.planes[0].shape
        if flow is None:
            flow = np.zeros((2, height, width), np.float32)
        else:
            ratios = (np.float32(width / flow.shape[2]), np.float32(height / flow.shape[1]))
            flow = np.stack(
                [
                    cv2.resize(plane, (width, height)) * ratio
                    for plane, ratio in zip(flow, ratios, strict=True)
                ]
            )
        for _ in range(_PASSES):
            flow = _displaced(before, after, flow)
        found.append(flow)
    return found[::-1]


def _displaced(one: Expansion, two: Expansion, flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """A better displacement for each pixel, from one that is near it, [2, H, W]."""
    cv2 = opencv()

    u, v = flow
    height, width = u.shape
    x = u + np.arange(width, dtype=np.float32)
    y = v + np.arange(height, dtype=np.float32)[:, None]
    how = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    bx, by, axx, ayy = cv2.split(cv2.remap(two.four, x, y, **how))
    axy = cv2.remap(two.planes[4], x, y, **how)
    half = np.float32(0.5)
    axx, ayy, axy = ((a + b) * half for a, b in zip((axx, ayy, axy), one.planes[2:], strict=True))
    # Where the frame does not show the target, both slopes are taken as equal: the displacement is kept.
    inside = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)) * half
    dx = (one.planes[0] - bx) * inside + axx * u + axy * v
    dy = (one.planes[1] - by) * inside + axy * u + ayy * v
    square = axy * axy
    sums = (
        axx * axx + square,
        axy * (axx + ayy),
        ayy * ayy + square,
        axx * dx + axy * dy,
        axy * dx + ayy * dy,
    )
    certain = _certainty(height)[:, None] * _certainty(width)
    xx, xy, yy, hx, hy = (_windowed(value * certain) for value in sums)
    # Structure of a single direction has the determinant 0, which float32 would miss by too much to divide by.
    ridge = np.float32(_RIDGE) * (xx + yy)
    xx, yy = xx + ridge, yy + ridge
    scale = 1 / (np.maximum(xx * yy - xy * xy, 0) + np.float32(_LEAST))
    return np.stack([(yy * hx - xy * hy) * scale, (xx * hy - xy * hx) * scale])


def _windowed(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weighted mean over the window around each pixel."""
    cv2 = opencv()

    side = 2 * _WINDOW + 1
    found: Any = cv2.GaussianBlur(value, (side, side), _WINDOW_SIGMA, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _certainty(length: int) -> NDArray[np.float32]:
    """Lower at the borders, where the neighbourhood of a pixel is cut off; [length]."""
    found = np.ones(length, np.float32)
    edge = np.array(_BORDER[: length // 2], np.float32)
    found[: len(edge)] *= edge
    found[length - len(edge) :] *= edge[::-1]
    return found
