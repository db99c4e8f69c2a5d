"""Windows of frames, against counts and maxima taken frame by frame."""

from __future__ import annotations

import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.layers.pooling import repeated_from_start, window_count, window_max


@pytest.mark.parametrize(
    ("frames", "count"), [(30, 5), (120, 23), (300, 59), (10, 1), (14, 1), (15, 2), (9, 1), (1, 1)]
)
def test_the_number_of_windows_is_the_papers(frames: int, count: int) -> None:
    assert window_count(frames) == count
    assert window_max(torch.zeros(frames, 2)).shape == (count, 2)


def test_a_window_has_the_maximum_of_its_frames() -> None:
    x = torch.randn(23, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([x[start : start + 10].amax(0) for start in (0, 5, 10)])
    assert torch.equal(window_max(x), expected)
    assert torch.equal(window_max(x[None], dim=1)[0], expected)
    assert torch.equal(window_max(x, kernel=4, stride=7)[2], x[14:18].amax(0))
    assert torch.equal(window_max(x[:3]), x[:3].amax(0)[None])


@pytest.mark.parametrize(("kernel", "stride"), [(0, 1), (1, 0)])
def test_windows_without_frames_are_refused(kernel: int, stride: int) -> None:
    with pytest.raises(ArgumentError, match="at least 1"):
        window_max(torch.zeros(5, 1), kernel, stride)
    with pytest.raises(ArgumentError, match="frames"):
        window_max(torch.zeros(0, 1))


def test_short_videos_repeat_from_the_start() -> None:
    x = torch.arange(7)
    assert repeated_from_start(x, 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert repeated_from_start(x, 3).tolist() == list(range(7))
    assert repeated_from_start(x[None], 9, dim=1).tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1]]
