"""TV-L1's parts against plain numpy, and its flow against closed forms and itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.flow import tvl1
from praxiscope.flow.tvl1 import TVL1


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moving(frames: int, height: int = 44, width: int = 52) -> torch.Tensor:
    """A smooth random picture that moves, uint8 [T, 3, H, W]."""
    large = F.interpolate(40 * noise(1, 3, 20, 20) + 128, size=(120, 120), mode="bicubic")[0]
    steps = [(3 * t % 7, 2 * t % 5) for t in range(frames)]
    cut = [large[:, 20 + y : 20 + y + height, 20 + x : 20 + x + width] for x, y in steps]
    return torch.stack(cut).round().clamp(0, 255).to(torch.uint8)


# ---------------------------------------------------------------------------------------- the iteration


def twin(
    first: np.ndarray,
    second: np.ndarray,
    flow: np.ndarray,
    attachment: float,
    warps: int,
    iterations: int,
    median: int,
) -> np.ndarray:
    """One pair on one scale: pictures [3, H, W] (grey, d/dx, d/dy), flow [2, H, W]. Chambolle and Pock, written out."""
    height, width = first.shape[1:]
    step = 1 / np.sqrt(8)
    u = flow.copy()
    px, py = np.zeros((2, height, width)), np.zeros((2, height, width))
    for _ in range(warps):
        constant, gx, gy = (np.zeros((height, width)) for _ in range(3))
        weight = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                at_x, at_y = x + u[0, y, x], y + u[1, y, x]
                inside = 0 <= at_x <= width - 1 and 0 <= at_y <= height - 1
                at_x, at_y = np.clip(at_x, 0, width - 1), np.clip(at_y, 0, height - 1)
                left, top = min(int(at_x), width - 2), min(int(at_y), height - 2)
                a, b = at_x - left, at_y - top
                warped = (
                    (1 - a) * (1 - b) * second[:, top, left]
                    + a * (1 - b) * second[:, top, left + 1]
                    + (1 - a) * b * second[:, top + 1, left]
                    + a * b * second[:, top + 1, left + 1]
                )
                gx[y, x], gy[y, x] = (warped[1:] + first[1:, y, x]) / 2
                constant[y, x] = warped[0] - first[0, y, x] - gx[y, x] * u[0, y, x] - gy[y, x] * u[1, y, x]
                weight[y, x] = 1 / (gx[y, x] ** 2 + gy[y, x] ** 2 + 1) if inside else 0
        ahead = u.copy()
        for _ in range(iterations):
            for c in range(2):
                for y in range(height):
                    for x in range(width):
                        along = (
                            px[c, y, x] + step * (ahead[c, y, x + 1] - ahead[c, y, x]) if x + 1 < width else 0
                        )
                        down = (
                            py[c, y, x] + step * (ahead[c, y + 1, x] - ahead[c, y, x])
                            if y + 1 < height
                            else 0
                        )
                        length = max(1, np.hypot(along, down))
                        px[c, y, x], py[c, y, x] = along / length, down / length
            before = u.copy()
            for y in range(height):
                for x in range(width):
                    for c in range(2):
                        divergence = px[c, y, x] - (px[c, y, x - 1] if x else 0)
                        divergence += py[c, y, x] - (py[c, y - 1, x] if y else 0)
                        u[c, y, x] += step * divergence
                    rho = constant[y, x] + gx[y, x] * u[0, y, x] + gy[y, x] * u[1, y, x]
                    move = np.clip(-rho * weight[y, x], -step * attachment, step * attachment)
                    u[:, y, x] += move * np.array([gx[y, x], gy[y, x]])
            ahead = 2 * u - before
        u = medians(u, median)
    return u


def medians(field: np.ndarray, side: int) -> np.ndarray:
    """The median over side x side pixels of fields [..., H, W]; the border is repeated."""
    reach = side // 2
    padded = np.pad(field, [(0, 0)] * (field.ndim - 2) + [(reach, reach)] * 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(-2, -1))
    return np.median(windows, axis=(-2, -1))


@pytest.mark.parametrize(("attachment", "median"), [(0.2, 5), (0.02, 3)])
def test_the_iteration_is_the_primal_dual_algorithm_written_out(attachment, median):
    # Different pairs at once, in double precision: nothing may leak from one to the next, nor over the borders.
    pictures = 40 * F.avg_pool2d(noise(4, 3, 13, 15).double(), 3, 1)
    flow = 1.5 * noise(2, 3, 11, 13, seed=1).double()
    flow[:, :, 0, 0] = 30.0  # leads out of the picture
    made = TVL1(attachment=attachment, warps=2, iterations=4, median=median)._refine(
        pictures[:-1], pictures[1:], flow.clone()
    )
    for pair in range(3):
        expected = twin(
            *(pictures[n].numpy() for n in (pair, pair + 1)), flow[:, pair].numpy(), attachment, 2, 4, median
        )
        np.testing.assert_allclose(made[:, pair], expected, atol=1e-8)


@pytest.fixture(params=["OpenCV", "no OpenCV"])
def opencv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the median is OpenCV's."""
    if request.param == "OpenCV":
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr(tvl1, "_opencv", lambda: None)
    return request.param == "OpenCV"


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("shape", [(2, 3, 11, 9), (2, 1, 1, 7), (1, 1, 3, 1), (2, 2, 33, 16)])
def test_the_median_is_that_of_numpy_borders_and_ties_included(opencv, monkeypatch, side, shape):
    field = noise(*shape)
    field[0, 0, : shape[2] // 2] = 1.0
    before = field.clone()
    expected = medians(field.numpy(), side)
    for pixels in (1, 40, 1 << 14):  # part of a row, some rows, all fields at once
        monkeypatch.setattr(tvl1, "_CPU_MEDIANS", pixels)
        assert np.array_equal(tvl1._median(field, side), expected)
        assert np.array_equal(tvl1._median(field.transpose(-1, -2), side), expected.swapaxes(-1, -2))
    assert torch.equal(field, before)
    assert np.array_equal(tvl1._median(field.double(), side), expected)


def test_the_median_network_sorts_every_order_of_nine():
    # A network of exchanges is right for all numbers if it is right for all of 0 and 1.
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9)))
    made = tvl1._median_network(bits.view(-1, 3, 3), 3)
    assert torch.equal(made[:, 0, 0], (bits.sum(dim=1) >= 5).float())


