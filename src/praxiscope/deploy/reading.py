"""The inputs of an exported network, read of a video.

Axis letters: V views, v of them, S snippets of a view, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import Description
from praxiscope.deploy.flow import FlowStacks
from praxiscope.evaluation.protocols import Protocol, view_places
from praxiscope.video.decode import Video
from praxiscope.video.grid import FrameGrid
from praxiscope.video.pixels import scaled_size

__all__ = ["InputReader", "Inputs", "flipped"]

Inputs = dict[str, NDArray[Any]]
"""Arrays by the names of a network's inputs: rgb uint8, flow float32 in pixels, [v, S, C, H, W]."""


class InputReader:
    """Reads the views of a protocol.

    Args:
        about: the network.
        video: an open video.
        protocol: of crops at the centre, or whole frames.

    Attributes:
        views: first frames of the snippets of all views, int64 [V, S].
        flips: whether the views are seen flipped, one after the other.
        crop: top, left, height and width of what is seen of a frame.
    """

    def __init__(self, about: Description, video: Video, protocol: Protocol) -> None:
        self._about, self._video = about, video
        self._flow = FlowStacks(about.flow, about.short_side) if "flow" in about.streams else None
        self.views = self._views(protocol)
        self.flips = (False, True) if protocol.crops == "full-mirrored" else (False,)
        width, height = scaled_size(video.width, video.height, about.short_side)
        self.crop = (0, 0, height, width)
        if protocol.crops == "center":
            self.crop = (height - about.size) // 2, (width - about.size) // 2, about.size, about.size

    def _views(self, protocol: Protocol) -> NDArray[np.int64]:
        about = self._about
        span = about.length if self._flow is None else self._flow.span
        if about.windows and protocol.sampling == "segments":
            protocol = replace(protocol, sampling="dense")
        protocol = replace(protocol, stride=1) if about.windows else protocol
        count = self._video.quick_length()
        if about.fps is None and about.max_seconds is None:
            found = view_places(protocol, count, about.together, span)
            # A network of single snippets scores each by itself, also all of them.
            return found.reshape(-1, 1) if about.together == 1 else found
        grid = FrameGrid(about.fps, about.max_seconds, span).places_of(self._video, 0, count)
        # At a frame rate, a snippet starts at a frame of the grid and goes on with those after it in the video.
        one = 1 if about.fps is not None else span
        return grid[view_places(protocol, len(grid), about.together, one)]

    def read(self, starts: NDArray[np.int64]) -> Inputs:
        """Snippets by their first frames [v, S]."""
        return {
            name: self._flows(starts) if name == "flow" else self._rgb(starts) for name in self._about.streams
        }

    def _rgb(self, starts: NDArray[np.int64]) -> NDArray[np.uint8]:
        about, last = self._about, self._video.quick_length() - 1
        first = starts if self._flow is None else starts + self._flow.middle
        numbers = np.minimum(first[..., None] + np.arange(about.length), last)
        pixels = self._video.arrays(numbers.ravel(), short_side=about.short_side, crop=self.crop)
        frames = pixels.reshape(*numbers.shape, *pixels.shape[1:]).transpose(0, 1, 2, 5, 3, 4)
        return np.ascontiguousarray(frames.reshape(*starts.shape, -1, *frames.shape[-2:]))

    def _flows(self, starts: NDArray[np.int64]) -> NDArray[np.float32]:
        assert self._flow is not None
        stacks = self._flow.read(self._video, starts.ravel(), self.crop)
        return np.ascontiguousarray(stacks.reshape(*starts.shape, *stacks.shape[1:]))


def flipped(inputs: Inputs, flip: bool) -> Inputs:
    """The inputs, flipped horizontally if ``flip``; of flow, the sign of dx changes as well."""
    if not flip:
        return inputs
    found = {name: np.ascontiguousarray(x[..., ::-1]) for name, x in inputs.items()}
    if "flow" in found:
        found["flow"][..., 0::2, :, :] *= -1
    return found
