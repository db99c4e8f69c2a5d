"""The temporal shift against a twin that moves one number at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.shift import VideoRows, insert_shift, temporal_shift


def plain_shift(video: Tensor, fold_div: int) -> Tensor:
    """[T, C, ...], frame by frame and channel by channel."""
    frames, channels = video.shape[:2]
    fold = channels // fold_div
    out = torch.zeros_like(video)
    for t in range(frames):
        for c in range(channels):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < frames:
                out[t, c] = video[source, c]
    return out


@pytest.mark.parametrize("shape", [(2, 5, 16), (1, 1, 8, 3), (3, 4, 20, 2, 3), (2, 2, 7, 1, 1, 2)])
@pytest.mark.parametrize("fold_div", [1, 2, 3, 8, 100])
def test_the_shift_equals_a_plain_twin(shape, fold_div):
    x = torch.randn(shape)
    expected = torch.stack([plain_shift(video, fold_div) for video in x])
    assert torch.equal(temporal_shift(x, fold_div=fold_div), expected)


def test_the_first_fold_comes_from_the_next_frame_and_the_second_from_the_one_before():
    x = torch.tensor([[[1.0, 10.0, 100.0, 1000.0], [2.0, 20.0, 200.0, 2000.0], [3.0, 30.0, 300.0, 3000.0]]])
    expected = [[[2.0, 0.0, 100.0, 1000.0], [3.0, 10.0, 200.0, 2000.0], [0.0, 20.0, 300.0, 3000.0]]]
    assert temporal_shift(x, fold_div=4).tolist() == expected


@pytest.mark.parametrize("lengths", [[4], [3, 1, 5], [1, 1, 1], [2, 0, 3], [0, 2], [2, 0]])
def test_a_packed_shift_equals_the_shift_of_every_video_alone(lengths):
    x = torch.randn(sum(lengths), 16, 2, 3)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    expected = torch.cat([plain_shift(video, 8) for video in x.split(lengths)])
    assert torch.equal(temporal_shift(x, offsets=offsets), expected)


def test_the_shift_leaves_its_input_alone_and_keeps_the_memory_format():
    x = torch.randn(6, 16, 4, 5).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    shifted = temporal_shift(x.unflatten(0, (2, 3))).flatten(0, 1)
    assert torch.equal(x, before)
    assert shifted.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("offsets", [None, torch.tensor([0, 2, 3])])
def test_the_shift_has_right_gradients(offsets):
    shape = (1, 3, 8, 2) if offsets is None else (3, 8, 2)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: temporal_shift(y, 4, offsets=offsets), x)


def test_a_wrong_shape_and_a_wrong_fold_are_told():
    with pytest.raises(ArgumentError, match=r"\[3, 8\]"):
        temporal_shift(torch.zeros(3, 8))
    with pytest.raises(ArgumentError, match=r"fold_div\b.*\b1\b.*\b0\b"):
        temporal_shift(torch.zeros(1, 3, 8), fold_div=0)


def test_an_inserted_shift_keeps_names_and_follows_the_rows_of_each_pass():
    layer = nn.Conv2d(8, 4, 1)
    names = list(layer.state_dict())
    plain = copy.deepcopy(layer)
    rows = ForwardValue(None)
    insert_shift([layer], rows, fold_div=4)
    assert list(layer.state_dict()) == names
    x = torch.randn(6, 8, 2, 2)
    for snippets in (1, 2, 3, 6):
        expected = plain(torch.cat([plain_shift(video, 4) for video in x.split(snippets)]))
        with rows.set(VideoRows.equal(6 // snippets, snippets)):
            torch.testing.assert_close(layer(x), expected)
    with rows.set(VideoRows.packed(torch.tensor([0, 1, 4, 6]), 6)):
        expected = plain(torch.cat([plain_shift(video, 4) for video in x.split([1, 3, 2])]))
        torch.testing.assert_close(layer(x), expected)


def test_channels_may_be_the_last_axis():
    layer = nn.Identity()
    rows = ForwardValue(None)
    insert_shift([layer], rows, fold_div=4, channels_last=True)
    tokens = torch.randn(6, 5, 8)
    moved = tokens.movedim(-1, 1)
    expected = torch.cat([plain_shift(video, 4) for video in moved.split(3)]).movedim(1, -1)
    with rows.set(VideoRows.equal(2, 3)):
        assert torch.equal(layer(tokens), expected)


def test_without_a_forward_pass_every_row_is_a_video_of_its_own():
    layer = nn.Identity()
    insert_shift([layer], ForwardValue(None), fold_div=4)
    x = torch.randn(3, 8)
    assert torch.equal(layer(x), torch.cat([plain_shift(video, 4) for video in x.split(1)]))


def test_a_shift_can_be_differentiated_twice():
    x = torch.randn(4, 8, 2, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([0, 1, 4])
    assert torch.autograd.gradgradcheck(lambda y: temporal_shift(y, 4, offsets=offsets).square(), x)
