"""Trajectories of textures whose motion is known."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import praxiscope as px
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.trajectories.camera import MATCHERS, CameraMotion
from praxiscope.trajectories.extraction import extract
from praxiscope.trajectories.farneback import Expansion, expand, pyramid_flow
from praxiscope.trajectories.histograms import Sums, flow_sums, gradient_sums, patch_histograms
from praxiscope.trajectories.settings import TrajectorySettings

ROWS, COLUMNS, FRAMES = 72, 96, 20


def texture(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(128 + 45 * smooth / smooth.std(), np.float32)


def shown(picture: NDArray[np.float32], dx: float, dy: float) -> NDArray[np.uint8]:
    """A window of a picture that moved by (dx, dy)."""
    size = (COLUMNS, ROWS)
    matrix = np.array([[1, 0, dx - 40], [0, 1, dy - 40]], np.float32)
    moved = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR)
    return np.asarray(moved.clip(0, 255).round(), np.uint8)


def moving(dx: float, dy: float, frames: int = FRAMES) -> NDArray[np.uint8]:
    picture = texture(ROWS + 80, COLUMNS + 80)
    return np.stack([shown(picture, dx * number, dy * number) for number in range(frames)])


def object_on(dx: float, camera: float = 0.0) -> NDArray[np.uint8]:
    """A square that moves by dx per frame, on a background that moves by ``camera``."""
    frames = moving(camera, 0)
    square = texture(30, 30, seed=1).clip(0, 255).astype(np.uint8)
    for number, frame in enumerate(frames):
        left = 20 + round(dx * number)
        frame[20:50, left : left + 30] = square
    return frames


def test_points_of_a_moving_texture_move_with_it() -> None:
    found = extract(moving(1.5, -0.5), camera_motion=False)
    assert len(found) > 50
    assert np.isin(found.info[:, 0], range(15, FRAMES)).all()
    steps = found.track.reshape(-1, 15, 2)
    expected = np.array([1.5, -0.5]) / (15 * np.hypot(1.5, 0.5))
    # Points near the border are tracked worse.
    inside = (np.abs(found.info[:, 1] - COLUMNS / 2) < 25) & (np.abs(found.info[:, 2] - ROWS / 2) < 15)
    assert inside.sum() > 10
    assert np.allclose(np.median(steps[inside], axis=(0, 1)), expected, atol=0.004)
    assert np.median(found.info[inside, 5]) == pytest.approx(15 * np.hypot(1.5, 0.5), rel=0.05)
    assert np.linalg.norm(steps, axis=2).sum(1) == pytest.approx(np.ones(len(found)), abs=1e-5)


def test_the_motion_of_the_camera_is_removed() -> None:
    still = extract(moving(1.5, -0.5), camera_motion=True)
    assert len(still) < 0.1 * len(extract(moving(1.5, -0.5), camera_motion=False))
    alone = extract(object_on(1.5, camera=-1.0), camera_motion=True)
    both = extract(object_on(1.5, camera=-1.0), camera_motion=False)
    assert len(both) > 2 * len(alone) > 20
    near = (alone.info[:, 2] > 12) & (alone.info[:, 2] < 58)
    assert near.mean() > 0.9  # of the square
    across = alone.track.reshape(-1, 15, 2)[near].sum(1)
    assert np.median(across[:, 0]) > 0.9


def test_what_does_not_move_has_no_trajectory() -> None:
    still = np.repeat(moving(0, 0, 1), FRAMES, axis=0)
    assert len(extract(still)) == 0
    assert len(extract(np.full((FRAMES, 64, 64), 128, np.uint8))) == 0
    few = extract(moving(2, 0, 15))
    assert (len(few), few.hof.shape) == (0, (0, 108))


def test_descriptors_are_means_of_square_roots_of_histograms() -> None:
    found = extract(moving(1.5, -0.5), camera_motion=False)
    for values, bins in ((found.hog, 8), (found.hof, 9), (found.mbhx, 8), (found.mbhy, 8)):
        cells = values.reshape(len(found), 3, 4 * bins)
        assert (cells >= 0).all()
        assert (np.linalg.norm(cells, axis=2) <= 1 + 1e-5).all()
    hof = found.hof.reshape(-1, 12, 9).mean((0, 1))
    assert set(hof.argsort()[-2:].tolist()) == {0, 7}  # to the right and a little up: y points down
    still = extract(object_on(1.5), camera_motion=False)
    assert still.hof.reshape(-1, 12, 9)[..., 8].mean() > hof[8] + 0.1


def test_twice_the_same_and_from_any_kind_of_frames() -> None:
    frames = object_on(1.5, camera=-1.0)
    one = extract(frames)
    for other in (frames, torch.from_numpy(frames), iter(frames)):
        again = px.trajectories.extract(other)
        assert all(
            np.array_equal(getattr(one, name), getattr(again, name)) for name in ("info", "track", "hof")
        )
    colour = np.repeat(frames[:, None], 3, axis=1)
    assert len(extract(colour)) == pytest.approx(len(one), rel=0.05)


def test_frames_that_cannot_be_tracked_are_refused() -> None:
    small, floats = np.zeros((2, 20, 64), np.uint8), np.zeros((2, 64, 64), np.float32)
    for frames in (small, floats, np.zeros((2, 4, 64, 64), np.uint8)):
        with pytest.raises(ArgumentError):
            extract(frames)
    with pytest.raises(ArgumentError, match="frame 1"):
        extract([np.zeros((64, 64), np.uint8), np.zeros((64, 65), np.uint8)])
    for wrong in ({"length": 0}, {"length": 14}, {"patch": 31}, {"still": -1.0}, {"quality": float("nan")}):
        with pytest.raises(ArgumentError):
            TrajectorySettings(**wrong)  # type: ignore[arg-type]


def by_hand(dx: float, dy: float, bins: int = 8) -> list[float]:
    place = (np.arctan2(dy, dx) % (2 * np.pi)) / (2 * np.pi) * bins
    found = [0.0] * bins
    low, share = int(place) % bins, place - int(place)
    found[low] += np.hypot(dx, dy) * (1 - share)
    found[(low + 1) % bins] += np.hypot(dx, dy) * share
    return found


def at(sums: Sums, row: int, column: int) -> list[float]:
    """What one pixel adds to each bin."""
    return [
        each[row + 1, column + 1] - each[row, column + 1] - each[row + 1, column] + each[row, column]
        for each in sums
    ]


@pytest.mark.parametrize(
    "vector", [(1.0, 0.0), (0.0, 2.0), (-1.0, 0.3), (0.6, -0.6), (3.0, -0.01), (2.0, -1e-7)]
)
def test_a_vector_is_shared_by_the_two_nearest_orientations(vector: Sequence[float]) -> None:
    flow = [np.full((4, 5), value, np.float32) for value in vector]
    found = flow_sums(*flow, still=0.4)
    assert [each.shape for each in found] == [(5, 6)] * 9
    assert at(found, 2, 3) == pytest.approx([*by_hand(*vector), 0.0], abs=2e-3)
    ramp = vector[0] * np.arange(9, dtype=np.float32) + vector[1] * np.arange(7, dtype=np.float32)[:, None]
    gradients = at(gradient_sums(np.ascontiguousarray(ramp)), 3, 4)
    assert gradients == pytest.approx([2 * value for value in by_hand(*vector)], abs=5e-3)  # of two pixels


def test_short_flow_counts_as_no_motion() -> None:
    flow = np.full((3, 3), 0.2, np.float32)
    assert at(flow_sums(flow, flow, still=0.4), 1, 1) == [0] * 8 + [1]


def test_patches_are_cells_of_sums_moved_inside_the_frame() -> None:
    bins = np.random.default_rng(0).random((40, 50, 3), np.float32)
    points = np.array([[25.2, 19.7], [0.0, 0.0], [49.0, 39.0]], np.float32)
    sums = [
        np.pad(plane.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        for plane in np.moveaxis(bins.astype(np.float64), 2, 0)
    ]
    found = patch_histograms(sums, points, 8, 2)
    for row, (top, left) in zip(found, [(12, 17), (0, 0), (24, 34)], strict=True):
        cells = [
            bins[top + 8 * r : top + 8 * r + 8, left + 8 * c : left + 8 * c + 8].sum((0, 1))
            for c in range(2)
            for r in range(2)
        ]
        expected = np.concatenate(cells)
        assert row == pytest.approx(np.sqrt(expected / expected.sum()), rel=1e-4)


def test_an_expansion_is_the_polynomial_that_fits_best() -> None:
    y, x = np.mgrid[:32, :40]
    values = (
        100 + 0.5 * x - 0.25 * y + 0.02 * (x - 20) ** 2 - 0.03 * (y - 16) ** 2 + 0.01 * (x - 20) * (y - 16)
    )
    bx, by, axx, ayy, axy = (plane[16, 20] for plane in expand(values.astype(np.float32)).planes)
    assert (bx, by, axx, ayy, axy) == pytest.approx((0.5, -0.25, 0.02, -0.03, 0.005), abs=1e-4)


def frame_of(seed: int = 0) -> NDArray[np.uint8]:
    return cv2.GaussianBlur(texture(140, 180, seed), (0, 0), 1.5).clip(0, 255).astype(np.uint8)


def moved(frame: NDArray[np.uint8], homography: NDArray[np.float64]) -> NDArray[np.uint8]:
    return cv2.warpPerspective(frame, homography, frame.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def flows(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Flow at three scales."""

    def views(frame: NDArray[np.uint8]) -> list[Expansion]:
        sizes = [(180 // 2**level, 140 // 2**level) for level in range(3)]
        return [expand(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)) for size in sizes]

    return pyramid_flow(views(one), views(two))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.3, -0.6), (5.0, 3.0)])
