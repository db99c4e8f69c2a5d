"""Estimate flow with an exported network.

Axis letters: T frames of the network, N clips, n frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import FlowDescription, read_flow_description
from praxiscope.deploy.runtimes import Runtime, open_network
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video

__all__ = ["FlowRunner", "group_places", "load_flow"]

_PIXELS = 1 << 21  # of the frames of one pass


class FlowRunner:
    """An exported network that estimates flow.

    Args:
        description: of the network.
        network: returns ``flow``.
    """

    def __init__(self, description: FlowDescription, network: Runtime) -> None:
        self.description, self._network = description, network

    def __repr__(self) -> str:
        return f"<FlowRunner of {self.description.model}, {self.description.together} frames>"

    def arrays(self, frames: NDArray[np.uint8], *, backward: bool = False) -> NDArray[np.float32]:
        """The flow between consecutive frames.

        Args:
            frames: RGB, uint8 [n, H, W, 3], n at least 2.
            backward: from each frame to the one before it, instead of to the next.

        Returns:
            float32 [n - 1, 2, H, W], in pixels, x first.

        Raises:
            ArgumentError: the frames have another shape or type.
            CheckpointError: the flow is not finite.
        """
        shape = np.shape(frames)
        if len(shape) != 4 or shape[0] < 2 or shape[3] != 3 or frames.dtype != np.uint8:
            kind = getattr(frames, "dtype", type(frames).__name__)
            raise ArgumentError(
                f"frames must be uint8 [n, H, W, 3] with at least 2 frames, got {kind} {list(shape)}"
            )
        together, (height, width) = self.description.together, frames.shape[1:3]
        step = together - 1
        places = group_places(len(frames), together)
        at_once = max(1, _PIXELS // (together * height * width))
        down, right = (-side % self.description.stride for side in (height, width))
        top, left = down // 2, right // 2
        around = ((top, down - top), (left, right - left))
        parts = []
        for first in range(0, len(places), at_once):
            clips = frames[places[first : first + at_once]].transpose(0, 1, 4, 2, 3)
            clips = np.pad(
                clips[:, ::-1] if backward else clips, ((0, 0), (0, 0), (0, 0), *around), mode="edge"
            )
            flow = self._network({"rgb": np.ascontiguousarray(clips)})[:, :step]
            flow = flow[..., top : top + height, left : left + width]
            parts.append((flow[:, ::-1] if backward else flow).reshape(-1, 2, height, width))
        found = np.concatenate(parts)[: len(frames) - 1]
        if not np.isfinite(found).all():
            raise CheckpointError(f"{self.description.model}: its flow is not finite. Export it again.")
        return found

    def fields(self, source: str | Path | Video) -> Iterator[NDArray[np.float32]]:
        """The flow from each frame of a video to the next, float32 [2, H, W], some frames in memory at a time.

        Raises:
            VideoError: the file cannot be read.
        """
        video = source if isinstance(source, Video) else open_video(source)
        step = self.description.together - 1
        count = max(1, _PIXELS // (step * video.width * video.height)) * step
        held: list[NDArray[np.uint8]] = []
        for decoded in video.decode():
            held.append(decoded.array())
            if len(held) > count:  # whole groups, which overlap by a frame
                yield from self.arrays(np.stack(held))
                held = held[-1:]
        if len(held) > 1:
            yield from self.arrays(np.stack(held))


def group_places(count: int, together: int) -> NDArray[np.int64]:
    """Which of n frames are estimated together, [N, T]: each group begins with the last frame of the one before; the
    last one repeats the last frame."""
    starts = np.arange(0, count - 1, together - 1)
    return np.minimum(starts[:, None] + np.arange(together), count - 1)


def load_flow(folder: str | Path, *, runtime: str = "auto", threads: int = 0) -> FlowRunner:
    """Load an exported network that estimates flow; see `praxiscope.deploy.load`.

    Example:
        >>> load_flow("model/").arrays(frames).shape
    """
    about = read_flow_description(folder)
    return FlowRunner(about, open_network(Path(folder) / about.file, "flow", runtime, threads))
