"""Scenes of moving shapes: outlines, affine motions of layers, and how they are drawn at random.

A scene is a stack of layers. Layer 0 is the background, and a layer with a higher number covers those below it. Every
layer has coordinates of its own, with the origin in its centre; a pose maps them to pixels: x to the right, y down,
whole numbers in the centres of pixels.

Axis letters: T frames, F = T - 1 fields, L layers, n points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError

__all__ = ["Design", "Ellipse", "Outline", "Polygon", "Scene", "compose", "draw_scene", "invert", "transform"]

Array = NDArray[np.float64]

_TURN, _ZOOM = 0.15, 0.1  # largest rotation (radians) and change of the logarithm of the size in a field
_ZOOM_OF_CLIP = 0.4  # largest change of the logarithm of the size in all fields


@dataclass(frozen=True)
class Design:
    """What samples show, apart from textures.

    The largest displacement in a layer is ``motion * u ** power`` with u uniform from 0 to 1. So displacements are from
    0 to ``motion`` pixels, and many are small, because a network that is trained on large ones misses small motion
    (Ng, 2018, figure 4.7). With the defaults, half of all pixels move by less than about 2 pixels.

    Attributes:
        size: height and width of the frames, pixels.
        shapes: smallest and largest number of shapes.
        motion: largest displacement between two frames, pixels.
        power: exponent of the distribution of displacements.
        subpixel: share of samples in which no displacement reaches 1 pixel.
        still: probability that a layer does not move.
        varying: share of clips whose motion changes smoothly; it is constant in the others.
        soft: share of samples with anti-aliased edges.

    Raises:
        ArgumentError: a value is out of its range.
    """

    size: int = 256
    shapes: tuple[int, int] = (2, 6)
    motion: float = 20.0
    power: float = 1.3
    subpixel: float = 0.2
    still: float = 0.2
    varying: float = 0.5
    soft: float = 0.7

    def __post_init__(self) -> None:
        shares = (self.subpixel, self.still, self.varying, self.soft)
        for good, problem in (
            (self.size >= 16, f"size must be 16 pixels or more, got {self.size}"),
            (
                0 <= self.shapes[0] <= self.shapes[1] <= 50,
                f"shapes must be LOW,HIGH within 0 to 50, got {self.shapes}",
            ),
            (0 < self.motion <= 100, f"motion must be above 0 and at most 100 pixels, got {self.motion}"),
            (self.power > 0, f"power must be above 0, got {self.power}"),
            (all(0 <= share <= 1 for share in shares), f"shares must be from 0 to 1, got {shares}"),
        ):
            if not good:
                raise ArgumentError(problem)


# ------------------------------------------------------------------------------------------- affine maps


def compose(outer: Array, inner: Array) -> Array:
    """The affine map [..., 2, 3] that applies ``inner`` first."""
    linear = outer[..., :2] @ inner[..., :2]
    offset = (outer[..., :2] @ inner[..., 2:]) + outer[..., 2:]
    return np.concatenate((linear, offset), axis=-1)


def invert(affine: Array) -> Array:
    """The inverse of affine maps [..., 2, 3]."""
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate((linear, -linear @ affine[..., 2:]), axis=-1)


def transform(affine: Array, points: Array) -> Array:
    """Apply one affine map [2, 3] to points [..., 2]."""
    return points @ affine[:, :2].T + affine[:, 2]


# ---------------------------------------------------------------------------------------------- outlines


class Outline(Protocol):
    """The outline of a shape around the origin."""

    @property
    def radius(self) -> float:
        """Radius of a circle around the origin that contains the shape."""

    def distance(self, points: Array) -> Array:
        """Approximate distance of points [n, 2] from the outline, [n]; not above 0 exactly for the points inside."""


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with the half axes ``a`` (x) and ``b`` (y)."""

    a: float
    b: float

    @property
    def radius(self) -> float:
        return max(self.a, self.b)

    def distance(self, points: Array) -> Array:
        scaled = points / (self.a, self.b)
        level = np.sqrt((scaled**2).sum(-1))
        slope = np.sqrt(((scaled / (self.a, self.b)) ** 2).sum(-1))
        return level * (level - 1) / np.maximum(slope, 1e-12)


@dataclass(frozen=True)
class Polygon:
    """A polygon with corners [n, 2] as nested tuples, which does not cross itself."""

    corners: tuple[tuple[float, float], ...]

    @property
    def radius(self) -> float:
        return max(float(np.hypot(x, y)) for x, y in self.corners)

    def distance(self, points: Array) -> Array:
        squares = np.full(len(points), np.inf)
        inside = np.zeros(len(points), dtype=bool)
        x, y = points.T
        for (ax, ay), (bx, by) in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            place = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
            squares = np.minimum(squares, (px - place * ex) ** 2 + (py - place * ey) ** 2)
            # A ray to the right crosses the edge.
            crosses = (ay > y) != (by > y)
            if ay != by:
                inside ^= crosses & (x < ax + (y - ay) * ex / ey)
        return np.where(inside, -1.0, 1.0) * np.sqrt(squares)


# ------------------------------------------------------------------------------------------------ scenes