def test_the_flow_of_a_shift_is_the_shift_at_each_scale(shift: tuple[float, float]) -> None:
    frame = frame_of()
    found = flows(frame, moved(frame, np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])))
    assert [flow.shape for flow in found] == [(2, 140, 180), (2, 70, 90), (2, 35, 45)]
    for level, flow in enumerate(found):
        inner = np.median(flow[:, 5:-5, 5:-5], axis=(1, 2))
        assert inner == pytest.approx(np.array(shift) / 2**level, abs=0.1)


@pytest.mark.parametrize("matcher", MATCHERS.names())
def test_the_homography_of_a_moving_camera_is_found(matcher: str) -> None:
    truth = np.array([[1.01, -0.02, 3.0], [0.02, 0.99, -2.0], [1e-5, 0, 1.0]])
    before = frame_of()
    after = moved(before, truth)
    found = CameraMotion(matcher).homography(before, after, flows(before, after)[0])
    corners = np.array([[[10, 10]], [[170, 10]], [[90, 130.0]]])
    gap = cv2.perspectiveTransform(corners, found) - cv2.perspectiveTransform(corners, truth)
    assert np.abs(gap).max() < 0.5


def test_frames_without_structure_have_no_motion_of_the_camera() -> None:
    frame = np.full((60, 80), 100, np.uint8)
    for matcher in MATCHERS.names():
        assert (
            CameraMotion(matcher).homography(frame, frame, np.ones((2, 60, 80), np.float32)) == np.eye(3)
        ).all()


def test_an_unknown_matcher_is_named() -> None:
    with pytest.raises(UnknownNameError, match="surf"):
        extract(moving(1.5, -0.5), settings=TrajectorySettings(camera="surf"))


@pytest.mark.parametrize(("u", "v"), [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("hard", [False, True])
def test_the_flow_of_stripes_is_that_across_them(u: float, v: float, hard: bool) -> None:
    """Only the motion across is known; in float32 the determinant of each system is not exactly 0."""
    y, x = np.mgrid[:64, :96].astype(np.float64)
    place = u * x + v * y
    before, after = (
        (255.0 * (((place - moved) // 6) % 2) if hard else 127 + 127 * np.sin((place - moved) * 0.5))
        for moved in (0.0, 1.0)
    )
    views = [[expand(frame.clip(0, 255).astype(np.uint8))] for frame in (before, after)]
    found = pyramid_flow(*views)[0][:, 15:-15, 15:-15]
    across = (u * found[0] + v * found[1]).mean()
    assert np.abs(found).max() < 3
    assert across == pytest.approx(1, abs=0.25)
