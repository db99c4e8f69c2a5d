"""Segments from scores over time, against cases worked out on paper and plain loops."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.segments import Segment, segmental_f1
from praxiscope.inference.segment_learning import TimedVideo, learn_settings, mean_f1
from praxiscope.inference.segments import (
    ScoresOverTime,
    SegmentSettings,
    default_settings,
    find_segments,
    load_settings,
    save_settings,
    smooth_over_time,
)

PLAIN = SegmentSettings(smooth_s=0, high=0.6, low=0.4, min_s=0, merge_s=0)


def over_time(*columns, labels="abc", first_s=0.0, step_s=1.0):
    """Probabilities by class, in windows that touch."""
    values = np.array(columns, dtype=float).T
    start = first_s + step_s * np.arange(len(values))
    return ScoresOverTime(start, start + step_s, values, tuple(labels[: values.shape[1]]))


def times(segments, label=None):
    return [(s.start_s, s.end_s) for s in segments if label in (None, s.label)]


def test_overlapping_windows_share_their_overlap_and_the_ends_of_the_video_belong_to_the_outer_ones():
    scores = ScoresOverTime([3, 4, 5], [5, 6, 6.5], np.ones((3, 1)), ("a",))
    assert scores.edges.tolist() == [3, 4.5, 5.5, 6.5]
    assert times(find_segments(scores, PLAIN)) == [(3, 6.5)]


def test_high_opens_a_segment_and_low_closes_it():
    scores = over_time([0.5, 0.7, 0.5, 0.4, 0.39, 0.5, 0.6, 0.1])
    both = (replace(PLAIN, overlap=True), PLAIN)
    assert [times(find_segments(scores, each)) for each in both] == [[(1, 4), (6, 7)]] * 2


def test_one_class_at_a_time_changes_where_another_is_best_and_reaches_its_threshold():
    scores = over_time([0.7, 0.45, 0.4, 0.2, 0.5], [0.2, 0.55, 0.6, 0.7, 0.3])
    assert find_segments(scores, replace(PLAIN, classes={})) == [
        Segment(0, 2, "a", pytest.approx((0.7 + 0.45) / 2)),
        Segment(2, 4, "b", pytest.approx((0.6 + 0.7) / 2)),
    ]


def test_classes_may_overlap_where_each_has_a_probability_of_its_own():
    scores = over_time([0.9, 0.9, 0.9, 0.1], [0.1, 0.8, 0.8, 0.8])
    found = find_segments(scores, replace(PLAIN, overlap=True))
    assert [(s.start_s, s.end_s, s.label) for s in found] == [(0, 3, "a"), (1, 4, "b")]
    assert times(find_segments(scores, PLAIN)) == [(0, 3), (3, 4)]


def test_thresholds_of_a_class_replace_the_shared_ones():
    scores = over_time([0.5, 0.5], [0.45, 0.5])
    settings = replace(PLAIN, overlap=True, classes={"b": (0.45, 0.45)})
    assert [s.label for s in find_segments(scores, settings)] == ["b"]


def test_high_of_zero_labels_all_time_with_the_best_class():
    draw = np.random.default_rng(0).random((30, 3))
    scores = over_time(*draw.T)
    found = find_segments(scores, replace(PLAIN, high=0, low=0))
    best = np.repeat([s.label for s in found], [round(s.end_s - s.start_s) for s in found])
    assert best.tolist() == [scores.labels[k] for k in draw.argmax(1)]
    assert all(one.label != other.label for one, other in pairwise(found))


def test_gaps_are_closed_before_short_segments_are_left_out():
    scores = over_time([0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1])
    assert times(find_segments(scores, replace(PLAIN, merge_s=1, min_s=2))) == [(0, 3)]
    assert times(find_segments(scores, replace(PLAIN, merge_s=2, min_s=2))) == [(0, 6)]
    assert times(find_segments(scores, replace(PLAIN, min_s=2))) == []
    assert times(find_segments(scores, replace(PLAIN, min_s=1))) == [(0, 1), (2, 3), (5, 6)]


def test_a_short_segment_of_another_class_inside_an_action_is_removed_and_the_gap_closed():
    a, b = [0.9, 0.9, 0.1, 0.9, 0.9], [0.1, 0.1, 0.9, 0.1, 0.1]
    found = find_segments(over_time(a, b), replace(PLAIN, min_s=2, merge_s=1))
    assert [(s.start_s, s.end_s, s.label) for s in found] == [(0, 5, "a")]
    kept = find_segments(over_time(a, b), replace(PLAIN, min_s=1, merge_s=1))
    assert [s.label for s in kept] == ["a", "b", "a"]  # a segment of another class is not a gap
    both = find_segments(over_time(a, b), replace(PLAIN, min_s=1, merge_s=1, overlap=True))
    assert [(s.start_s, s.end_s, s.label) for s in both] == [(0, 5, "a"), (2, 3, "b")]


@pytest.mark.parametrize("first_s", [0.0, 7.3])
def test_smoothing_is_the_mean_of_what_is_within_half_its_length(first_s):
    scores = over_time([0, 0, 3, 0, 0, 6], first_s=first_s, step_s=0.5)
    assert smooth_over_time(scores, 1.0)[:, 0] == pytest.approx([0, 1, 1, 1, 2, 3])
    assert smooth_over_time(scores, 0.99)[:, 0] == pytest.approx([0, 0, 3, 0, 0, 6])
    assert smooth_over_time(scores, 0)[:, 0] == pytest.approx([0, 0, 3, 0, 0, 6])
    assert smooth_over_time(scores, 100)[:, 0] == pytest.approx([1.5] * 6)


def test_smoothing_weighs_frames_of_uneven_rates_by_their_time():
    scores = ScoresOverTime([0, 1, 4], [1, 4, 5], [[1], [0], [1]], ("a",))
    assert smooth_over_time(scores, 100)[:, 0] == pytest.approx([0.4] * 3)


@pytest.mark.parametrize("overlap", [False, True])
def test_segments_agree_with_a_plain_loop_over_random_scores(overlap):
    draw = np.random.default_rng(3)
    for _ in range(20):
        values = draw.random((int(draw.integers(1, 40)), 3))
        settings = replace(PLAIN, overlap=overlap, classes={"b": (0.8, 0.2)})
        high, low = (0.6, 0.8, 0.6), (0.4, 0.2, 0.4)
        active: set[int] = set()
        wanted = []
        for row in values:
            best = int(np.argmax(row))
            if overlap:
                active = {k for k in range(3) if row[k] >= high[k] or (k in active and row[k] >= low[k])}
            elif row[best] >= high[best]:
                active = {best}
            else:
                active = {k for k in active if row[k] >= low[k]}
            wanted.append(active)
        found = find_segments(over_time(*values.T), settings)
        got = [{"abc".index(s.label) for s in found if s.start_s <= k < s.end_s} for k in range(len(values))]
        assert got == wanted


def test_one_window_no_window_and_nothing_above_the_threshold():
    assert find_segments(over_time([0.6]), PLAIN) == [Segment(0, 1, "a", 0.6)]
    assert find_segments(ScoresOverTime([], [], np.zeros((0, 2)), ("a", "b")), PLAIN) == []
    assert find_segments(over_time([0.59, 0.3]), PLAIN) == []


def test_scores_that_do_not_fit_are_refused():
    for start, end, values in (
        ([0, 1], [1, 2], np.ones((2, 3))),
        ([0, 1], [1], np.ones((2, 1))),
        ([1, 0], [2, 1], np.ones((2, 1))),
        ([0], [0], np.ones((1, 1))),
    ):
        with pytest.raises(ArgumentError):
            ScoresOverTime(start, end, values, ("a",))


@pytest.mark.parametrize(
    "wrong", [{"high": 1.1}, {"low": 0.7}, {"min_s": -1}, {"stride_s": 0}, {"classes": {"a": (0.1, 0.2)}}]
)
def test_settings_that_cannot_be_used_are_refused(wrong):
    with pytest.raises(ArgumentError):
        replace(PLAIN, **wrong)


def test_settings_survive_their_file_and_a_damaged_file_is_named(tmp_path):
    settings = replace(PLAIN, classes={"a b": (0.7, 0.2)}, learned_from=3, overlap=True)
    assert load_settings(tmp_path) is None
    assert load_settings(save_settings(tmp_path, settings).parent) == settings
    for text in ("{", "[]", json.dumps({"classes": {}, "unknown": 1})):
        (tmp_path / "segments.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"segments\.json"):
            load_settings(tmp_path)


def test_default_thresholds_lie_between_a_guess_and_certainty_or_at_that_of_the_calibration():
    def thresholds(*given):
        settings = default_settings(*given)
        return settings.high, settings.low, settings.overlap

    assert thresholds({}, 2, False) == (0.75, 0.625, False)
    assert thresholds({}, 10, False) == (pytest.approx(0.55), pytest.approx(0.325), False)
    assert thresholds({}, 10, True) == (0.5, 0.25, True)
    assert thresholds({"none_below": 0.8}, 10, False) == (0.8, pytest.approx(0.45), False)
    assert thresholds({"none_below": 0.2}, 2, False) == (0.2, 0.2, False)


def made_videos(count, seed):
    """Scores of two classes with noise; in its segments class a reaches about 0.55, and b about 0.9."""
    draw = np.random.default_rng(seed)
    videos = []
    for _ in range(count):
        values = np.full((80, 2), 0.2)
        segments = []
        for label, first in ((0, 5), (1, 25), (0, 45), (1, 62)):
            first += int(draw.integers(0, 5))
            values[first : first + 10, label] = (0.55, 0.9)[label]
            segments.append(Segment(first / 2, first / 2 + 5, "ab"[label]))
        values += draw.normal(0, 0.12, values.shape)
        scores = ScoresOverTime(np.arange(80) / 2, np.arange(80) / 2 + 0.5, values.clip(0, 1), ("a", "b"))
        videos.append(TimedVideo(scores, segments))
    return videos


@pytest.mark.parametrize("overlap", [False, True])
def test_learned_settings_find_new_videos_better_than_the_defaults(overlap):
    start = SegmentSettings(overlap=overlap, high=0.8, low=0.5)
    steps = []
    learned = learn_settings(made_videos(2, 0), start, lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert learned.learned_from == 2
    assert (learned.window_s, learned.stride_s, learned.overlap) == (start.window_s, start.stride_s, overlap)
    new = made_videos(3, 1)
    assert mean_f1(new, learned) > 0.9 > 0.8 > mean_f1(new, start)


def test_learning_maximises_the_mean_f1_and_needs_segments():
    videos = made_videos(1, 2)
    learned = learn_settings(videos, SegmentSettings())
    predicted = {"v": find_segments(videos[0].scores, learned)}
    values = [segmental_f1(predicted, {"v": videos[0].segments}, tiou) for tiou in (0.3, 0.5, 0.7)]
    assert mean_f1(videos, learned) == pytest.approx(np.mean(values))
    with pytest.raises(ArgumentError):
        learn_settings([TimedVideo(videos[0].scores, [])], SegmentSettings())
