"""The picture of trajectories: a square that moves before a camera that moves or stands still."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.trajectories import explain_trajectories
from support import Call, encode


def film(path: Path, camera: float, frames: int = 40) -> Path:
    """A textured square that moves by 2 pixels per frame, over ground that moves by ``camera``."""
    draw = np.random.default_rng(0)
    ground, square = (
        cv2.normalize(
            cv2.GaussianBlur(draw.random((160, 240, 3)), (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX
        )
        for _ in range(2)
    )
    images = []
    for number in range(frames):
        matrix = np.array([[1, 0, camera * number - 40], [0, 1, -30]], np.float32)
        image = cv2.warpAffine(ground, matrix, (128, 96))
        image[30:60, 10 + 2 * number : 40 + 2 * number] = square[:30, :30]
        images.append(image.clip(0, 255).astype(np.uint8))
    encode(path, np.stack(images), crf="12")
    return path


def test_the_motion_of_the_camera_is_removed_and_that_of_the_square_is_not(tmp_path: Path) -> None:
    moving = explain_trajectories(film(tmp_path / "moving.mp4", -1.5), frames=3)
    assert len(moving.facts["frames"]) == 3
    assert all(7 <= number <= 32 for number in moving.facts["frames"])
    before, after = (sum(moving.facts[name]) for name in ("before", "after"))
    assert 0 < after < 0.5 * before
    still = explain_trajectories(film(tmp_path / "still.mp4", 0.0), frames=3)
    before, after = (sum(still.facts[name]) for name in ("before", "after"))
    assert 0.9 * before <= after <= before
    assert len(still.figure.axes) == 6


def test_paths_lie_where_the_square_moves(tmp_path: Path) -> None:
    still = explain_trajectories(film(tmp_path / "still.mp4", 0.0), frames=1)
    (number,) = still.facts["frames"]
    (below,) = still.figure.axes[1].collections
    paths = np.stack([path.vertices for path in below.get_paths()])
    x, y = np.moveaxis(np.median(paths, axis=0), 1, 0)
    assert paths.shape[1:] == (16, 2)
    assert 30 <= y.min() <= y.max() <= 60
    assert 10 + 2 * (number - 15) <= x.min() <= x.max() <= 40 + 2 * (number + 15)
    assert 1 <= np.diff(x).mean() <= 2.2  # at its edges points are slower


def test_what_cannot_be_drawn_is_said(call: Call, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="15 frames"):
        explain_trajectories(film(tmp_path / "short.mp4", 0.0, frames=15))
    with pytest.raises(ArgumentError, match="frames"):
        explain_trajectories(tmp_path / "short.mp4", frames=0)
    assert call("explain", "trajectories", tmp_path / "nothing.mp4").code == 1
    encode(tmp_path / "still.mp4", np.full((20, 48, 64, 3), 90, np.uint8))
    assert explain_trajectories(tmp_path / "still.mp4", frames=1).facts["before"] == [0]
    film(tmp_path / "long.mp4", 0.0, frames=20)
    made = call(
        "explain", "trajectories", tmp_path / "long.mp4", "--out", tmp_path / "a.png", "--frames", 2, "--json"
    )
    assert made.code == 0, made.err
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert set(json.loads(made.out)) >= {"frames", "before", "after"}
