"""Convolution along time, and pooling along it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.shift import VideoRows
from praxiscope.layers.temporal import AVERAGE, CENTRE, TemporalConvolution, temporal_max


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_centred_convolution_leaves_every_bit_as_it_is(dtype: torch.dtype, last: bool) -> None:
    x = torch.randn(10, 48, 7, 5, generator=torch.manual_seed(0)).to(dtype)
    x = x.to(memory_format=torch.channels_last) if last else x
    layer = TemporalConvolution(48, ForwardValue(VideoRows.equal(2, 5))).to(dtype)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("taps", [CENTRE, AVERAGE, (0.1, 0.2, 0.4, 0.2, 0.1)])
def test_it_is_the_sum_over_neighbours_of_the_same_video(frames: int, taps: tuple[float, ...]) -> None:
    torch.manual_seed(1)
    layer = TemporalConvolution(6, ForwardValue(VideoRows.equal(3, frames)), taps).double()
    with torch.no_grad():
        layer.weight += torch.randn_like(layer.weight)
        layer.bias += torch.randn_like(layer.bias)
    x = torch.randn(3 * frames, 6, 2, 3, dtype=torch.float64)
    videos = x.reshape(3, frames, 6, 2, 3).numpy()
    weight, reach = layer.weight.detach().numpy()[..., 0], len(taps) // 2
    expected = np.zeros_like(videos) + layer.bias.detach().numpy()[:, None, None]
    for t in range(frames):
        for k in range(len(taps)):
            if 0 <= t + k - reach < frames:
                expected[:, t] += np.einsum("oc,nchw->nohw", weight[:, :, k], videos[:, t + k - reach])
    np.testing.assert_allclose(layer(x).detach().numpy().reshape(videos.shape), expected, atol=1e-12)


def test_an_averaging_start_shrinks_the_ends() -> None:
    layer = TemporalConvolution(2, ForwardValue(VideoRows.equal(1, 4)), AVERAGE)
    assert layer(torch.ones(4, 2, 1, 1))[:, 0, 0, 0].tolist() == pytest.approx([2 / 3, 1, 1, 2 / 3])


def test_it_has_three_weights_for_each_pair_of_channels_and_a_bias() -> None:
    layer = TemporalConvolution(64, ForwardValue(None))
    assert sum(p.numel() for p in layer.parameters()) == 3 * 64**2 + 64


def test_taps_have_a_middle() -> None:
    with pytest.raises(ArgumentError, match=r"\btaps\b.*0.5"):
        TemporalConvolution(2, ForwardValue(None), (0.5, 0.5))


def test_its_gradient_is_that_of_finite_differences() -> None:
    layer = TemporalConvolution(3, ForwardValue(VideoRows.equal(2, 3)), AVERAGE).double()
    x = torch.randn(6, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize(
    ("frames", "window", "left"), [(25, 5, 21), (5, 5, 1), (5, None, 1), (3, 5, 1), (4, 1, 4)]
)
def test_the_maximum_slides_over_time(frames: int, window: int | None, left: int) -> None:
    x = torch.randn(2, frames, 3, 2, 2, generator=torch.manual_seed(0))
    pooled = temporal_max(x, window)
    assert pooled.shape == (2, left, 3, 2, 2)
    size = min(frames, window or frames)
    expected = [np.max(x.numpy()[:, i : i + size], axis=1) for i in range(left)]
    assert np.array_equal(pooled.numpy(), np.stack(expected, 1))


def test_a_window_has_a_frame() -> None:
    with pytest.raises(ArgumentError, match=r"window\b.*\b1\b.*\b0\b"):
        temporal_max(torch.zeros(1, 3, 2), 0)