@dataclass(frozen=True)
class Scene:
    """A stack of layers that move.

    Attributes:
        size: height and width of the frames, pixels.
        outlines: of the shapes in layers 1 to L - 1.
        poses: maps from the coordinates of a layer to pixels, float64 [T, L, 2, 3]: rotations with one scale for x and
            y, and translations.
        soft: whether edges are anti-aliased.
    """

    size: int
    outlines: tuple[Outline, ...]
    poses: Array
    soft: bool

    @property
    def motions(self) -> Array:
        """Maps from the pixels of a frame to those of the next, float64 [F, L, 2, 3]."""
        return compose(self.poses[1:], invert(self.poses[:-1]))


def draw_scene(design: Design, frames: int, rng: np.random.Generator) -> Scene:
    """Draw a scene of ``frames`` frames at random."""
    size, middle = design.size, (design.size - 1) / 2
    subpixel = bool(rng.random() < design.subpixel)
    varying = bool(rng.random() < design.varying)
    soft = bool(rng.random() < design.soft)
    outlines = [_draw_outline(size, rng) for _ in range(int(rng.integers(*design.shapes, endpoint=True)))]
    corners = np.array([(x, y) for x in (-middle, middle) for y in (-middle, middle)])
    layers = [(np.array([middle, middle]), 0.0, corners)]
    for outline in outlines:
        angles = np.arange(16) * np.pi / 8
        rim = outline.radius * np.stack((np.cos(angles), np.sin(angles)), axis=-1)
        layers.append((rng.uniform(0, size - 1, 2), float(rng.uniform(0, 2 * np.pi)), rim))
    poses = []
    for centre, angle, rim in layers:
        largest = rng.random() if subpixel else design.motion * rng.random() ** design.power
        moves = not rng.random() < design.still
        steps = _draw_steps(frames - 1, varying, rim, largest if moves else 0.0, rng)
        poses.append(_poses(centre, angle, steps))
    return Scene(size, tuple(outlines), np.stack(poses, axis=1), soft)


def _draw_outline(size: int, rng: np.random.Generator) -> Outline:
    radius = size * float(rng.uniform(0.06, 0.25))
    if rng.random() < 0.4:
        return Ellipse(radius, radius * float(rng.uniform(0.4, 1)))
    # Corners at growing angles never make a polygon that crosses itself.
    count = int(rng.integers(3, 8, endpoint=True))
    angles = (np.arange(count) + rng.uniform(0.1, 0.9, count)) * 2 * np.pi / count
    lengths = radius * rng.uniform(0.5, 1, count)
    return Polygon(
        tuple((float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(lengths, angles, strict=True))
    )


def _draw_steps(fields: int, varying: bool, rim: Array, largest: float, rng: np.random.Generator) -> Array:
    """Motion in each field [F, 4]: translation x and y, rotation, change of the logarithm of the size.

    The largest displacement of the points ``rim`` [n, 2], given from the centre, is ``largest`` pixels.
    """
    reach = float(np.hypot(*rim.T).max())
    angles = rng.uniform(0, 2 * np.pi, 2)
    ends = np.stack(
        (np.cos(angles), np.sin(angles), rng.normal(0, 0.6 / reach, 2), rng.normal(0, 0.3 / reach, 2)),
        axis=-1,
    )
    speeds = rng.uniform(0.3, 1, 2) if varying else np.ones(2)
    ends *= speeds[:, None]
    share = (1 - np.cos(np.linspace(0, np.pi, fields))) / 2 if varying and fields > 1 else np.zeros(fields)
    steps: Array = ends[0] * (1 - share[:, None]) + ends[1] * share[:, None]
    zoom = min(_ZOOM, _ZOOM_OF_CLIP / fields)

    def limited(factor: float) -> Array:
        scaled = steps * factor
        scaled[:, 2] = np.clip(scaled[:, 2], -_TURN, _TURN)
        scaled[:, 3] = np.clip(scaled[:, 3], -zoom, zoom)
        return scaled

    def displacement(factor: float) -> float:
        return max(float(np.hypot(*(transform(_step(step), rim) - rim).T).max()) for step in limited(factor))

    low, high = 0.0, 4.0 * largest
    for _ in range(40 if largest else 0):  # bisect; `low` is never too large
        middle = (low + high) / 2
        low, high = (middle, high) if displacement(middle) < largest else (low, middle)
    return limited(low)


def _step(step: Array) -> Array:
    """The affine map [2, 3] of one field about the centre of the layer."""
    dx, dy, angle, zoom = (float(value) for value in step)
    cosine, sine = np.exp(zoom) * np.cos(angle), np.exp(zoom) * np.sin(angle)
    return np.array([[cosine, -sine, dx], [sine, cosine, dy]])


def _poses(centre: Array, angle: float, steps: Array) -> Array:
    """Poses [T, 2, 3] of a layer whose centre is at ``centre`` in the middle of the clip."""
    angles = angle + np.concatenate(([0.0], np.cumsum(steps[:, 2])))
    zooms = np.concatenate(([0.0], np.cumsum(steps[:, 3])))
    places = np.concatenate((np.zeros((1, 2)), np.cumsum(steps[:, :2], axis=0)))
    half = len(steps) // 2
    places, scales = places - places[half] + centre, np.exp(zooms - zooms[half])
    cosine, sine = scales * np.cos(angles), scales * np.sin(angles)
    return np.stack(
        (np.stack((cosine, -sine, places[:, 0]), -1), np.stack((sine, cosine, places[:, 1]), -1)), axis=-2
    )