def test_the_median_network_sorts_every_order_of_twenty_five():
    # All that its first part, which sorts columns, can leave; and that first part by itself.
    columns = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)))
    row = columns.T[:, None, :].contiguous()  # [5, 1, 32]
    rows = list(row)
    for a, b in tvl1._SORT[5]:
        rows[a], rows[b] = torch.minimum(rows[a], rows[b]), torch.maximum(rows[a], rows[b])
    assert torch.equal(torch.stack(rows), row.sort(dim=0).values)
    counts = torch.tensor(list(itertools.product(range(6), repeat=5)))  # ones in each column
    windows = (torch.arange(5)[:, None] >= 5 - counts[:, None, :]).float()  # [n, 5, 5]
    made = tvl1._median_network(windows, 5)
    assert torch.equal(made[:, 0, 0], (counts.sum(dim=1) >= 13).float())


def test_slopes_of_a_cubic_are_exact_away_from_the_border():
    y, x = torch.meshgrid(torch.arange(12.0).double(), torch.arange(14.0).double(), indexing="ij")
    picture = 0.1 * x**3 - 0.3 * x * y**2 + y**3 + 2 * x
    slopes = tvl1._gradient(picture[None, None])[0]
    inner = (slice(2, -2), slice(2, -2))
    torch.testing.assert_close(slopes[0][inner], (0.3 * x**2 - 0.3 * y**2 + 2)[inner])
    torch.testing.assert_close(slopes[1][inner], (-0.6 * x * y + 3 * y**2)[inner])


