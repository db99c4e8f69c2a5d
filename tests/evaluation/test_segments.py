"""Metrics of segments against cases worked out on paper, and against frame by frame twins."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.segments import (
    ACTIVITYNET_TIOUS,
    Segment,
    average_precisions,
    detection_map,
    edit_score,
    frame_accuracy,
    frame_labels,
    segmental_f1,
    summarise_segments,
    temporal_iou,
)


def segment(start, end, label="a", score=1.0):
    return Segment(start, end, label, score)


def test_tiou_of_overlapping_nested_touching_apart_and_empty_segments():
    others = [segment(5, 15), segment(2, 4), segment(10, 12), segment(20, 30), segment(3, 3)]
    assert temporal_iou(segment(0, 10), others) == pytest.approx([5 / 15, 2 / 10, 0, 0, 0])
    assert temporal_iou(segment(3, 3), [segment(3, 3)]) == pytest.approx([0])
    assert temporal_iou(segment(0, 10), []).shape == (0,)


def test_average_precision_of_a_case_on_paper():
    # Ranks: right, wrong (tIoU 0.2), right, so precisions 1, 1/2, 2/3 at recalls 1/3, 1/3, 2/3; one is never found.
    truth = {"v": [segment(0, 10), segment(20, 30), segment(40, 50)], "w": []}
    predicted = {
        "v": [segment(20, 29, score=0.7), segment(0, 10, score=0.9)],
        "w": [segment(0, 10, score=0.8)],
    }
    assert average_precisions(predicted, truth, 0.5) == {"a": pytest.approx((1 + 2 / 3) / 3)}


def test_precision_is_interpolated_to_the_highest_at_higher_recalls():
    # Ranks: wrong, right, right: precisions 1/2, 2/3; both recalls get 2/3.
    truth = {"v": [segment(0, 10), segment(20, 30)]}
    predicted = {"v": [segment(50, 60, score=3), segment(0, 10, score=2), segment(20, 30, score=1)]}
    assert detection_map(predicted, truth, 0.5) == pytest.approx(2 / 3)


def test_a_true_segment_is_matched_once_and_a_duplicate_is_wrong():
    truth = {"v": [segment(0, 10), segment(100, 110)]}
    twice = [segment(0, 10, score=0.9), segment(0, 10, score=0.8), segment(100, 110, score=0.7)]
    assert detection_map({"v": twice}, truth, 0.5) == pytest.approx((1 + 2 / 3) / 2)
    assert segmental_f1({"v": twice}, truth, 0.5) == pytest.approx(2 * 2 / (3 + 2))


def test_a_detection_whose_best_match_is_taken_gets_the_next_one_for_map_but_not_for_f1():
    # Both predictions overlap [0, 10) most (0.9 and 0.8), and [2, 12) with 7/12 and 6/12.
    truth = {"v": [segment(0, 10), segment(2, 12)]}
    predicted = {"v": [segment(0, 9, score=0.9), segment(0, 8, score=0.8)]}
    assert detection_map(predicted, truth, 0.5) == pytest.approx(1.0)
    assert segmental_f1(predicted, truth, 0.5) == pytest.approx(2 * 1 / 4)


def test_equal_scores_keep_their_order():
    truth = {"v": [segment(0, 10)]}
    right, wrong = segment(0, 10, score=0.5), segment(50, 60, score=0.5)
    assert detection_map({"v": [right, wrong]}, truth, 0.5) == 1.0
    assert detection_map({"v": [wrong, right]}, truth, 0.5) == 0.5


def test_the_threshold_itself_is_enough():
    truth, predicted = {"v": [segment(0, 10)]}, {"v": [segment(0, 5)]}
    assert detection_map(predicted, truth, 0.5) == 1.0
    assert segmental_f1(predicted, truth, 0.5) == 1.0
    assert detection_map(predicted, truth, 0.51) == 0.0


@pytest.mark.parametrize("tenth", range(30, 60))
def test_a_tiou_that_is_the_threshold_but_for_the_rounding_of_seconds_is_enough_for_f1(tenth):
    """Half of a true segment of 2 s, on a grid of 0.1 s: MS-TCN counts frames, which have no rounding."""
    true = [Segment(tenth / 10, (tenth + 20) / 10, "a")]
    half = [Segment((tenth + 10) / 10, (tenth + 20) / 10, "a")]
    assert segmental_f1({"v": half}, {"v": true}, 0.5) == 1
    short = [half[0]._replace(end_s=half[0].end_s - 1e-3)]
    assert segmental_f1({"v": short}, {"v": true}, 0.5) == 0


def test_touching_segments_of_one_class_are_one_for_metrics_of_frames():
    true = {"v": [Segment(0, 2, "a"), Segment(2, 4, "a"), Segment(4, 5, "b"), Segment(6, 7, "a")]}
    found = {"v": [Segment(0, 4, "a"), Segment(4, 5, "b"), Segment(6, 7, "a")]}
    figures = summarise_segments(found, true, {"v": np.arange(0, 8, 0.5)})
    assert (figures["f1@50"], figures["edit"], figures["frame_accuracy"]) == (1, 1, 1)
    assert segmental_f1(true, found, 0.5) == 1
    assert figures["map@0.5"] < 1  # ActivityNet counts instances
    assert figures["segments"] == 4
    inside = {
        "v": [Segment(0, 10, "a"), Segment(2, 5, "a"), Segment(10, 12, "a")]
    }  # the first and the last touch
    assert segmental_f1({"v": [Segment(0, 12, "a"), Segment(2, 5, "a")]}, inside, 1.0) == 1


def test_classes_and_videos_are_kept_apart_and_a_class_without_truth_does_not_count():
    truth = {"v": [segment(0, 10, "a")], "w": [segment(0, 10, "b")]}
    predicted = {"v": [segment(0, 10, "b"), segment(0, 10, "c")], "w": [segment(0, 10, "b", 0.5)]}
    assert average_precisions(predicted, truth, 0.5) == {"a": 0.0, "b": 0.5}
    assert detection_map(predicted, truth, 0.5) == 0.25


def test_without_predictions_everything_is_missed_and_without_truth_nothing_is_defined():
    truth = {"v": [segment(0, 10)]}
    assert detection_map({}, truth) == detection_map({"v": []}, truth) == 0.0
    assert segmental_f1({}, truth) == 0.0
    assert math.isnan(detection_map({"v": [segment(0, 1)]}, {"v": []}))
    assert segmental_f1({"v": [segment(0, 1)]}, {"v": []}) == 0.0
    assert math.isnan(segmental_f1({"v": []}, {"v": []}))


def test_the_average_over_thresholds_is_that_of_activitynet():
    assert ACTIVITYNET_TIOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    figures = summarise_segments(
        {"v": [segment(0, 8)]}, {"v": [segment(0, 10)]}, {"v": np.arange(20) / 2}
    )  # tIoU 0.8
    assert figures["map@0.5:0.95"] == pytest.approx(0.7)
    assert (figures["map@0.3"], figures["map@0.7"], figures["f1@50"]) == (1.0, 1.0, 1.0)
    assert figures["frame_accuracy"] == pytest.approx(16 / 20)


def interpolated_twin(right: list[int], truths: int) -> float:
    """ActivityNet's interpolation written with its padded arrays."""
    precision = np.concatenate([[0], np.cumsum(right) / np.arange(1, len(right) + 1), [0]])
    recall = np.concatenate([[0], np.cumsum(right) / truths, [1]])
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_agrees_with_the_padded_form_on_random_ranks(seed):
    draw = np.random.default_rng(seed)
    right = draw.integers(0, 2, 30).tolist()
    truth = {"v": [segment(10 * k, 10 * k + 5) for k in range(40)]}
    predicted = {
        "v": [segment(10 * k, 10 * k + (5 if hit else 1), score=1 - k / 100) for k, hit in enumerate(right)]
    }
    assert detection_map(predicted, truth, 0.5) == pytest.approx(interpolated_twin(right, 40))


