"""The motion of the camera between two frames: a homography by RANSAC, from matched features and strong flow.

H rows, W columns, m matches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.registry import Registry
from praxiscope.trajectories.opencv import opencv

__all__ = ["MATCHERS", "CameraMotion", "Matches", "warp_to_previous"]

_LEAST_MATCHES, _LEAST_INLIERS = 50, 25
_PIXELS = 1.0  # largest error of an inlier
_CORNERS = 1000
_QUALITY = 0.01  # least structure of a corner, as a share of the largest: weaker ones seem to stand still
_FEATURES = 1000
_WINDOW, _HALVINGS = 11, 4  # of Lucas and Kanade: side of the window in pixels, coarser levels


class Matches(NamedTuple):
    """The same places in a frame and in the next, x and y, float32 [m, 2]."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]


MATCHERS: Registry[Any] = Registry("way to match frames")
"""Functions that make a matcher: a function of the frame before, the frame after and the corners of the frame before,
which is called with consecutive frames. SURF, which the paper matches, is patented and not in OpenCV's packages."""


class CameraMotion:
    """Estimates homographies of consecutive frames, from matches and from corners that the flow moves.

    Args:
        matcher: name in `MATCHERS`.
        seed: of RANSAC: the same frames give the same homography.

    Raises:
        UnknownNameError: the matcher is unknown.
    """

    def __init__(self, matcher: str = "lucas-kanade", seed: int = 0) -> None:
        self._matched = MATCHERS.get(matcher)()
        self._seed = seed

    def homography(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8], flow: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The homography from a frame to the next; the identity where there are too few matches.

        Args:
            before, after: the frames, uint8 [H, W]. Frames are given in order.
            flow: from the first to the second, [2, H, W].
        """
        cv2 = opencv()

        corners = cv2.goodFeaturesToTrack(before, _CORNERS, _QUALITY, 3)
        corners = np.empty((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)
        pairs = (self._matched(before, after, corners), _moved(corners, flow))
        sources, targets = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        if len(sources) <= _LEAST_MATCHES:
            return np.eye(3)
        cv2.setRNGSeed(self._seed)
        found, inliers = cv2.findHomography(sources, targets, cv2.RANSAC, _PIXELS)
        if found is None or int(inliers.sum()) <= _LEAST_INLIERS:
            return np.eye(3)
        return np.asarray(found, np.float64)


def _moved(corners: NDArray[np.float32], flow: NDArray[np.float32]) -> Matches:
    columns, rows = np.rint(corners).astype(np.intp).T
    return Matches(corners, corners + flow[:, rows, columns].T)


@MATCHERS.register("lucas-kanade")
def lucas_kanade() -> Any:
    """Corners, tracked by the method of Lucas and Kanade from coarse to fine."""
    cv2 = opencv()

    def matched(before: NDArray[np.uint8], after: NDArray[np.uint8], corners: NDArray[np.float32]) -> Matches:
        if not len(corners):
            return Matches(corners, corners)
        enough = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
        found, known, _ = cv2.calcOpticalFlowPyrLK(
            before, after, corners, None, winSize=(_WINDOW, _WINDOW), maxLevel=_HALVINGS, criteria=enough
        )
        tracked = known.reshape(-1) > 0
        return Matches(corners[tracked], found[tracked])

    return matched


@MATCHERS.register("sift")
def sift() -> Any:
    """Mutually nearest descriptors of SIFT."""
    cv2 = opencv()
    return _Described(cv2.SIFT_create(nfeatures=_FEATURES), cv2.NORM_L2)


@MATCHERS.register("orb")
def orb() -> Any:
    """Mutually nearest descriptors of ORB."""
    cv2 = opencv()
    return _Described(cv2.ORB_create(nfeatures=_FEATURES), cv2.NORM_HAMMING)


class _Described:
    """Matches descriptors; those of a frame are kept for the next call."""

    def __init__(self, detector: Any, norm: int) -> None:
        self._detector = detector
        self._matcher: Any = opencv().BFMatcher(norm, crossCheck=True)
        self._before: tuple[Any, Any] | None = None

    def __call__(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8], corners: NDArray[np.float32]
    ) -> Matches:
        one = self._before or self._features(before)
        two = self._before = self._features(after)
        if one[1] is None or two[1] is None:
            return Matches(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32))
        pairs = [(match.queryIdx, match.trainIdx) for match in self._matcher.match(one[1], two[1])]
        first, second = np.array(pairs, np.intp).reshape(-1, 2).T
        return Matches(one[0][first], two[0][second])

    def _features(self, gray: NDArray[np.uint8]) -> tuple[Any, Any]:
        """Places [n, 2] and descriptors."""
        points, descriptors = self._detector.detectAndCompute(gray, None)
        return np.array([point.pt for point in points], np.float32).reshape(-1, 2), descriptors


def warp_to_previous(
    before: NDArray[np.uint8], after: NDArray[np.uint8], homography: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """A frame as it would be if the camera had not moved since the frame before.

    What the camera does not see any more is taken from the frame before, so that nothing moves there.

    Args:
        before, after: uint8 [H, W].
        homography: from the first to the second.
    """
    cv2 = opencv()

    size = (after.shape[1], after.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(
        after, homography, size, dst=before.copy(), flags=flags, borderMode=cv2.BORDER_TRANSPARENT
    )
    return np.asarray(warped, np.uint8)
