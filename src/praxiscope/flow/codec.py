"""The motion vectors that the encoder of a video has stored, as optical flow. No pixels are compared.

Axis letters: H rows, W columns of a frame; h rows, w columns of its grid of cells, which are 8 x 8 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from praxiscope.errors import VideoError
from praxiscope.flow.estimate import SMALLEST_SIDE
from praxiscope.flow.methods import FileEstimator, estimators
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.framesequence import FrameSequence
from praxiscope.video.geometry import resize
from praxiscope.video.packed import PackedVideo
from praxiscope.video.pixels import Orientation, scaled_size

__all__ = ["CODECS", "Codec"]

CODECS = (
    *(
        "flv",
        "h261",
        "h263",
        "h264",
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "msmpeg4",
        "msmpeg4v1",
        "msmpeg4v2",
    ),
    *("rv10", "rv20", "wmv1", "wmv2"),
)
"""The codecs whose motion vectors FFmpeg exports, by FFmpeg's names."""

# For the B-frames of the other codecs FFmpeg exports what an earlier frame has left in memory.
_B_CODECS = ("h264", "mpeg1video", "mpeg2video")
_CELL = 8  # pixels: side of the smallest block that is exported
_MOST_HELD = 17  # frames: no codec has more than 16 between a frame and one that it refers to
_B = 3  # FFmpeg's number of the picture type


class _Coded(NamedTuple):
    """What is kept of a decoded frame.

    Attributes:
        number: of the frame.
        order: rises in the order of decoding.
        is_b: whether it is a B-frame.
        vectors: FFmpeg's AVMotionVector, as a structured array; None for a frame without any.
        size: (width, height) as decoded.
        upright: how it is set upright.
    """

    number: int
    order: int
    is_b: bool
    vectors: NDArray[Any] | None
    size: tuple[int, int]
    upright: Orientation