def runs(labels, background=("",)):
    """Labels, starts and ends of the runs of equal frame labels, without the background."""
    cuts = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    return [(labels[first], first, last) for first, last in pairwise(cuts) if labels[first] not in background]


def f1_twin(predicted, truth, overlap):
    """F1@k over frame labels, as MS-TCN's paper and its evaluation describe it, with plain loops."""
    right = wrong = missed = 0
    for guess, true in zip(predicted, truth, strict=True):
        there, hit = runs(true), set()
        for label, first, last in runs(guess):
            ious = [
                (min(last, e) - max(first, s)) / (max(last, e) - min(first, s)) * (label == other)
                for other, s, e in there
            ]
            best = int(np.argmax(ious)) if ious else -1
            if ious and ious[best] >= overlap and best not in hit:
                right += 1
                hit.add(best)
            else:
                wrong += 1
        missed += len(there) - len(hit)
    return 2 * right / (2 * right + wrong + missed)


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
def test_f1_edit_and_frame_accuracy_agree_with_frame_by_frame_twins(overlap):
    draw = np.random.default_rng(7)
    names = np.array(["", "a", "b", "c"])
    truth = [names[np.repeat(draw.integers(0, 4, 12), draw.integers(1, 9, 12))] for _ in range(4)]
    predicted = []
    for true in truth:
        guess = true.copy()
        for _ in range(4):
            at = int(draw.integers(0, len(true) - 5))
            guess[at : at + 5] = names[draw.integers(0, 4)]
        predicted.append(guess)

    def as_segments(all_labels):
        return {
            str(k): [Segment(first, last, str(label)) for label, first, last in runs(labels)]
            for k, labels in enumerate(all_labels)
        }

    times = {str(k): np.arange(len(true)) for k, true in enumerate(truth)}
    figures = summarise_segments(as_segments(predicted), as_segments(truth), times)
    assert figures[f"f1@{round(100 * overlap)}"] == pytest.approx(f1_twin(predicted, truth, overlap))
    joined, true = np.concatenate(predicted), np.concatenate(truth)
    assert figures["frame_accuracy"] == pytest.approx((joined == true).mean())


