"""Which frames are chosen: against closed forms, numpy twins and counts of many draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from praxiscope.errors import ArgumentError
from praxiscope.video.sampling import (
    dense_window,
    equal_spacing,
    every_frame,
    expand,
    segment_indices,
    strided,
    strided_snippets,
)

FRAMES = st.integers(1, 2000)
SMALL = st.integers(1, 60)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(FRAMES, SMALL, SMALL)
def test_centred_segments_are_the_formula(num_frames: int, segments: int, length: int) -> None:
    tick = max(num_frames - length + 1, 1) / segments
    expected = np.array([int(tick / 2.0 + tick * k) for k in range(segments)])
    chosen = segment_indices(num_frames, segments, length)
    assert chosen.dtype == torch.int64
    np.testing.assert_array_equal(chosen.numpy(), expected)


def test_centred_segments_by_hand() -> None:
    assert segment_indices(100, 4).tolist() == [12, 37, 62, 87]
    assert segment_indices(10, 3, length=5).tolist() == [1, 3, 5]
    assert segment_indices(2, 4).tolist() == [0, 0, 1, 1]


@given(FRAMES, SMALL, SMALL, st.integers(0, 2**31))
def test_segments_lie_in_the_video_and_in_order(
    num_frames: int, segments: int, length: int, seed: int
) -> None:
    for generator in (None, seeded(seed)):
        starts = segment_indices(num_frames, segments, length, generator)
        assert starts.shape == (segments,)
        assert starts.min() >= 0
        assert starts.max() <= max(num_frames - length, 0)
        assert (starts.diff() >= 0).all()
        inside = expand(starts, length, num_frames=num_frames)
        assert inside.max() < num_frames


@given(st.integers(1, 500), SMALL, st.integers(0, 2**31))
def test_each_random_start_lies_in_its_own_part(num_frames: int, segments: int, seed: int) -> None:
    starts = segment_indices(num_frames, segments, generator=seeded(seed)).double()
    tick = num_frames / segments
    parts = torch.arange(segments).double()
    assert (starts + 1 > parts * tick - 1e-9).all()
    assert (starts < (parts + 1) * tick + 1e-9).all()


@pytest.mark.parametrize(
    ("num_frames", "segments", "length"), [(11, 4, 1), (29, 10, 1), (3, 8, 1), (15, 4, 5)]
)
def test_random_segments_reach_every_frame_equally_often(num_frames: int, segments: int, length: int) -> None:
    generator, draws, places = seeded(0), 4000, num_frames - length + 1
    starts = torch.cat([segment_indices(num_frames, segments, length, generator) for _ in range(draws)])
    counts = torch.bincount(starts, minlength=places)
    expected = draws * segments / places
    assert len(counts) == places
    assert (counts - expected).abs().max() < 5 * expected**0.5  # stratified: less spread than binomial


def test_seeds_repeat_a_draw_and_differ_from_one_another() -> None:
    first, again, other = (segment_indices(3000, 8, generator=seeded(s)) for s in (3, 3, 4))
    assert first.equal(again)
    assert not first.equal(other)
    windows = [dense_window(3000, 8, 4, generator=seeded(s)) for s in (3, 3, 4)]
    assert windows[0].equal(windows[1])
    assert not windows[0].equal(windows[2])


@given(FRAMES, SMALL, SMALL)
def test_equal_spacing_spans_the_video_with_spacings_one_frame_apart(
    num_frames: int, count: int, length: int
) -> None:
    starts = equal_spacing(num_frames, count, length)
    last = max(num_frames - length, 0)
    assert starts.shape == (count,)
    assert starts.dtype == torch.int64
    if count == 1:
        assert starts.tolist() == [(last + 1) // 2]
        return
    assert (starts[0], starts[-1]) == (0, last)
    spacings = starts.diff()
    assert spacings.max() - spacings.min() <= 1


def test_equal_spacing_by_hand() -> None:
    assert equal_spacing(97).tolist() == list(range(0, 97, 4))
    assert equal_spacing(3, 5).tolist() == [0, 0, 1, 1, 2]
    # TSM's dense test: np.linspace(0, frames - span, num=10, dtype=int)
    span = 7 * 8 + 1
    twin = np.linspace(0, 250 - span, num=10, dtype=int)
    assert equal_spacing(250, 10, span).tolist() == twin.tolist()


@given(FRAMES, SMALL, st.integers(1, 9), st.integers(0, 2**31))
def test_a_dense_window_is_contiguous_and_loops(num_frames: int, length: int, stride: int, seed: int) -> None:
    frames = dense_window(num_frames, length, stride, generator=seeded(seed))
    first = int(frames[0])
    assert frames.tolist() == [(first + stride * i) % num_frames for i in range(length)]
    span = (length - 1) * stride + 1
    if span <= num_frames:
        assert (frames.diff() == stride).all()  # fits: no loop
    else:
        assert first == 0


def test_a_dense_window_without_a_generator_stands_in_the_middle_or_where_told() -> None:
    assert dense_window(100, 4, 10).tolist() == [35, 45, 55, 65]
    assert dense_window(100, 3, 10, start=85).tolist() == [85, 95, 5]
    assert dense_window(3, 8, 2).tolist() == [0, 2, 1, 0, 2, 1, 0, 2]
    assert dense_window(9, 1).equal(segment_indices(9, 1))


def test_a_random_dense_window_reaches_every_place_equally_often() -> None:
    generator = seeded(1)
    firsts = torch.stack([dense_window(20, 4, 3, generator=generator)[0] for _ in range(5500)])
    counts = torch.bincount(firsts)
    assert len(counts) == 11
    assert (counts - 500).abs().max() < 5 * 500**0.5


@pytest.mark.parametrize("num_frames", [1, 3, 20, 26, 60, 400])
@pytest.mark.parametrize(("count", "length"), [(5, 1), (5, 11), (1, 3)])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_strided_snippets_are_as_far_apart_as_fits(
    num_frames: int, count: int, length: int, seed: int | None
) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    starts = strided_snippets(num_frames, count, length, (5, 35), generator)
    assert starts.dtype == torch.int64
    assert starts.shape == (count,)
    assert int(starts[0]) >= 0
    assert int(starts[-1]) <= max(num_frames - length, 0)
    steps = set(starts.diff().tolist())
    if num_frames >= (count - 1) * 5 + length:
        assert len(steps) <= 1
        assert steps <= set(range(5, 36))
    else:
        assert steps <= set(range(6))


def test_strides_and_starts_are_drawn_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [strided_snippets(30, 3, 1, (5, 8), generator).tolist() for _ in range(8000)]
    strides = Counter(b - a for a, b, _ in drawn)
    assert set(strides) == {5, 6, 7, 8}
    assert min(strides.values()) > 1850
    starts = Counter(a for a, b, _ in drawn if b - a == 8)
    assert set(starts) == set(range(14))  # 30 frames less two strides of 8
    assert min(starts.values()) > 90


def test_strided_snippets_by_hand() -> None:
    assert strided_snippets(101, 5, 1, (5, 35)).tolist() == [20, 35, 50, 65, 80]
    assert strided_snippets(9, 5, 1, (5, 35)).tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(ArgumentError, match=r"strides .*\b5\b.*\b4\b"):
        strided_snippets(9, 5, 1, (5, 4))


def test_strides_and_every_frame() -> None:
    assert strided(10, 3).tolist() == [0, 3, 6, 9]
    assert strided(2, 5).tolist() == [0]
    assert every_frame(4).tolist() == [0, 1, 2, 3]


def test_expand_lists_the_frames_of_snippets_and_repeats_the_last_frame() -> None:
    starts = torch.tensor([0, 5])
    assert expand(starts, 3).tolist() == [[0, 1, 2], [5, 6, 7]]
    assert expand(starts, 3, stride=2).tolist() == [[0, 2, 4], [5, 7, 9]]
    assert expand(starts, 3, num_frames=7).tolist() == [[0, 1, 2], [5, 6, 6]]
    assert expand(segment_indices(3, 2, length=5), 5, num_frames=3).tolist() == [[0, 1, 2, 2, 2]] * 2
    assert starts.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: segment_indices(0, 3), "num_frames"),
        (lambda: segment_indices(5, 0), "segments"),
        (lambda: segment_indices(5, 3, 0), "length"),
        (lambda: equal_spacing(0), "num_frames"),
        (lambda: equal_spacing(5, 0), "count"),
        (lambda: dense_window(0, 2), "num_frames"),
        (lambda: dense_window(5, 0), "length"),
        (lambda: dense_window(5, 2, 0), "stride"),
        (lambda: dense_window(5, 2, start=5), "start"),
        (lambda: dense_window(5, 2, start=-1), "start"),
        (lambda: dense_window(5, 2, start=1, generator=seeded(0)), "both"),
        (lambda: strided(0, 1), "num_frames"),
        (lambda: strided(3, 0), "stride"),
        (lambda: every_frame(-1), "num_frames"),
        (lambda: expand(torch.zeros(2), 3), "starts"),
        (lambda: expand(torch.zeros(2, dtype=torch.int64), 0), "length"),
    ],
)
def test_counts_that_cannot_be_are_refused_by_name(call, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        call()
