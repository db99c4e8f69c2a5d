"""Draw scenes of moving shapes: textures, frames, layer maps and occlusion.

Axis letters: T frames, F = T - 1 fields, L layers, S side of a frame, s side of a texture, n points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from praxiscope.data.files import is_video
from praxiscope.data.flow_layouts.common import read_image
from praxiscope.data.moving_shapes_scene import Array, Outline, Scene, invert, transform
from praxiscope.errors import DataError, VideoError
from praxiscope.video.geometry import resize
from praxiscope.video.opening import open_video

__all__ = ["draw_texture", "occlusion", "render", "texture_from_files"]

Pixels = NDArray[np.uint8]


def _noise(rng: np.random.Generator, channels: int, side: int, slope: float) -> Array:
    """Noise [channels, s, s] of mean 0 and variance 1 whose amplitude falls with the frequency to the power ``slope``.
    Frequencies near the limit of the pixels are damped, so that interpolation keeps the texture."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    gain = np.maximum(frequency, 1 / side) ** -slope * np.exp(-0.5 * (frequency / 0.18) ** 2)
    gain[0, 0] = 0
    white = np.fft.rfft2(rng.standard_normal((channels, side, side)))
    made = np.fft.irfft2(white * gain, (side, side))
    return made / made.std(axis=(1, 2), keepdims=True)


def draw_texture(rng: np.random.Generator, side: int) -> Pixels:
    """Draw a texture at random: noise, stripes or checks, patches, or a gradient, in random colours.

    Returns:
        uint8 [3, s, s].
    """
    kind = rng.choice(4, p=(0.35, 0.2, 0.35, 0.1))
    y, x = np.mgrid[:side, :side].astype(np.float64)
    if kind == 0:
        grey, colours = (
            _noise(rng, 1, side, rng.uniform(0.6, 1.8)),
            _noise(rng, 3, side, rng.uniform(0.6, 1.8)),
        )
        share = rng.uniform(0.2, 0.9)
        pattern = 0.25 * (share * grey + (1 - share) * colours) + 0.5
    elif kind == 1:
        bend = _noise(rng, 2, side, 2.5) * rng.uniform(0, 0.3)
        waves = []
        for number in range(2):
            angle, length = rng.uniform(0, np.pi), rng.uniform(5, 40)
            phase = (np.cos(angle) * x + np.sin(angle) * y) / length + bend[number]
            waves.append(np.tanh(2 * np.sin(2 * np.pi * phase)))
        product = waves[0] * (waves[1] if rng.random() < 0.5 else 1.0)
        pattern = (0.5 + 0.5 * product)[None]
    elif kind == 2:
        levels = np.floor(_noise(rng, 1, side, rng.uniform(1.2, 2.2))[0] * rng.uniform(1.5, 4)).astype(
            np.int64
        )
        palette = rng.uniform(0, 1, (int(np.ptp(levels)) + 1, 3))
        pattern = _smooth(palette[levels - levels.min()].transpose(2, 0, 1))
    else:
        angle = rng.uniform(0, 2 * np.pi)
        pattern = (0.5 + (np.cos(angle) * (x / side - 0.5) + np.sin(angle) * (y / side - 0.5)) / 2)[None]
    low, high = np.sort(rng.uniform(0, 255, (2, 3, 1, 1)), axis=0)
    turned = rng.random((3, 1, 1)) < 0.3
    pattern = np.where(turned, 1 - pattern, pattern)
    fine = _noise(rng, 3, side, 0.3) * rng.uniform(1, 8)
    return np.clip(np.rint(low + (high - low) * pattern + fine), 0, 255).astype(np.uint8)


def _smooth(pattern: Array) -> Array:
    """Average with the neighbours (1 2 1, both ways), so that edges can be interpolated."""
    for axis in (1, 2):
        pattern = (np.roll(pattern, 1, axis) + 2 * pattern + np.roll(pattern, -1, axis)) / 4
    return pattern


def texture_from_files(rng: np.random.Generator, files: Sequence[Path], side: int, tries: int = 20) -> Pixels:
    """Crop a texture from a random image, or from a random frame of a random video.

    Returns:
        uint8 [3, s, s].

    Raises:
        DataError: ``tries`` files in a row cannot be read.
    """
    broken = []
    for _ in range(tries):
        path, place, zoom, corner = (
            files[int(rng.integers(len(files)))],
            rng.random(),
            rng.uniform(1, 1.5),
            rng.random(2),
        )
        try:
            if is_video(path):
                video = open_video(path)
                pixels = video.frames([int(place * len(video))])
            else:
                pixels = read_image(path)[None]
        except (VideoError, DataError):
            broken.append(path)
            continue
        height, width = pixels.shape[-2:]
        scale = side * zoom / min(height, width)
        pixels = resize(pixels, (max(side, round(height * scale)), max(side, round(width * scale))))
        top, left = (
            int(share * (length - side + 1)) for share, length in zip(corner, pixels.shape[-2:], strict=True)
        )
        return np.ascontiguousarray(pixels[0, :, top : top + side, left : left + side].numpy())
    raise DataError(f"{len(broken)} files of textures cannot be read; the first is {broken[0]}. Remove them.")