@estimators.register("codec")
@dataclass(frozen=True)
class Codec(FileEstimator):
    """The motion vectors of the video file (Kantorov and Laptev, 2014), the fastest method.

    A block of 8 to 16 pixels has one vector, which leads from frame t + 1 to a frame that it was predicted from.
    Divided by the distance to that frame, it is the backward flow of the block. Reversed, and moved to where the block
    comes from, it is the forward flow. Encoders choose vectors that save bits, which is not always the motion.

    * Blocks without a vector have the mean of those around them. A median of 3 x 3 cells of 8 pixels removes single
      wrong vectors, and pixels between the centres of cells are interpolated.
    * P-frames refer to the last frame before them that is no B-frame. Of two vectors of a block in a B-frame, the one
      to the nearer frame is used. FFmpeg does not tell which of several frames H.264 refers to: it is taken for the
      nearest that was decoded before and that others refer to, as far as the order of decoding shows.
    * B-frames of MPEG-4 part 2, for which FFmpeg exports none, have the vectors of the frame after them, which span
      them.
    * Frames without vectors, above all key frames, repeat the field before, or have zero flow at the start.

    H.264, MPEG-1, MPEG-2, MPEG-4 part 2 and its relatives (`CODECS`) have vectors, unless each frame was coded alone.
    """

    name = "codec"

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name: none."""
        return asdict(self)

    def fields(
        self, video: Video, *, short_side: int | None = None, backward: bool = False
    ) -> Iterator[Tensor]:
        """The fields of a video; see `praxiscope.flow.methods.FileEstimator`."""
        _check(video)
        width, height = scaled_size(video.width, video.height, short_side)
        if min(width, height) < SMALLEST_SIDE:
            problem = f"has frames of {height} x {width} pixels; flow needs {SMALLEST_SIDE} and more"
            raise VideoError(video.path, problem, "Leave it out.")
        field = torch.zeros(2, height, width)
        found, last = False, 0
        for frame, past, future in _with_distances(video):
            last = frame.number
            grid = _grid(frame, past, future, backward)
            if grid is not None:
                found = True
                field = resize(_painted(grid, frame), (height, width), "flow")
            if last > 0:
                yield field
        if last > 0 and not found:
            raise _without(video, "has no motion vectors: each frame was coded alone")


def _check(video: Video) -> None:
    """Raise VideoError for a video that cannot have vectors."""
    if isinstance(video, (PackedVideo, FrameSequence)):
        remedy = "Give the video that they were made from, or use another flow method."
        raise VideoError(video.path, "consists of single images, which have no motion vectors", remedy)
    if video.codec not in CODECS:
        raise _without(video, f"has the codec {video.codec}, whose motion vectors FFmpeg does not export")


def _without(video: Video, problem: str) -> VideoError:
    remedy = "Use another flow method, or convert it: ffmpeg -i OLD -c:v libx264 NEW.mp4."
    return VideoError(video.path, problem, remedy)


def _with_distances(video: Video) -> Iterator[tuple[_Coded, int, int]]:
    """All frames in order, with the distances to the frames before and after that they refer to; 0 for none."""
    before, held = 0, list[_Coded]()
    for frame in video.decode(motion_vectors=True):
        held.append(_coded(frame, video.codec))
        if held[-1].is_b and len(held) < _MOST_HELD:
            continue
        yield from _group(held, before)
        before = held[-1].number
        held.clear()
    yield from _group(held, before)


def _coded(frame: DecodedFrame, codec: str) -> _Coded:
    raw = frame.raw
    is_b = int(raw.pict_type) == _B
    data = None if is_b and codec not in _B_CODECS else raw.side_data.get("MOTION_VECTORS")
    vectors = None if data is None else data.to_ndarray().copy()  # it lies in the memory of the frame
    order = frame.index if raw.pts is None else raw.pts
    return _Coded(frame.index, order, is_b, vectors, (raw.width, raw.height), frame.upright)


def _group(frames: list[_Coded], before: int) -> Iterator[tuple[_Coded, int, int]]:
    """The distances of B-frames and of the frame after them, which follow the frame with the number ``before``.

    A B-frame that is decoded before one that is shown earlier is taken for one that others refer to: that is what such
    an order is for.
    """
    referred = [
        frame is frames[-1] or any(other.order > frame.order for other in frames[:place])
        for place, frame in enumerate(frames)
    ]
    for frame in frames:
        if frame.is_b and frame.vectors is None:
            yield frame._replace(vectors=frames[-1].vectors), frames[-1].number - before, 0
            continue
        known = [
            other.number
            for other, is_referred in zip(frames, referred, strict=True)
            if is_referred and other.order < frame.order
        ]
        earlier = max([before, *(number for number in known if number < frame.number)])
        later = min((number for number in known if number > frame.number), default=frame.number)
        yield frame, frame.number - earlier, later - frame.number


def _grid(frame: _Coded, past: int, future: int, backward: bool) -> NDArray[np.float32] | None:
    """The flow between the frame and the one before it, float32 [h, w, 2] in pixels; None without vectors."""
    if frame.vectors is None:
        return None
    width, height = frame.size
    grid = np.full((-(-height // _CELL), -(-width // _CELL), 2), np.nan, dtype=np.float32)
    sources = [(-1, past), (1, future)]  # FFmpeg's sign of the direction, and the distance
    for source, distance in sorted(sources, key=lambda pair: (pair[1], pair[0]), reverse=True):
        vectors = frame.vectors[frame.vectors["source"] == source]
        if distance and len(vectors):  # the nearer frame comes last, and is written over the other
            _paint(grid, vectors, -source * distance, backward)
    return _filled(grid)


def _paint(grid: NDArray[np.float32], vectors: NDArray[Any], distance: int, backward: bool) -> None:
    """Write the flow of blocks into the cells that they cover.

    Args:
        grid: float32 [h, w, 2].
        vectors: they lead to another frame, whose number is smaller by ``distance``.
        distance: negative for a later frame.
        backward: the direction.
    """
    scale = (distance * vectors["motion_scale"].astype(np.float32))[:, None]
    flow = np.stack((vectors["motion_x"], vectors["motion_y"]), axis=1) / scale
    size = np.stack((vectors["w"], vectors["h"]), axis=1).astype(np.int64)
    corner = np.stack((vectors["dst_x"], vectors["dst_y"]), axis=1) - size // 2
    moved = corner if backward else corner + flow
    flow = flow if backward else -flow
    cell = np.rint(moved / _CELL).astype(np.int64)
    for offset in np.ndindex(2, 2):  # no block has more than 2 x 2 cells
        column, row = (cell + offset).T
        inside = (size > np.multiply(offset, _CELL)).all(axis=1)
        inside &= (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1])
        grid[row[inside], column[inside]] = flow[inside]


def _filled(grid: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """A grid [h, w, 2] whose unknown cells have the mean of those around them; None if none is known."""
    unknown = np.isnan(grid[..., 0])
    if unknown.all():
        return None
    while unknown.any():  # the known area grows by a cell
        padded = np.pad(grid, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
        around = np.stack((padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]))
        count = (~np.isnan(around[..., 0])).sum(axis=0)
        edge = unknown & (count > 0)
        grid[edge] = np.nansum(around[:, edge], axis=0) / count[edge][:, None]
        unknown &= ~edge
    return grid


def _median(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median of 3 x 3 cells, float32 [2, h, w]; cells at the border are repeated."""
    h, w = grid.shape[1:]
    edged = np.pad(grid, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = np.stack([edged[:, y : y + h, x : x + w] for y, x in np.ndindex(3, 3)])
    around.partition(4, axis=0)
    return around[4]


def _painted(grid: NDArray[np.float32], frame: _Coded) -> Tensor:
    """The field of the upright frame, float32 [2, H, W], from the grid [h, w, 2] of the frame as it is stored.

    Cells have the median of 3 x 3 cells, and pixels are interpolated between the centres of cells.
    """
    width, height = frame.size
    transposed, flipped, upside_down = frame.upright
    cells = torch.from_numpy(_median(grid.transpose(2, 0, 1)))
    field = interpolate(cells[None], scale_factor=_CELL, mode="bilinear")[0, :, :height, :width].numpy()
    if transposed:
        field = field.swapaxes(1, 2)[::-1]
    signs = np.array((-1 if flipped else 1, -1 if upside_down else 1), dtype=np.float32)
    if flipped or upside_down:
        field = field[:, :: int(signs[1]), :: int(signs[0])] * signs[:, None, None]
    return torch.from_numpy(np.ascontiguousarray(field))
