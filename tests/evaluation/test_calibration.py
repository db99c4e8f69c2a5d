"""Calibration against closed forms, SciPy, scikit-learn and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, ScoresError
from praxiscope.evaluation.calibration import (
    FALSE_REFUSALS,
    FEWEST,
    auroc,
    calibrate,
    calibration_error,
    expected_calibration_error,
    fit_temperature,
    none_threshold,
)
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.probabilities import softmax
from praxiscope.evaluation.scores import Scores


def scores_of(seed: int, n: int = 300, classes: int = 5, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose softmax is the true probability of the drawn classes, times ``sharp``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 2
    targets = np.array([rng.choice(classes, p=row) for row in softmax(logits)])
    return logits * sharp, targets


@pytest.mark.parametrize("seed", [0, 1])
def test_the_temperature_minimises_the_loss_with_platts_targets(seed):
    from scipy.optimize import minimize_scalar

    logits, targets = scores_of(seed, sharp=3.0)
    soft = np.zeros_like(logits)
    for row, (own, target) in enumerate(zip(logits, targets, strict=True)):
        second = max((k for k in range(5) if k != target), key=lambda k, own=own: own[k])
        soft[row, target], soft[row, second] = 301 / 302, 1 / 302

    def loss(log_t: float) -> float:
        return -(soft * np.log(softmax(logits / math.exp(log_t)))).sum(axis=1).mean()

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(logits, targets) == pytest.approx(math.exp(best.x), rel=1e-5)


def test_scores_that_are_three_times_too_sharp_get_a_temperature_of_three():
    logits, targets = scores_of(2, n=40_000, sharp=3.0)
    assert fit_temperature(logits, targets) == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize(("n", "right"), [(10, 10), (10, 8), (1, 1), (3, 2), (500, 500)])
def test_two_classes_at_one_distance_have_a_closed_form(n, right):
    """All clips have the scores (m, 0): the probability of the best class is the smoothed accuracy."""
    logits = np.tile([4.0, 0.0], (n, 1))
    targets = np.array([0] * right + [1] * (n - right))
    doubt = 1 / (n + 2)
    share = (right * (1 - doubt) + (n - right) * doubt) / n
    assert fit_temperature(logits, targets) == pytest.approx(4.0 / math.log(share / (1 - share)))


def test_a_clip_without_a_class_and_a_shift_of_all_scores_change_nothing():
    logits, targets = scores_of(3)
    hidden = np.where(np.arange(300) < 100, -1, targets)
    shifted = logits[100:] + np.arange(200)[:, None]
    assert fit_temperature(logits, hidden) == fit_temperature(logits[100:], targets[100:])
    assert fit_temperature(shifted, targets[100:]) == pytest.approx(fit_temperature(logits, hidden))


def test_temperatures_that_nothing_determines_stay_in_bounds():
    assert fit_temperature([[7.0], [9.0]], [0, 0]) == 1.0  # a single class
    assert fit_temperature([[2.0, 2.0], [5.0, 5.0]], [0, 1]) == 1.0  # equal scores
    assert fit_temperature([[9.0, 0.0], [9.0, 0.0]], [1, 1]) == pytest.approx(100.0)  # always wrong
    assert fit_temperature([[1e-6, 0.0]] * 99, [0] * 99) == pytest.approx(0.01)  # right, by next to nothing
    assert fit_temperature([[1e5, 0.0, -1e5]], [0]) == pytest.approx(100.0)  # no overflow


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (np.zeros((0, 3)), []),
        ([[1.0, 2.0]], [-1]),
        ([[1.0, 2.0]], [2]),
        ([[1.0, 2.0]], [0, 1]),
        ([1.0, 2.0], [0, 1]),
        ([[1.0, math.nan]], [0]),
    ],
)
def test_scores_without_a_temperature_are_refused(logits, targets):
    with pytest.raises(ArgumentError):
        fit_temperature(logits, targets)


def test_the_calibration_error_is_the_weighted_gap_of_its_bins():
    confidences = np.array([0.1, 0.2, 0.21, 0.95, 1.0, 1.0])
    correct = np.array([0, 1, 0, 1, 1, 0])
    found = expected_calibration_error(confidences, correct, bins=5)
    assert found.counts.tolist() == [2, 1, 0, 0, 3]  # 0.2 belongs to the bin that ends there
    np.testing.assert_allclose(found.confidence, [0.15, 0.21, np.nan, np.nan, 2.95 / 3])
    np.testing.assert_allclose(found.accuracy, [0.5, 0.0, np.nan, np.nan, 2 / 3])
    assert found.value == pytest.approx((2 * 0.35 + 0.21 + 0.95) / 6)


def test_the_calibration_error_agrees_with_a_plain_loop():
    rng = np.random.default_rng(0)
    confidences, correct = rng.random(500), rng.random(500) < 0.6
    total = 0.0
    for low in range(15):
        inside = [i for i, c in enumerate(confidences) if low / 15 < c <= (low + 1) / 15]
        if inside:
            total += abs(sum(correct[i] for i in inside) - sum(confidences[i] for i in inside)) / 500
    assert expected_calibration_error(confidences, correct).value == pytest.approx(total)


def test_calibration_errors_at_the_edges():
    assert math.isnan(expected_calibration_error([], []).value)
    assert expected_calibration_error([0.0], [0]).value == 0.0
    assert expected_calibration_error([1.0], [1]).counts.tolist() == [0] * 14 + [1]
    assert expected_calibration_error([0.3, 0.8], [1, 0], bins=1).value == pytest.approx(0.05)
    for confidences, correct, bins in (
        ([1.1], [1], 15),
        ([math.nan], [1], 15),
        ([0.5], [1, 0], 15),
        ([0.5], [1], 0),
    ):
        with pytest.raises(ArgumentError):
            expected_calibration_error(confidences, correct, bins)


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [(19, 0.05, 1), (38, 0.05, 1), (39, 0.05, 2), (99, 0.29, 29), (9, 0.5, 5), (200, 0.05, 10)],
)
def test_the_threshold_is_the_kth_lowest_confidence(n, rate, rank):
    confidences = np.random.default_rng(n).random(n)
    found = none_threshold(confidences, rate)
    assert found.none_below == sorted(confidences)[rank - 1]
    assert found.false_refusals == pytest.approx(rank / (n + 1))
    assert found.false_refusals <= rate + 1e-12


def test_the_expected_share_of_refused_known_clips_is_exactly_what_was_promised():
    """Each of n + 1 clips in turn is the new one; the others give the threshold."""
    confidences = np.random.default_rng(0).random(100)
    refused = [
        confidences[i] < none_threshold(np.delete(confidences, i), 0.1).none_below
        for i in range(len(confidences))
    ]
    assert np.mean(refused) == pytest.approx(none_threshold(confidences[1:], 0.1).false_refusals) == 0.1
    tied = np.round(confidences, 1)
    refused = [tied[i] < none_threshold(np.delete(tied, i), 0.1).none_below for i in range(len(tied))]
    assert np.mean(refused) <= 0.1


def test_too_few_clips_for_the_rate_give_no_threshold_and_no_calibration():
    confidences = np.linspace(0.3, 0.9, FEWEST)
    assert none_threshold(confidences) == (0.3, FALSE_REFUSALS)
    assert none_threshold(confidences[1:]) is None
    assert none_threshold([]) is None
    logits, targets = scores_of(1)
    assert calibrate(logits[:FEWEST], targets[:FEWEST], source="folds")["videos"] == FEWEST
    assert calibrate(logits[1:FEWEST], targets[1:FEWEST], source="folds") == {}
    for confidences, rate in (([0.5], 0.0), ([0.5], 1.0), ([1.5], 0.05)):
        with pytest.raises(ArgumentError):
            none_threshold(confidences, rate)


def test_auroc_agrees_with_scikit_learn_also_with_ties():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    known, strangers = rng.normal(1, 1, 80).round(1), rng.normal(0, 1, 50).round(1)
    wanted = roc_auc_score([1] * 80 + [0] * 50, np.concatenate([known, strangers]))
    assert auroc(known, strangers) == pytest.approx(wanted)
    assert auroc([0.5, 0.5], [0.5]) == 0.5
    assert auroc([0.9], [0.1]) == 1.0
    assert math.isnan(auroc([], [0.1]))
    assert math.isnan(auroc([0.1], []))


def test_the_calibration_of_a_card_is_made_of_its_parts():
    logits, targets = scores_of(4, sharp=2.0)
    found = calibrate(torch.from_numpy(logits).float(), torch.from_numpy(targets), source="folds")
    temperature = found["temperature"]
    assert temperature == pytest.approx(fit_temperature(logits, targets), rel=1e-5)
    confidences = softmax(logits / temperature).max(axis=1)
    wanted = none_threshold(confidences)
    assert found["none_below"] == pytest.approx(wanted.none_below, abs=1e-6)
    assert found["false_refusals"] == wanted.false_refusals == 15 / 301
    assert found["videos"] == 300
    assert found["source"] == "folds"


def test_the_calibration_of_several_labels_has_no_temperature():
    logits = np.array([[0.0, 2.0], [-1.0, -3.0], [5.0, 5.0]])
    labels = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])  # the last one has no class
    found = calibrate(logits, labels, source="folds", multi_label=True, rate=0.34)
    assert found["temperature"] == 1.0
    assert found["videos"] == 2
    assert found["none_below"] == pytest.approx(1 / (1 + math.e))
    assert calibrate(logits, np.zeros((3, 2)), source="folds", multi_label=True, rate=0.34) == {}
    assert calibrate(logits, [-1, -1, -1], source="folds", rate=0.34) == {}


def as_scores(logits: np.ndarray, targets: np.ndarray, **protocol: object) -> Scores:
    names = [f"v{i}" for i in range(len(logits))]
    return Scores(names, logits, targets, [f"class {k}" for k in range(logits.shape[1])], protocol)


def test_a_summary_has_the_calibration_error_with_and_without_the_temperature():
    logits, targets = scores_of(5, sharp=3.0)
    hidden = np.where(np.arange(300) < 50, -1, targets)  # of unknown class
    plain = summarise(as_scores(logits, hidden))
    scaled = summarise(as_scores(logits, hidden, temperature=3.0))
    right = logits[50:].argmax(axis=1) == targets[50:]
    raw, cool = (softmax(logits[50:] / t).max(axis=1) for t in (1.0, 3.0))
    assert plain["ece"] == pytest.approx(expected_calibration_error(raw, right).value, abs=1e-6)
    assert scaled["ece"] == pytest.approx(expected_calibration_error(cool, right).value, abs=1e-6)
    assert scaled["ece_uncalibrated"] == plain["ece"] > 2 * scaled["ece"]
    assert "ece_uncalibrated" not in plain
    # Figures that rank are those of the plain softmax.
    assert {k: v for k, v in scaled.items() if "ece" not in k} == {
        k: v for k, v in plain.items() if "ece" not in k
    }


def test_scores_whose_softmax_is_no_probability_have_no_calibration_error():
    logits, targets = scores_of(6)
    for kind in ("l1", "l2", "svm"):
        assert calibration_error(as_scores(logits, targets, fusion={"kind": kind})) is None
        assert (
            calibration_error(as_scores(logits, targets, fusion={"kind": kind}, temperature=0.1)) is not None
        )
    assert calibration_error(as_scores(logits, targets, fusion={"kind": "weighted"})) is not None
    assert calibration_error(as_scores(logits, targets, activation="sigmoid")) is None
    assert calibration_error(as_scores(logits, np.eye(5)[targets])) is None
    assert calibration_error(as_scores(logits, np.full(300, -1))) is None


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, "2", None, True])
def test_a_temperature_of_scores_is_a_number_above_zero(temperature):
    with pytest.raises(ScoresError, match="temperature"):
        as_scores(np.zeros((1, 2)), np.array([0]), temperature=temperature)
