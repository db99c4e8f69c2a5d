"""The motion of the camera between two frames: a homography by RANSAC, from matched features and strong flow.

H rows, W columns, m matches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.trajectories.opencv import opencv

__all__ = ["CameraMotion", "warp_to_previous"]

_LEAST_MATCHES, _LEAST_INLIERS = 50, 25
_PIXELS = 1.0  # largest error of an inlier
_CORNERS = 1000
_FEATURES = 1000


class CameraMotion:
    """Estimates homographies of consecutive frames.

    SURF, which the paper matches, is patented and not part of OpenCV's packages; SIFT is.

    Args:
        seed: of RANSAC: the same frames give the same homography.
    """

    def __init__(self, seed: int = 0) -> None:
        cv2 = opencv()
        self._seed = seed
        self._sift: Any = cv2.SIFT_create(nfeatures=_FEATURES)
        self._matcher = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
        self._before: tuple[Any, Any] | None = None

    def features(self, gray: NDArray[np.uint8]) -> tuple[Any, Any]:
        """Places [n, 2] and descriptors of a frame."""
        points, descriptors = self._sift.detectAndCompute(gray, None)
        return np.array([point.pt for point in points], np.float32).reshape(-1, 2), descriptors

    def homography(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8], flow: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The homography from a frame to the next; the identity where there are too few matches.

        Args:
            before, after: the frames, uint8 [H, W]. Frames are given in order: the features of one are kept.
            flow: from the first to the second, [H, W, 2].
        """
        cv2 = opencv()

        one = self._before if self._before is not None else self.features(before)
        two = self._before = self.features(after)
        pairs = [self._matched(one, two), _by_flow(before, flow)]
        sources, targets = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        if len(sources) <= _LEAST_MATCHES:
            return np.eye(3)
        cv2.setRNGSeed(self._seed)
        found, inliers = cv2.findHomography(sources, targets, cv2.RANSAC, _PIXELS)
        if found is None or int(inliers.sum()) <= _LEAST_INLIERS:
            return np.eye(3)
        return np.asarray(found, np.float64)

    def _matched(self, one: tuple[Any, Any], two: tuple[Any, Any]) -> tuple[Any, Any]:
        if one[1] is None or two[1] is None:
            return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
        matches = self._matcher.match(one[1], two[1])
        return (
            one[0][[match.queryIdx for match in matches]].reshape(-1, 2),
            two[0][[match.trainIdx for match in matches]].reshape(-1, 2),
        )


def _by_flow(gray: NDArray[np.uint8], flow: NDArray[np.float32]) -> tuple[Any, Any]:
    """Corners and where the flow leads them."""
    cv2 = opencv()

    corners = cv2.goodFeaturesToTrack(gray, _CORNERS, 0.001, 3)
    if corners is None:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    corners = corners.reshape(-1, 2)
    columns, rows = np.rint(corners).astype(np.intp).T
    return corners, corners + flow[rows, columns]


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
