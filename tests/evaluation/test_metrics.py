"""Metrics against scikit-learn, plain loops and cases that can be counted by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from praxiscope.errors import ArgumentError
from praxiscope.evaluation import metrics
from praxiscope.evaluation.scores import Scores


def random_case(seed, n=60, classes=7):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[targets]
    return logits.astype(np.float32), targets


def as_scores(logits, targets, **protocol):
    n, classes = logits.shape
    return Scores(
        [f"v{i}" for i in range(n)], logits, targets, [f"class {k}" for k in range(classes)], protocol
    )


def test_softmax_sums_to_one_and_survives_large_logits():
    chances = metrics.softmax([[1000.0, 1000.0, -1000.0], [0.0, 1.0, 2.0]])
    assert chances[0] == pytest.approx([0.5, 0.5, 0.0])
    assert chances[1] == pytest.approx([math.exp(k) / (1 + math.e + math.e**2) for k in range(3)])


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_agrees_with_scikit_learn(k):
    from sklearn.metrics import top_k_accuracy_score

    logits, targets = random_case(0)
    wanted = top_k_accuracy_score(targets, logits, k=k, labels=range(7)) if k < 7 else 1.0
    assert metrics.top_k(logits, targets, k) == pytest.approx(wanted)


def test_top_k_with_more_places_than_classes_is_one():
    logits, targets = random_case(1, classes=3)
    assert metrics.top_k(logits, targets, 5) == 1.0


def test_equal_scores_go_to_the_lower_class_number():
    scores = np.zeros((3, 3))
    assert metrics.top_k(scores, [0, 1, 2], 1) == pytest.approx(1 / 3)
    assert metrics.top_k(scores, [2, 2, 2], 2) == 0.0
    assert metrics.mean_class_accuracy(scores, [0, 0, 1]) == 0.5
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 3, (300, 60)).astype(float), rng.integers(0, 60, 300)
    for k in (1, 5, 20):
        best = [sorted(range(60), key=lambda c: (-row[c], c))[:k] for row in scores]
        wanted = np.mean([target in row for target, row in zip(targets, best, strict=True)])
        assert metrics.top_k(scores, targets, k) == pytest.approx(wanted)


def test_videos_of_unknown_class_are_left_out():
    logits, targets = random_case(2)
    hidden = np.where(np.arange(60) < 20, -1, targets)
    assert metrics.top_k(logits, hidden, 1) == metrics.top_k(logits[20:], targets[20:], 1)
    assert metrics.mean_class_accuracy(logits, hidden) == metrics.mean_class_accuracy(
        logits[20:], targets[20:]
    )
    summary = metrics.summarise(as_scores(logits, hidden))
    known = metrics.summarise(as_scores(logits[20:], targets[20:]))
    assert {**summary, "videos": 40} == known


def test_mean_class_accuracy_is_scikit_learns_balanced_accuracy():
    from sklearn.metrics import balanced_accuracy_score

    logits, targets = random_case(3)
    assert metrics.mean_class_accuracy(logits, targets) == pytest.approx(
        balanced_accuracy_score(targets, logits.argmax(1))
    )


def test_classes_without_videos_are_left_out_and_named():
    logits = np.array([[2.0, 0, 0], [2, 0, 0], [2, 0, 0]], dtype=np.float32)
    targets = np.array([0, 0, 2])
    assert metrics.mean_class_accuracy(logits, targets) == 0.5  # 1 and 0; class 1 has no video
    accuracies = metrics.class_accuracies(targets, logits.argmax(1), 3)
    assert accuracies[0] == 1
    assert math.isnan(accuracies[1])
    summary = metrics.summarise(as_scores(logits, targets))
    assert summary["classes_without_videos"] == ["class 1"]
    assert summary["mean_class_accuracy"] == 0.5


@pytest.mark.parametrize("levels", [None, 2, 5])
def test_average_precision_is_scikit_learns_with_and_without_ties(levels):
    from sklearn.metrics import average_precision_score

    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=40) if levels is None else rng.integers(0, levels, 40).astype(float)
        positives = rng.random(40) < 0.3
        positives[0] = True
        assert metrics.average_precision(scores, positives) == pytest.approx(
            average_precision_score(positives, scores)
        )


def test_average_precision_is_the_mean_precision_at_the_positives():
    # Ranks 1, 3 and 4 are positive: (1/1 + 2/3 + 3/4) / 3.
    found = metrics.average_precision([0.9, 0.8, 0.7, 0.6, 0.1], [1, 0, 1, 1, 0])
    assert found == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_average_precision_of_equal_scores_is_the_share_of_positives_in_any_order():
    assert metrics.average_precision([0.0] * 5, [1, 0, 0, 0, 0]) == pytest.approx(0.2)
    assert metrics.average_precision([0.0] * 5, [0, 0, 0, 0, 1]) == pytest.approx(0.2)


def test_average_precision_without_positives_is_nan():
    assert math.isnan(metrics.average_precision([1.0, 2.0], [0, 0]))
    assert math.isnan(metrics.average_precision([], []))


def test_mean_average_precision_leaves_classes_without_positives_out():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(4)
    scores, positives = rng.normal(size=(50, 6)), rng.random((50, 6)) < 0.2
    positives[:, 2] = False
    kept = [0, 1, 3, 4, 5]
    assert metrics.mean_average_precision(scores, positives) == pytest.approx(
        average_precision_score(positives[:, kept], scores[:, kept], average="macro")
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_hit_at_k_agrees_with_a_plain_loop(k):
    rng = np.random.default_rng(5)
    scores, positives = rng.normal(size=(80, 12)), rng.random((80, 12)) < 0.1
    hits, counted = 0, 0
    for row, labels in zip(scores, positives, strict=True):
        named = {c for c in range(12) if labels[c]}
        if named:
            counted += 1
            hits += bool(named & set(sorted(range(12), key=lambda c: -row[c])[:k]))
    assert 0 < counted < 80
    assert metrics.hit_at_k(scores, positives, k) == pytest.approx(hits / counted)


def test_the_confusion_matrix_is_scikit_learns():
    from sklearn.metrics import confusion_matrix

    logits, targets = random_case(6)
    ours = metrics.confusion_matrix(targets, logits.argmax(1), 7)
    assert ours.tolist() == confusion_matrix(targets, logits.argmax(1), labels=range(7)).tolist()


def test_confused_pairs_are_the_largest_mistakes_in_order():
    matrix = np.array([[5, 0, 2], [2, 0, 0], [0, 3, 97]])
    wanted = [("c", "b", 3, 0.03), ("b", "a", 2, 1.0), ("a", "c", 2, 2 / 7)]
    assert metrics.confused_pairs(matrix, ["a", "b", "c"]) == wanted
    assert metrics.confused_pairs(matrix, ["a", "b", "c"], 2) == wanted[:2]
    assert metrics.confused_pairs(np.diag([3, 4]), ["a", "b"]) == []


def test_the_per_class_table_agrees_with_scikit_learn():
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    logits, targets = random_case(7)
    rows = metrics.per_class_table(as_scores(logits, targets))
    precision, recall, _, support = precision_recall_fscore_support(
        targets, logits.argmax(1), labels=range(7)
    )
    chances = metrics.softmax(logits)
    for k, row in enumerate(rows):
        assert row["class"] == f"class {k}"
        assert row["videos"] == support[k]
        assert row["accuracy"] == pytest.approx(recall[k])
        assert row["precision"] == pytest.approx(precision[k])
        assert row["average_precision"] == pytest.approx(average_precision_score(targets == k, chances[:, k]))


def test_the_per_class_table_has_none_where_nothing_was_counted():
    rows = metrics.per_class_table(as_scores(np.array([[2.0, 1.0, 0.0]]), np.array([1])))
    assert rows[2] == {
        "class": "class 2",
        "videos": 0,
        "average_precision": None,
        "accuracy": None,
        "precision": None,
        "confused_with": None,
    }
    assert rows[1]["confused_with"] == "class 0"


def test_a_single_label_summary_has_the_fields_names_as_fractions():
    logits, targets = random_case(8)
    summary = metrics.summarise(as_scores(logits, targets, name="1x1"))
    assert list(summary) == [
        "top1",
        "top5",
        "mean_class_accuracy",
        "map",
        "ece",
        "videos",
        "labelled",
        "classes",
        "classes_without_videos",
    ]
    assert summary["top1"] == np.mean(logits.argmax(1) == targets)
    assert summary["top1"] <= summary["top5"] <= 1
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_multi_label_summary_has_map_and_hits():
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(30, 8)).astype(np.float32)
    labels = (rng.random((30, 8)) < 0.3).astype(np.uint8)
    summary = metrics.summarise(as_scores(logits, labels))
    assert "top1" not in summary
    assert summary["hit1"] == metrics.hit_at_k(logits, labels, 1)
    assert summary["map"] == pytest.approx(metrics.mean_average_precision(logits, labels))
    assert (summary["videos"], summary["labelled"]) == (30, labels.any(axis=1).sum())


def test_a_network_of_single_labels_keeps_its_softmax_on_videos_with_several_or_none():
    logits = np.array([[9, 8, 0], [3, 2, 0], [5, 0, 0], [0, 4, 0]], np.float32)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], np.uint8)
    scores = as_scores(logits, labels, activation="softmax")
    np.testing.assert_allclose(metrics.probabilities(scores).sum(axis=1), 1)
    summary = metrics.summarise(scores)
    # By softmax class 0 ranks the videos 2, 0, 1, 3 (the third and fourth here are wrong and right), class 1 ranks
    # 3 first; by sigmoid the first video would lead both.
    assert summary["map"] == pytest.approx(np.mean([np.mean([1 / 2, 2 / 3, 3 / 4]), 1 / 3]))
    assert summary["top1"] == pytest.approx(2 / 3)
    assert "hit1" not in summary
    assert summary["labelled"] == 3
    assert summary["classes_without_videos"] == ["class 2"]
    sigmoids = metrics.summarise(as_scores(logits, labels))
    assert sigmoids["hit1"] == summary["top1"]
    assert sigmoids["map"] != summary["map"]


@pytest.mark.parametrize("count", [0, 3])
def test_a_summary_without_labels_has_counts_only(count):
    summary = metrics.summarise(as_scores(np.zeros((count, 2), np.float32), np.full(count, -1)))
    assert summary == {
        "videos": count,
        "labelled": 0,
        "classes": 2,
        "classes_without_videos": ["class 0", "class 1"],
    }


def test_the_single_label_map_does_not_depend_on_a_videos_constant():
    logits, targets = random_case(10)
    shifted = logits + np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32) * 10
    assert metrics.summarise(as_scores(shifted, targets))["map"] == pytest.approx(
        metrics.summarise(as_scores(logits, targets))["map"]
    )


def test_mean_over_splits_gives_mean_spread_and_values():
    splits = [{"top1": 0.9, "map": 0.8, "videos": 10}, {"top1": 0.7, "videos": 20}]
    assert metrics.mean_over_splits(splits) == {
        "top1": {"mean": pytest.approx(0.8), "std": pytest.approx(0.02**0.5), "splits": [0.9, 0.7]}
    }
    assert metrics.mean_over_splits(splits[:1])["top1"] == {"mean": 0.9, "std": None, "splits": [0.9]}
    with pytest.raises(ArgumentError, match=r"mean_over_splits\b"):
        metrics.mean_over_splits([])


def test_wilson_interval_holds_the_share_and_narrows_with_videos():
    from scipy.stats import binomtest

    for hits, videos in ((15, 148), (57, 63), (0, 9)):
        wanted = binomtest(hits, videos).proportion_ci(method="wilson")
        assert metrics.wilson_interval(hits / videos, videos) == pytest.approx((wanted.low, wanted.high))
    assert metrics.wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert metrics.wilson_interval(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: metrics.top_k(np.zeros(3), [0], 1),
        lambda: metrics.top_k(np.zeros((2, 3)), [0], 1),
        lambda: metrics.top_k(np.zeros((2, 3)), [0, 3], 1),
        lambda: metrics.top_k(np.zeros((2, 3)), [0, 1], 0),
        lambda: metrics.hit_at_k(np.zeros((2, 3)), np.zeros((2, 2)), 1),
        lambda: metrics.average_precision([1.0, 2.0], [1]),
        lambda: metrics.mean_average_precision([1.0], [1]),
        lambda: metrics.confusion_matrix([0, 1], [0], 2),
        lambda: metrics.confusion_matrix([0, 1], [0, 2], 2),
        lambda: metrics.confusion_matrix([0, 1], [0, -1], 2),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ArgumentError):
        wrong()
