"""Protocols: names, and the frames that they take."""

from __future__ import annotations

import json

import numpy as np
import pytest

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import Protocol, parse_protocol, view_indices
from praxiscope.video.sampling import segment_indices


@pytest.mark.parametrize(
    ("text", "views", "sampling", "crops", "all_views"),
    [
        ("1x1", 1, "segments", "center", 1),
        ("25x1", 25, "segments", "center", 25),
        ("25x10", 25, "segments", "ten", 250),
        ("dense10x3", 10, "dense", "three", 30),
        ("2x3", 2, "segments", "three", 6),
        ("25xFull", 25, "segments", "full", 25),
        (" Dense4xfull ", 4, "dense", "full", 4),
        ("100x10", 100, "segments", "ten", 1000),
        ("3xfull-mirrored", 3, "segments", "full-mirrored", 6),
        ("Fully-Convolutional", 25, "segments", "full-mirrored", 50),
    ],
)
def test_a_name_gives_its_views_and_crops(text, views, sampling, crops, all_views):
    protocol = parse_protocol(text)
    assert (protocol.temporal_views, protocol.sampling, protocol.crops) == (views, sampling, crops)
    assert protocol.views == all_views
    assert parse_protocol(protocol.name) == protocol
    assert Protocol(**json.loads(json.dumps(protocol.as_dict()))) == protocol


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25",
        "x1",
        "0x1",
        "25x2",
        "25x0",
        "-1x1",
        "dense",
        "dens10x3",
        "25x10x3",
        "1e3x1",
        "10000x1",
        "25 x 10",
    ],
)
def test_a_wrong_name_is_refused_with_examples(text):
    with pytest.raises(ArgumentError, match=r"25x10.*dense10x3"):
        parse_protocol(text)


def test_three_crops_cover_the_frame_and_the_others_are_cut_from_256_rows_for_224():
    assert parse_protocol("dense10x3").short_side_ratio == 1
    for name in ("1x1", "25x10", "25xfull", "fully-convolutional"):
        assert 224 * parse_protocol(name).short_side_ratio == pytest.approx(256)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temporal_views": 0},
        {"sampling": "none"},
        {"crops": "five"},
        {"stride": 0},
        {"short_side_ratio": 0.5},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Protocol(**{"name": "mine", "temporal_views": 2, **wrong})


@pytest.mark.parametrize("num_frames", [1, 7, 24, 25, 26, 100, 299])
@pytest.mark.parametrize("length", [1, 5])
def test_25_views_of_one_snippet_are_the_25_segments(num_frames, length):
    if num_frames < length:
        return
    views = view_indices(parse_protocol("25x1"), num_frames, 1, length)
    assert views.shape == (25, 1)
    assert views[:, 0].tolist() == np.asarray(segment_indices(num_frames, 25, length)).tolist()


def test_instants_of_a_model_that_sees_any_number_are_one_view():
    views = view_indices(parse_protocol("fully-convolutional"), 300, None, 11)
    assert views.shape == (1, 25)
    assert views[0].equal(segment_indices(300, 25, 11))
    assert view_indices(parse_protocol("allx1"), 30, None, 11).shape == (1, 20)
    with pytest.raises(ArgumentError, match="together"):
        view_indices(parse_protocol("dense2x3"), 300, None, 11)


@pytest.mark.parametrize("num_frames", [8, 50, 177])
def test_one_view_is_the_centred_sampling(num_frames):
    views = view_indices(parse_protocol("1x1"), num_frames, 8)
    tick = num_frames / 8
    assert views.tolist() == [[int(tick / 2 + tick * k) for k in range(8)]]


def test_view_k_lies_at_its_part_of_every_segment():
    # 80 frames, 4 segments of 20, 2 views: at 1/4 and 3/4 of each.
    views = view_indices(parse_protocol("2x1"), 80, 4)
    assert views.tolist() == [[5, 25, 45, 65], [15, 35, 55, 75]]


def test_dense_windows_are_spread_over_the_video():
    views = view_indices(parse_protocol("dense3x1"), 65 + 100, 8)
    # 165 frames, windows of 64: starts 0, 50 and 101.
    assert views[:, 0].tolist() == [0, 50, 101]
    assert (views[:, 1:] - views[:, :-1] == 8).all()


def test_one_dense_window_lies_in_the_middle():
    assert view_indices(parse_protocol("dense1x1"), 164, 8)[0].tolist() == [50 + 8 * k for k in range(8)]


def test_dense_windows_agree_with_the_published_code():
    # numpy twin of TSM's test sampling with 64 frames and 10 windows.
    for num_frames in (10, 40, 64, 65, 100, 257, 1000):
        positions = max(1, 1 + num_frames - 64)
        begins = np.linspace(0, positions - 1, num=10, dtype=int)
        wanted = [[(8 * k + begin) % num_frames for k in range(8)] for begin in begins]
        assert view_indices(parse_protocol("dense10x3"), num_frames, 8).tolist() == wanted


@pytest.mark.parametrize("name", ["1x1", "3x10", "25x1", "dense1x1", "dense10x3"])
@pytest.mark.parametrize("snippets", [1, 3, 8])
@pytest.mark.parametrize("length", [1, 5, 11])
def test_every_snippet_fits_into_the_video(name, snippets, length):
    for num_frames in (1, 4, 5, 11, 12, 63, 64, 65, 200):
        protocol = parse_protocol(name)
        views = view_indices(protocol, num_frames, snippets, length)
        assert views.shape == (protocol.temporal_views, snippets)
        assert views.min() >= 0
        if num_frames < length:
            assert views.max() == 0
        else:
            assert views.max() + length <= num_frames


def test_numbers_below_one_are_refused():
    for name, arguments in (
        ("num_frames", (0, 1)),
        ("together", (10, 0)),
        ("snippet_length", (10, 1, 0)),
    ):
        with pytest.raises(ArgumentError, match=name):
            view_indices(parse_protocol("1x1"), *arguments)


def test_one_hundred_views_lie_in_the_middles_of_one_hundred_equal_segments():
    frames = 6000
    middles = [(k + 0.5) * frames / 100 for k in range(100)]
    found = view_indices(parse_protocol("100x10"), frames, 1)[:, 0]
    assert found.shape == (100,)
    assert np.abs(found.numpy() - middles).max() <= 1
