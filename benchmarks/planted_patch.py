"""Made videos in which a small patch, at a random place and a random time, decides the class.

The ground is smooth coloured noise, and squares of one colour move over it. A patch of 24 x 24 pixels stands still for
six of 24 frames: stripes that lie, stripes that stand, or checks. The squares never have a texture.
"""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from praxiscope.checkpoint import write_json
from praxiscope.data.manifest import MANIFEST_NAME, write_csv
from praxiscope.types import VideoRecord

__all__ = ["CLASSES", "FPS", "SIDE", "make", "places"]

CLASSES = ("lying", "standing", "checks")
SIDE, PATCH, FRAMES, SHOWN, FPS = 128, 24, 24, 6, 12
_PLACES = "places.json"


def make(root: Path, train: int, test: int) -> Path:
    """Write the videos and their list, if they are not there yet.

    Args:
        root: the folder.
        train, test: number of videos.
    """
    if (root / MANIFEST_NAME).is_file():
        return root
    (root / "clips").mkdir(parents=True, exist_ok=True)
    records, known = [], {}
    for number in range(train + test):
        draw = np.random.default_rng(number)
        name, kind = f"{number:04}.mp4", number % len(CLASSES)
        top, left = (int(draw.integers(0, SIDE - PATCH + 1)) for _ in range(2))
        first = int(draw.integers(0, FRAMES - SHOWN + 1))
        _write(root / "clips" / name, _clip(draw, kind, top, left, first))
        known[f"clips/{name}"] = {"top": top, "left": left, "side": PATCH, "first": first, "frames": SHOWN}
        split = "train" if number < train else "test"
        records.append(
            VideoRecord(f"clips/{name}", root / "clips" / name, (CLASSES[kind],), split=split, group=name)
        )
    write_json(root / _PLACES, known)
    write_csv(root / MANIFEST_NAME, records, CLASSES)
    return root


def places(root: Path) -> dict[str, dict[str, int]]:
    """Where and when the patch is, by the id of a video: pixels, and numbers of frames."""
    found: dict[str, dict[str, int]] = json.loads((root / _PLACES).read_text(encoding="utf-8"))
    return found


def _clip(draw: np.random.Generator, kind: int, top: int, left: int, first: int) -> NDArray[np.uint8]:
    coarse = draw.integers(40, 216, (9, 9, 3)).astype(np.float64)
    ground = np.stack([_smooth(coarse[..., channel]) for channel in range(3)], -1)
    frames = np.repeat(ground[None], FRAMES, 0) + draw.normal(0, 8, (FRAMES, SIDE, SIDE, 3))
    for _ in range(4):
        side, colour = int(draw.integers(12, 28)), draw.integers(0, 256, 3)
        place, step = draw.uniform(0, SIDE - 28, 2), draw.uniform(-2, 2, 2)
        for number in range(FRAMES):
            y, x = np.clip(place + number * step, 0, SIDE - side).astype(int)
            frames[number, y : y + side, x : x + side] = colour
    frames[first : first + SHOWN, top : top + PATCH, left : left + PATCH] = _patch(kind)[..., None]
    return frames.clip(0, 255).astype(np.uint8)


def _smooth(coarse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of [9, 9] enlarged to the frame, linear between them."""
    at = np.linspace(0, 8, SIDE)
    rows = np.stack([np.interp(at, np.arange(9), column) for column in coarse.T], 1)
    return np.stack([np.interp(at, np.arange(9), row) for row in rows])


def _patch(kind: int) -> NDArray[np.float64]:
    down, across = (np.indices((PATCH, PATCH)) // 4) % 2
    return 255.0 * (down, across, down ^ across)[kind]


def _write(path: Path, frames: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
