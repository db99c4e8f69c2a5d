"""Render Move4MNIST videos: load digits, draw backgrounds, compose and encode frames.

Shapes: T frames, S side of a frame in pixels, s side of a digit in pixels, n images of a pool.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import DataError, VideoError
from praxiscope.video.container import file_name
from praxiscope.video.opening import open_video

__all__ = [
    "drifting_texture",
    "encode",
    "load_digits",
    "paste",
    "resize_digit",
    "video_background",
]

Pixels = NDArray[np.uint8]

_IDX_NAMES = {"train": "train", "test": "t10k"}


def load_digits(folder: Path | None, split: str) -> tuple[Pixels, NDArray[np.int64]]:
    """Load the digit images of a split. Training and test images are disjoint.

    Args:
        folder: Folder of MNIST's idx files, plain or gzipped. None uses the digits of scikit-learn: the first
            four fifths for training, the rest (written by other people) for testing.
        split: "train" or "test".

    Returns:
        Images uint8 [n, h, w], bright on black with an empty border, and labels int64 [n].

    Raises:
        DataError: If a file is missing or is not an idx file.
    """
    if folder is not None:
        images = _read_idx(folder, f"{_IDX_NAMES[split]}-images", 3)
        labels = _read_idx(folder, f"{_IDX_NAMES[split]}-labels", 1)
        if len(images) != len(labels):
            raise DataError(f"{folder}: {len(images)} {split} images, but {len(labels)} labels")
        return images, labels.astype(np.int64)
    from sklearn import datasets

    digits = datasets.load_digits()
    values = np.pad(digits.images / 16.0, ((0, 0), (2, 2), (2, 2)))
    first = len(values) * 4 // 5
    side = slice(0, first) if split == "train" else slice(first, None)
    return np.rint(values[side] * 255).astype(np.uint8), digits.target[side].astype(np.int64)


def _read_idx(folder: Path, start: str, dimensions: int) -> Pixels:
    """Read an idx file of unsigned bytes: magic number, sizes (big-endian), values."""
    found = sorted(path for path in folder.glob(f"{start}*ubyte*") if path.is_file())
    if not found:
        raise DataError(
            f"{folder}: contains no {start}-idx{dimensions}-ubyte or .gz. Give the folder of MNIST's files."
        )
    path = found[0]
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}. Download it again.") from None
    header = 4 + 4 * dimensions
    sizes = [int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4)]
    count = int(np.prod(sizes, dtype=object)) if sizes else 0
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) != header + count or count == 0:
        raise DataError(
            f"{path}: is not an idx file of {dimensions} dimensions, or is damaged. Download it again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)


def resize_digit(image: Pixels, side: int) -> NDArray[np.float64]:
    """Resize an image [h, w] to [s, s] (bicubic, antialiased). Values are from 0 to 1."""
    rows, columns = (_resize_matrix(length, side) for length in image.shape)
    return np.clip(rows @ (image / 255.0) @ columns.T, 0.0, 1.0)


def _resize_matrix(length: int, side: int) -> NDArray[np.float64]:
    """Return the weights [s, length] of a bicubic filter (a = -0.5), widened for downscaling."""
    scale = length / side
    centres = (np.arange(side) + 0.5) * scale - 0.5
    x = np.abs(centres[:, None] - np.arange(length)) / max(scale, 1.0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def drifting_texture(rng: np.random.Generator, frames: int, side: int) -> Pixels:
    """Draw a background: smooth coloured noise that drifts in a random direction, over a fixed gradient.

    Returns:
        uint8 [T, S, S, 3].
    """
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.005, 0.03)
    origin = rng.uniform(0, 1, 2)
    velocity = speed * np.array([np.cos(angle), np.sin(angle)])  # (x, y), frame sides per frame
    time = np.arange(frames)
    values = np.zeros((frames, 3, side, side), dtype=np.float32)
    for cells, weight in ((3, 1.0), (6, 0.6), (12, 0.35)):
        grid = rng.normal(0, weight, (3, cells, cells)).astype(np.float32)
        x, y = (
            _periodic_weights(origin[axis] - velocity[axis] * time, cells, side) for axis in (0, 1)
        )  # [T, S, cells]
        values += y[:, None] @ grid @ x[:, None].swapaxes(-1, -2)
    slope = rng.normal(0, 0.5, (3, 2, 1, 1))
    ramp = np.linspace(-1, 1, side)
    gradient = slope[:, 0] * ramp[None, :] + slope[:, 1] * ramp[:, None]  # [3, S, S]
    level, contrast = rng.uniform(90, 165, (3, 1, 1)), rng.uniform(25, 55)
    values = values * np.float32(contrast) + (level + contrast * gradient).astype(np.float32)
    return np.clip(values, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _periodic_weights(shift: NDArray[np.float64], cells: int, side: int) -> NDArray[np.float32]:
    """Return the weights [T, S, cells] that interpolate a periodic row of cells, moved by ``shift`` [T]."""
    place = ((shift[:, None] + (np.arange(side) + 0.5) / side) % 1.0) * cells
    left = np.floor(place).astype(np.int64) % cells
    part = place - np.floor(place)
    part = part * part * (3 - 2 * part)
    weights = np.zeros((len(shift), side, cells), dtype=np.float32)
    np.put_along_axis(weights, left[..., None], (1 - part)[..., None].astype(np.float32), -1)
    np.put_along_axis(weights, ((left + 1) % cells)[..., None], part[..., None].astype(np.float32), -1)
    return weights


def video_background(
    rng: np.random.Generator, videos: Sequence[Path], frames: int, side: int, tries: int = 20
) -> tuple[Pixels, Path, list[Path]]:
    """Crop a background from a random video: a random stretch, resized, in a moving square window.

    A video that is too short is played forwards and backwards. A video that cannot be read is replaced by another.

    Returns:
        The background uint8 [T, S, S, 3], its video, and the videos that could not be read.

    Raises:
        DataError: ``tries`` videos in a row are broken.
    """
    broken: list[Path] = []
    for _ in range(tries):
        path = videos[int(rng.integers(len(videos)))]
        start, zoom, corners = rng.uniform(), rng.uniform(1.0, 1.3), rng.uniform(0, 1, (2, 2))
        try:
            video = open_video(path)
            length = len(video)
            first = int(start * max(1, length - frames + 1))
            numbers = (first + np.arange(frames)) % max(1, 2 * length - 2)
            numbers = np.where(numbers < length, numbers, 2 * length - 2 - numbers)
            pixels = video.frames(numbers, short_side=round(side * zoom)).permute(0, 2, 3, 1).numpy()
        except VideoError:
            if path not in broken:
                broken.append(path)
            continue
        room = np.array(pixels.shape[1:3]) - side
        moving = np.linspace(corners[0], corners[1], frames)  # [T, 2], fractions of the room
        tops = np.rint(moving * room).astype(np.int64)
        window = [frame[y : y + side, x : x + side] for frame, (y, x) in zip(pixels, tops, strict=True)]
        return np.stack(window), path, broken
    raise DataError(
        f"{len(broken)} background videos cannot be read; the first is {broken[0]}. "
        "Run `praxiscope check` on their folder."
    )


def paste(frame: Pixels, digit: NDArray[np.float64], x: float, y: float) -> None:
    """Draw a digit [s, s] (0 to 1) in white into ``frame`` [S, S, 3], with its corner at x, y (subpixel)."""
    left, top = int(np.floor(x)), int(np.floor(y))
    right, down = x - left, y - top
    padded = np.pad(digit, 1)
    across = padded[:, 1:] * (1 - right) + padded[:, :-1] * right
    alpha = across[1:] * (1 - down) + across[:-1] * down  # [s + 1, s + 1]
    part = frame[top : top + len(alpha), left : left + len(alpha)]
    alpha = alpha[: part.shape[0], : part.shape[1], None]
    part[...] = np.rint(part * (1 - alpha) + 255 * alpha).astype(np.uint8)


def encode(path: Path, frames: Pixels, *, fps: int, crf: int, gop: int) -> None:
    """Write frames uint8 [T, S, S, 3] as H.264 in MP4. The file is written atomically."""
    import av

    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    # One thread: videos are encoded in parallel, and the bytes must not depend on the number of cores.
    options = {"crf": str(crf), "g": str(gop), "bf": "0", "preset": "veryfast", "threads": "1"}
    # With these two options of x264, about one run in a few hundred gives different bytes if the side is
    # not a multiple of 32.
    options["x264-params"] = "mbtree=0:weightp=0"
    try:
        with av.open(file_name(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fps, options=options)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