@pytest.mark.parametrize(
    ("predicted", "truth", "distance"),
    [
        ("abc", "abc", 0),
        ("abc", "", 3),
        ("", "ab", 2),
        ("ab", "ba", 2),
        ("kitten", "sitting", 3),
        ("a", "b", 1),
    ],
)
def test_edit_score_is_one_minus_the_levenshtein_distance_over_the_longer(predicted, truth, distance):
    assert edit_score(list(predicted), list(truth)) == pytest.approx(
        1 - distance / max(len(predicted), len(truth))
    )


def test_two_empty_orders_are_equal():
    assert edit_score([], []) == 1.0


def test_frames_at_touching_segments_belong_to_the_later_one_and_gaps_to_none():
    segments = [segment(1, 2, "b"), segment(0, 1, "long name")]
    assert (
        frame_labels(segments, [0, 0.99, 1, 1.99, 2, 3]).tolist() == ["long name"] * 2 + ["b"] * 2 + [""] * 2
    )
    assert frame_labels([], [0.0, 1.0]).tolist() == ["", ""]
    assert frame_labels([segment(0, 2, "a", 0.9), segment(1, 3, "b", 0.2)], [1.5]).tolist() == ["a"]


def test_frame_accuracy_of_no_frames_is_not_defined_and_lengths_must_agree():
    assert math.isnan(frame_accuracy([], []))
    assert frame_accuracy(["a", "", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    with pytest.raises(ArgumentError, match="equal length"):
        frame_accuracy(["a"], ["a", "b"])


def test_metrics_of_one_label_at_a_time_are_left_out_where_true_segments_overlap():
    times = {"v": np.arange(10)}
    apart = {"v": [segment(0, 5, "a"), segment(5, 10, "b")]}
    assert {"edit", "frame_accuracy"} <= set(summarise_segments({}, apart, times))
    overlapping = {"v": [segment(0, 6, "a"), segment(5, 10, "b")]}
    assert not {"edit", "frame_accuracy"} & set(summarise_segments({}, overlapping, times))


def test_the_background_counts_only_for_the_frames():
    times = {"v": np.arange(10)}
    truth = {"v": [segment(0, 5, "a"), segment(5, 10, "rest")]}
    predicted = {"v": [segment(0, 5, "a")]}
    figures = summarise_segments(predicted, truth, times, background=("rest",))
    assert (figures["f1@50"], figures["map@0.5"], figures["edit"]) == (1.0, 1.0, 1.0)
    assert (figures["frame_accuracy"], figures["segments"], figures["predicted"]) == (0.5, 1, 1)


def test_thresholds_and_videos_are_checked():
    for tiou in (0.0, 1.01):
        with pytest.raises(ArgumentError, match="tiou"):
            detection_map({}, {"v": []}, tiou)
    with pytest.raises(ArgumentError, match="'other'"):
        segmental_f1({"other": []}, {"v": []})
