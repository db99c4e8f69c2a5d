"""Draw the content of Move4MNIST videos at random: classes, digits and positions.

A single frame does not reveal the class: in a random frame of the target chunk, the position of the digit has the same
distribution in all four classes. Along its motion, the position is a centre plus an offset that depends on the frame.
Across its motion, it is the same centre plus the offset of a random frame, which is drawn once.

Shapes: T frames, n images of a pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError

__all__ = ["CLASSES", "KINDS", "SPLITS", "Design", "Plan", "draw_plan", "require"]

CLASSES = ("up", "down", "left", "right")

#: Kinds of frames: the moving digit, the background alone, a black frame, another digit.
KINDS = ("target", "background", "black", "distractor")

SPLITS = ("train", "test")

_STEPS = {"up": (0.0, -1.0), "down": (0.0, 1.0), "left": (-1.0, 0.0), "right": (1.0, 0.0)}


@dataclass(frozen=True)
class Design:
    """Parameters of the data set. Pairs are ranges from which a value is drawn uniformly for each video.

    Attributes:
        size: Side of a frame in pixels, an even number.
        frames: Number of frames of a video.
        fps: Frame rate of the files.
        chunk: Number of frames that show the moving digit. None: a quarter to half of the video.
        inserted: If True, the other frames are one chunk that interrupts the motion, which then continues where it
            stopped. If False, the moving digit is one chunk, with the other frames before and after it. The paper
            allows both readings. If True, the first frame always shows the start of the motion, which gives a hint
            of its direction.
        run: Length in frames of a stretch of other frames of one kind.
        fill: Probabilities (as weights) that such a stretch is background, black, or a distractor.
        still: Probability that a distractor does not move. Otherwise it jumps in every frame.
        digit: Side of the digit's square, as a fraction of the frame's side.
        speed: Speed of the digit, in frame sides per frame.
        reach: Longest path, as a fraction of the room that the digit has. Faster digits are slowed down.
        background_gain: Factor of the background's brightness, for the contrast of a white digit.
        crf, gop: H.264 quality, and number of frames from one key frame to the next.
    """

    size: int = 224
    frames: int = 32
    fps: int = 16
    chunk: tuple[int, int] | None = None
    run: tuple[int, int] = (2, 8)
    fill: tuple[float, float, float] = (1.0, 1.0, 1.0)
    still: float = 0.5
    digit: tuple[float, float] = (0.25, 0.35)
    speed: tuple[float, float] = (0.02, 0.035)
    reach: float = 0.7
    background_gain: float = 0.6
    crf: int = 18
    gop: int = 8
    inserted: bool = False

    def __post_init__(self) -> None:
        if self.chunk is None:
            object.__setattr__(self, "chunk", (max(2, self.frames // 4), max(2, self.frames // 2)))
        require(self.size >= 32 and self.size % 2 == 0, "size", "an even number, 32 or more", self.size)
        require(self.frames >= 2, "frames", "2 or more", self.frames)
        require(self.fps >= 1, "fps", "1 or more", self.fps)
        low, high = self.chunk_range
        require(2 <= low <= high <= self.frames, "chunk", f"from 2 to {self.frames} frames", self.chunk)
        require(1 <= self.run[0] <= self.run[1], "run", "a range of 1 frame or more", self.run)
        require(
            len(self.fill) == 3 and min(self.fill) >= 0 and sum(self.fill) > 0,
            "fill",
            "three weights",
            self.fill,
        )
        require(0 <= self.still <= 1, "still", "from 0 to 1", self.still)
        require(0 < self.digit[0] <= self.digit[1] <= 0.8, "digit", "a range in 0 to 0.8", self.digit)
        require(0 < self.speed[0] <= self.speed[1] <= 0.5, "speed", "a range in 0 to 0.5", self.speed)
        require(0 < self.reach < 1, "reach", "between 0 and 1", self.reach)
        require(0 <= self.background_gain <= 1, "background_gain", "from 0 to 1", self.background_gain)
        require(0 <= self.crf <= 51 and self.gop >= 1, "crf, gop", "0 to 51, 1 or more", (self.crf, self.gop))

    @property
    def chunk_range(self) -> tuple[int, int]:
        """``chunk``, or its default value."""
        assert self.chunk is not None
        return self.chunk


def require(holds: bool, name: str, expected: str, value: object) -> None:
    """Raise ArgumentError if a parameter's condition is false."""
    if not holds:
        raise ArgumentError(f"move4mnist: {name} must be {expected}, got {value!r}")


@dataclass(frozen=True)
class Plan:
    """The content of one video.

    Attributes:
        direction: The class.
        kinds: Kind of each frame, a name of ``KINDS``, [T].
        images: Index of the digit's image in the pool, -1 for none, int64 [T].
        corners: Top left corner of the digit's square, x and y in pixels, NaN for none, [T, 2].
        side: Side of the digit's square, in pixels.
        label: The moving digit, 0 to 9.
    """

    direction: str
    kinds: tuple[str, ...]
    images: NDArray[np.int64]
    corners: NDArray[np.float64]
    side: int
    label: int


def draw_plan(design: Design, labels: NDArray[np.int64], *, seed: int, split: str, number: int) -> Plan:
    """Draw the content of video ``number`` of a split at random. Classes alternate with the number.

    Args:
        design: Parameters of the data set.
        labels: Digit of each image of the pool, int64 [n], with at least two different digits.
        seed: Seed of the data set.
        split: "train" or "test".
        number: Number of the video, from 0.
    """
    # The order of the draws is the same for all classes, so that only the motion depends on the class.
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    direction = CLASSES[number % len(CLASSES)]
    size, frames = design.size, design.frames
    side = round(size * rng.uniform(*design.digit))
    room = size - side
    length = int(rng.integers(*design.chunk_range, endpoint=True))
    # Where the rest begins that lies inside the motion, or the motion that lies inside the rest.
    start = int(rng.integers(1, length) if design.inserted else rng.integers(frames - length + 1))
    if design.inserted:
        gaps = [(start, start + frames - length)]
    else:
        gaps = [(0, start), (start + length, frames)]
    speed = min(size * rng.uniform(*design.speed), design.reach * room / (length - 1))

    target = int(rng.integers(len(labels)))
    others = np.flatnonzero(labels != labels[target])
    kinds = ["target"] * frames
    images = np.full(frames, -1, dtype=np.int64)
    corners = np.full((frames, 2), np.nan)
    for first, last in _stretches(rng, design, gaps):
        kind = KINDS[1 + int(rng.choice(3, p=np.array(design.fill) / sum(design.fill)))]
        kinds[first:last] = [kind] * (last - first)
        if kind == "distractor":
            images[first:last] = others[rng.integers(len(others))]
            places = rng.uniform(0, room, (last - first, 2))
            corners[first:last] = places[:1] if rng.uniform() < design.still else places

    offsets = speed * (np.arange(length) - (length - 1) / 2)
    half = offsets[-1]
    middle = rng.uniform(half, room - half, 2)  # where all four paths fit
    step = np.array(_STEPS[direction])
    across = offsets[rng.integers(length)] * (step == 0)
    shown = [t for t, kind in enumerate(kinds) if kind == "target"]
    images[shown] = target
    corners[shown] = middle + across + offsets[:, None] * step
    return Plan(direction, tuple(kinds), images, corners, side, int(labels[target]))


def _stretches(
    rng: np.random.Generator, design: Design, gaps: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Yield the stretches ``(first, last + 1)`` of frames without the target."""
    for first, end in gaps:
        while first < end:
            last = min(end, first + int(rng.integers(*design.run, endpoint=True)))
            yield first, last
            first = last
