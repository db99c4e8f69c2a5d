"""Where in the picture and when in the video: what each section of the page of an answer finds.

parts networks, N hidden parts, n pictures, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from praxiscope.explain.hiding import Box, Hidden, Hides
from praxiscope.explain.why_answer import fused_probabilities
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.video.decode import Video

__all__ = ["Hiding", "Space", "Time", "heat_over", "hide_parts"]

_WINDOWS = 12
_SQUARE, _STRIDE = 0.25, 0.125  # of the short side


@dataclass(frozen=True)
class Time:
    """Occlusion in time.

    Attributes:
        edges_s: of the windows, [N + 1].
        drops: how far the probability falls without each window, (p - p_hidden) / p, [N].
    """

    edges_s: NDArray[np.float64]
    drops: NDArray[np.float64]

    @property
    def strongest(self) -> int:
        """The window that the answer needs most."""
        return int(self.drops.argmax())


@dataclass(frozen=True)
class Space:
    """Occlusion in space, at all times together.

    Attributes:
        boxes: the squares, row by row.
        drops: how far the probability falls without each, [tops, lefts].
        region: what the networks see of the frame.
    """

    boxes: list[Box]
    drops: NDArray[np.float64]
    region: Box

    @property
    def strongest(self) -> Box:
        """The square that the answer needs most."""
        return self.boxes[int(self.drops.argmax())]

    def at_pixels(self, height: int, width: int) -> NDArray[np.float64]:
        """The mean drop over the squares that hide each pixel of the region, [height, width]; 0 where there is none."""
        total, count = np.zeros((height, width)), np.zeros((height, width))
        top, left, bottom, right = self.region
        for box, drop in zip(self.boxes, self.drops.ravel(), strict=True):
            rows = [round((y - top) / (bottom - top) * height) for y in (box.top, box.bottom)]
            columns = [round((x - left) / (right - left) * width) for x in (box.left, box.right)]
            place = np.s_[slice(*rows), slice(*columns)]
            total[place] += drop
            count[place] += 1
        found: NDArray[np.float64] = total / np.maximum(count, 1)
        return found


@dataclass(frozen=True)
class Hiding:
    """What the answer needs.

    Attributes:
        probability: of the explained class, with nothing hidden, in the few views of `praxiscope.explain.hiding`.
        time: None if everything that is seen is of one moment.
        space: the picture.
    """

    probability: float
    time: Time | None
    space: Space


def hide_parts(
    recogniser: AnyRecogniser,
    seen: Sequence[Hides],
    video: Video,
    number: int,
    tick: Callable[[float], None] = lambda share: None,
) -> Hiding:
    """Hide parts of the time and of the picture, one after the other, and score the video again.

    Args:
        recogniser: any.
        seen: its parts with their frames.
        video: the open video.
        number: of the explained class.
        tick: called with the share of the work that is done.

    Raises:
        VideoError, DataError: the video cannot be read.
    """
    edges_s = _windows(seen, video)
    spans = [Hidden(span_s=span) for span in _spans(edges_s)]
    region = Box(*(pick(one.region[side] for one in seen) for side, pick in enumerate((min, min, max, max))))
    boxes, shape = _squares(region, video.height, video.width)
    hidden = [Hidden(), *spans, *(Hidden((box,)) for box in boxes)]
    rows, done = [], 0
    for one in seen:
        mine = []
        for row in one.scores(hidden):
            mine.append(row)
            done += 1
            tick(done / (len(seen) * len(hidden)))
        rows.append(torch.stack(mine))
    shares = fused_probabilities(recogniser, torch.stack(rows))[:, number]
    whole = float(shares[0])
    drops = (whole - shares[1:]) / whole if whole > 0 else np.zeros(len(hidden) - 1)
    time = Time(edges_s, drops[: len(spans)]) if spans else None
    return Hiding(whole, time, Space(boxes, drops[len(spans) :].reshape(shape), region))


def _windows(seen: Sequence[Hides], video: Video) -> NDArray[np.float64]:
    """Edges of equal parts of the video, no more than there are times that a network sees."""
    count = min(_WINDOWS, max(len(one.times_s) for one in seen))
    stamps = video.timestamps()
    first, last = float(stamps[0]), float(max(video.duration_s, stamps[-1]))
    ends = [float(one.times_s[-1]) for one in seen if len(one.times_s)]
    last = max(last if np.isfinite(last) else first, *ends, first)
    return np.linspace(first, last, count + 1) if count > 1 and last > first else np.array([first, last])


def _spans(edges_s: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """The windows, the first and the last without an end; none for a single window."""
    inner = [-np.inf, *edges_s[1:-1].tolist(), np.inf]
    if len(edges_s) > 2:
        yield from pairwise(inner)


def _squares(region: Box, height: int, width: int) -> tuple[list[Box], tuple[int, int]]:
    """Squares that overlap by half over a region of frames of this size, and how many rows and columns of them."""
    sides = ((region.bottom - region.top) * height, (region.right - region.left) * width)
    square, stride = _SQUARE * min(sides), _STRIDE * min(sides)
    downs, rights = (
        np.linspace(0, side - square, max(2, round((side - square) / stride) + 1)) for side in sides
    )
    boxes = [
        Box(
            region.top + down / height,
            region.left + right / width,
            region.top + (down + square) / height,
            region.left + (right + square) / width,
        )
        for down in downs
        for right in rights
    ]
    return boxes, (len(downs), len(rights))


def heat_over(picture: NDArray[np.uint8], heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A picture in grey under heat from -1 (blue) over 0 (none) to 1 (red).

    Args:
        picture: uint8 [H, W, 3].
        heat: [H, W].
    """
    grey = np.repeat((picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))[..., None], 3, 2)
    strength = 0.75 * np.abs(heat).clip(0, 1)[..., None]
    colour = np.where(heat[..., None] > 0, np.array([230.0, 13.0, 0.0]), np.array([0.0, 64.0, 242.0]))
    mixed: NDArray[np.uint8] = ((1 - strength) * grey + strength * colour).round().astype(np.uint8)
    return mixed
