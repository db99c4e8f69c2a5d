"""Stacks of flow of a video, without torch: flow by OpenCV, quantised as in training.

Axis letters: S stacks, n fields, L fields of a stack, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import DataError
from praxiscope.flow.contract import FlowContract, through_store_arrays
from praxiscope.flow.estimate import SMALLEST_SIDE, create_estimator
from praxiscope.flow.methods import ArrayEstimator, find_method, list_methods
from praxiscope.flow.stack import field_places, stack_arrays, stack_place, stackings
from praxiscope.video.decode import Video
from praxiscope.video.pixels import scaled_size

__all__ = ["FlowStacks", "flow_problem"]


class FlowStacks:
    """Reads stacks of flow of videos; `praxiscope.data.flow_reader.EstimatedFlowReader` reads the same with torch.

    Args:
        flow: content of `praxiscope.checkpoint.FlowInput`.
        short_side: of whole frames as the network sees them, pixels.

    Attributes:
        span: number of frames that a stack needs.
        middle: the frame of these for the RGB stream.
    """

    def __init__(self, flow: Mapping[str, Any], short_side: int) -> None:
        self._length, self._kind = int(flow["length"]), str(flow["kind"])
        self._subtract_mean, self._short_side = bool(flow["subtract_mean"]), short_side
        self._contract = FlowContract.from_dict(dict(flow["made"]))
        self._place = stack_place(self._kind, self._length)
        self.span, self.middle = self._length + 1, self._place.middle
        self._estimator: Any = None

    def read(
        self, video: Video, starts: NDArray[np.int64], crop: tuple[int, int, int, int]
    ) -> NDArray[np.float32]:
        """Stacks by the first of their frames, [S], cropped to (top, left, height, width) of the scaled frame: float32
        [S, 2L, height, width], in pixels."""
        fields = video.quick_length() - 1
        if fields < 1:
            raise DataError(f"{video.path}: has 1 frame, but flow needs two. Leave it out.")
        forward, backward = field_places(starts + self._place.tau, self._kind, self._length, fields)
        reverse = self._gathered(video, backward, backward=True) if backward.size else None
        stacks = stack_arrays(
            self._gathered(video, forward, backward=False),
            reverse,
            self._kind,
            subtract_mean=self._subtract_mean,
        )
        width, height = scaled_size(video.width, video.height, self._short_side)
        return _resized(stacks, (height, width), crop)

    def _gathered(self, video: Video, numbers: NDArray[np.int64], *, backward: bool) -> NDArray[np.float32]:
        """Fields [S, n, 2, H, W] by number [S, n]; each is estimated once."""
        wanted, places = np.unique(numbers, return_inverse=True)
        side = self._contract.short_side
        if side is None and min(video.height, video.width) < SMALLEST_SIDE:
            raise DataError(
                f"{video.path}: has frames of {video.height} x {video.width} pixels, but flow needs at least "
                f"{SMALLEST_SIDE}. Leave it out."
            )
        if self._estimator is None:
            self._estimator = create_estimator(self._contract.method, **self._contract.parameters)
        parts = []
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1):
            frames = video.arrays(range(int(run[0]), int(run[-1]) + 2), short_side=side)
            parts.append(self._estimator.arrays(frames, backward=backward))
        stored = through_store_arrays(np.concatenate(parts), self._contract)
        return stored[places.reshape(numbers.shape)]


def flow_problem(flow: Mapping[str, Any]) -> str:
    """Why flow cannot be read without torch; "" if it can."""
    method = FlowContract.from_dict(dict(flow["made"])).method
    if method not in list_methods() or not issubclass(find_method(method), ArrayEstimator):  # type: ignore[arg-type]
        return f"takes flow by {method}, and only that of dis and farneback can be computed without torch"
    if stackings.get(str(flow["kind"])).needs_torch:
        return f"takes flow of kind {flow['kind']}, whose trajectories need torch"
    return ""


def _resized(
    stacks: NDArray[np.float32], size: tuple[int, int], crop: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """Resize stacks [..., 2L, H, W] as `praxiscope.video.geometry.resize` does, and crop them."""
    before, (top, left, height, width) = stacks.shape[-2:], crop
    if before == size:
        return stacks[..., top : top + height, left : left + width]
    rows = _bilinear(before[0], size[0])[top : top + height]
    columns = _bilinear(before[1], size[1])[left : left + width]
    resized = np.asarray(rows @ stacks @ columns.T, np.float32)
    resized[..., 0::2, :, :] *= size[1] / before[1]
    resized[..., 1::2, :, :] *= size[0] / before[0]
    return resized


def _bilinear(before: int, after: int) -> NDArray[np.float32]:
    """The weights of bilinear interpolation with antialiasing, [after, before]: the area of a triangle around the
    centre of each new pixel."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(before) - centres[:, None]) / max(scale, 1))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