def _sample(texture: torch.Tensor, points: Array) -> NDArray[np.float32]:
    """The colours [3, n] of a texture, float32 [3, s, s], at points [n, 2] around its centre: bicubic, and reflected
    beyond its border."""
    half = (texture.shape[-1] - 1) / 2
    grid = torch.from_numpy((points / half).astype(np.float32))[None, None]
    made = F.grid_sample(texture[None], grid, "bicubic", "reflection", align_corners=True)
    return made[0, :, 0].numpy()


def render(scene: Scene, textures: Sequence[Pixels]) -> tuple[Pixels, Pixels]:
    """Draw the frames of a scene.

    The layer of a pixel is the front-most one at the pixel's centre. With soft edges, the colour of a pixel at an edge
    is a mixture of both sides.

    Args:
        scene: what to draw.
        textures: of each layer, uint8 [3, s, s].

    Returns:
        Frames, uint8 [T, S, S, 3], and layer numbers, uint8 [T, S, S].
    """
    size, count = scene.size, len(scene.poses)
    painted = [torch.from_numpy(texture).float() for texture in textures]
    y, x = np.mgrid[:size, :size]
    grid = np.stack((x, y), axis=-1).astype(np.float64)
    frames = np.empty((count, size, size, 3), dtype=np.uint8)
    layers = np.zeros((count, size, size), dtype=np.uint8)
    for number, poses in enumerate(scene.poses):
        inverse = invert(poses)
        image = _sample(painted[0], transform(inverse[0], grid.reshape(-1, 2))).T.reshape(size, size, 3)
        for layer, outline in enumerate(scene.outlines, start=1):
            rows, columns, points, distance = _near(outline, poses[layer], inverse[layer], grid)
            cover = np.clip(0.5 - distance, 0, 1) if scene.soft else (distance <= 0).astype(np.float64)
            drawn = cover > 0
            rows, columns, cover = rows[drawn], columns[drawn], cover[drawn, None].astype(np.float32)
            colour = _sample(painted[layer], points[drawn]).T
            image[rows, columns] += cover * (colour - image[rows, columns])
            inside = distance[drawn] <= 0
            layers[number, rows[inside], columns[inside]] = layer
        frames[number] = np.clip(np.rint(image), 0, 255)
    return frames, layers


def _near(
    outline: Outline, pose: Array, inverse: Array, grid: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array, Array]:
    """The pixels near a shape: rows, columns, their points [n, 2] in the layer, and distances in pixels [n]."""
    size, scale = len(grid), float(np.sqrt(np.linalg.det(pose[:, :2])))
    reach = outline.radius * scale + 1
    x, y = pose[:, 2]
    top, bottom, left, right = (
        int(np.clip(place, 0, size))
        for place in (
            np.floor(y - reach),
            np.ceil(y + reach) + 1,
            np.floor(x - reach),
            np.ceil(x + reach) + 1,
        )
    )
    rows, columns = (index.ravel() for index in np.mgrid[top:bottom, left:right])
    points = transform(inverse, grid[rows, columns])
    return rows, columns, points, outline.distance(points) * scale


def occlusion(scene: Scene, layers: Pixels) -> NDArray[np.bool_]:
    """The pixels that are not seen in the next frame: where they move, another layer covers them, or the frame ends.

    The test is exact: a moved pixel is looked up in the outlines, not in the pixels of the next frame. The frame ends
    at the centres of its outer pixels.

    Args:
        scene: the scene.
        layers: layer numbers, uint8 [T, S, S].

    Returns:
        bool [F, S, S].
    """
    size, motions = scene.size, scene.motions
    y, x = np.mgrid[:size, :size]
    grid = np.stack((x, y), axis=-1).astype(np.float64)
    hidden = np.zeros((len(motions), size, size), dtype=bool)
    for number, motion in enumerate(motions):
        layer = layers[number]
        chosen = motion[layer]  # [S, S, 2, 3]
        moved = (chosen[..., :2] @ grid[..., None])[..., 0] + chosen[..., 2]
        hidden[number] = ((moved < 0) | (moved > size - 1)).any(-1)
        inverse = invert(scene.poses[number + 1])
        for front, outline in enumerate(scene.outlines, start=1):
            rows, columns = np.nonzero(layer < front)
            points = transform(inverse[front], moved[rows, columns])
            near = np.hypot(*points.T) <= outline.radius
            rows, columns = rows[near], columns[near]
            hidden[number, rows, columns] |= outline.distance(points[near]) <= 0
    return hidden