def test_grey_is_the_luma_of_bt601():
    frames = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], dtype=torch.uint8)[
        ..., None, None
    ]
    torch.testing.assert_close(
        tvl1._grey(frames).flatten(), torch.tensor([0.299 * 255, 0.587 * 255, 0.114 * 255, 9])
    )


# ------------------------------------------------------------------------------------------ the estimator


@pytest.mark.parametrize("room", [1, 2 * 44 * 52, 3 * 44 * 52 + 5, 1 << 30])
@pytest.mark.parametrize("backward", [False, True])
def test_many_pairs_at_once_are_as_one_by_one(monkeypatch, room, backward):
    frames, estimator = moving(6), TVL1(warps=2, iterations=5)
    alone = torch.cat([estimator(frames[t : t + 2], backward=backward) for t in range(5)])
    monkeypatch.setattr(tvl1, "_CPU_PIXELS", room)
    torch.testing.assert_close(estimator(frames, backward=backward), alone, atol=1e-4, rtol=0)


def test_nothing_moves_in_a_still_or_an_empty_picture():
    estimator = TVL1(warps=2, iterations=5)
    still = moving(1).expand(3, -1, -1, -1)
    assert estimator(still).abs().max() < 1e-3
    assert estimator(torch.full((3, 3, 20, 33), 7, dtype=torch.uint8)).abs().max() < 1e-9


@pytest.mark.parametrize("size", [(16, 16), (17, 240), (101, 16)])
def test_frames_of_any_size_have_flow_of_that_size(size):
    flow = TVL1(warps=1, iterations=3)(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))
    assert flow.shape == (1, 2, *size)
    assert flow.isfinite().all()


def test_scales_shrink_by_the_factor_down_to_the_smallest():
    sizes = [tuple(p.shape[-2:]) for p in TVL1(scale=0.5, smallest=16)._scales(noise(1, 1, 130, 200))]
    assert sizes == [(130, 200), (65, 100), (32, 50), (16, 25)]
    assert len(TVL1(scale=0.8, smallest=16)._scales(noise(1, 1, 130, 200))) == 10


def test_the_flow_can_be_changed_and_learned_from():
    flow = TVL1(warps=1, iterations=2)(moving(2))
    flow += 1  # no inference tensor
    assert not flow.is_inference()


def test_parameters_are_all_recorded():
    estimator = TVL1(warps=3)
    assert estimator.parameters == {
        "attachment": 0.2,
        "warps": 3,
        "iterations": 10,
        "median": 5,
        "scale": 0.5,
        "smallest": 16,
    }
    assert TVL1(**estimator.parameters) == estimator


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"attachment": 0.0}, "attachment > 0"),
        ({"attachment": float("nan")}, "attachment > 0"),
        ({"attachment": float("inf")}, "attachment > 0"),
        ({"warps": 0}, r"(warps|iterations).*>= 1\b"),
        ({"iterations": 0}, r"(warps|iterations).*>= 1\b"),
        ({"smallest": 3}, "smallest >= 4"),
        ({"median": 4}, r"median\b.*\b3\b.*\b5\b.*\b4\b"),
        ({"scale": 0.96}, r"scale\b.*0\.1\b.*0\.95\b.*0\.96\b"),
        ({"scale": 0.05}, r"scale\b.*0\.1\b.*0\.95\b.*0\.05\b"),
    ],
)
def test_parameters_out_of_range_are_named(parameters, named):
    with pytest.raises(ArgumentError, match=named):
        TVL1(**parameters)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_finds_the_same_flow():
    frames = moving(6)
    torch.testing.assert_close(TVL1()(frames.cuda()).cpu(), TVL1()(frames), atol=0.02, rtol=0)
