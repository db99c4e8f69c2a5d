"""Calibration: probabilities that are as high as they are right, and the answer "none of these".

Everything here is fitted on held-out scores: of clips that the classifier was not trained on.

* **Temperature scaling**: scores are divided by one number T before the softmax. It changes no ranking of the classes
  (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
* **Expected calibration error**: the distance between confidence and accuracy, by bins (the same paper).
* **None of these**: a clip is refused if its confidence, the probability of its best class, is below a threshold. The
  threshold is a split-conformal quantile of the confidences of held-out clips (Vovk et al., "Algorithmic Learning in a
  Random World", 2005), so its expected rate of false refusals is known without a clip of an unknown class.

Axis letters: n videos, K classes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.probabilities import probabilities, sigmoid, softmax
from praxiscope.evaluation.scores import Scores

__all__ = [
    "FALSE_REFUSALS",
    "FEWEST",
    "CalibrationError",
    "Threshold",
    "auroc",
    "calibrate",
    "calibration_error",
    "expected_calibration_error",
    "fit_temperature",
    "none_threshold",
]

FALSE_REFUSALS = 0.05
"""The rate of known clips that may be answered by "none of these", by default."""

FEWEST = 19
"""The number of held-out clips from which a threshold can keep `FALSE_REFUSALS`: 1 / rate - 1."""

_HOTTEST = 100.0  # temperatures are searched from 1 / 100 to 100
_HALVINGS = 48  # of the interval, in log T: far below what the clips determine


class CalibrationError(NamedTuple):
    """An expected calibration error, and the bins that it is the mean of.

    Attributes:
        value: the sum over bins of (count / n) * |accuracy - confidence|, a fraction; nan without videos.
        counts: int64 [bins], number of videos by confidence. Bin i reaches from i / bins (exclusive) to (i + 1) / bins.
        confidence: float64 [bins], mean confidence; nan in empty bins.
        accuracy: float64 [bins], fraction of correct answers; nan in empty bins.
    """

    value: float
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


class Threshold(NamedTuple):
    """A confidence below which a clip is refused, and the expected fraction of known clips that are refused by it."""

    none_below: float
    false_refusals: float


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """The temperature T that minimises the mean negative log-likelihood of softmax(logits / T).

    The likelihood is that of Guo et al., with the targets of Platt (1999): the class of a clip counts 1 - 1 / (n + 2),
    and the best of the other classes the rest, because n clips without an error do not show that there are none.
    Without this, T would be 0 where every clip is correct. For large n it makes no difference. The loss is convex in
    1 / T, so its slope is followed to its only zero.

    Args:
        logits: [n, K], held-out scores before softmax.
        targets: int [n], class numbers; videos with -1 are ignored.

    Returns:
        T, from 0.01 to 100: 100 where scores are no better than chance, and 1 where they say nothing about T (a single
        class, or equal scores of all classes).

    Raises:
        ArgumentError: no video has a target, shapes do not match, or a score is not finite.
    """
    scores, numbers = _known(logits, targets)
    scores = scores - scores.max(axis=1, keepdims=True)
    if not scores.any():
        return 1.0
    rows, doubt = np.arange(len(scores)), 1.0 / (len(scores) + 2)
    others = scores.copy()
    others[rows, numbers] = -np.inf
    target = ((1.0 - doubt) * scores[rows, numbers] + doubt * others.max(axis=1)).mean()

    def slope(log_temperature: float) -> float:
        """The derivative of the loss by 1 / T; it falls with T."""
        chances = softmax(scores * math.exp(-log_temperature))
        return float((chances * scores).sum(axis=1).mean() - target)

    low, high = -math.log(_HOTTEST), math.log(_HOTTEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def expected_calibration_error(
    confidences: ArrayLike, correct: ArrayLike, bins: int = 15
) -> CalibrationError:
    """The expected calibration error (ECE), with bins of equal width.

    Args:
        confidences: [n], the probability of the predicted class of each video, from 0 to 1.
        correct: [n], true or 1 where the predicted class is right.
        bins: number of bins.

    Raises:
        ArgumentError: shapes do not match, a confidence is not a probability, or there is no bin.
    """
    chances, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct).astype(bool)
    if chances.ndim != 1 or chances.shape != right.shape:
        raise ArgumentError(
            f"confidences and correct must be 1-D and of equal length, got {chances.shape} and {right.shape}"
        )
    if bins < 1:
        raise ArgumentError(f"bins must be at least 1, got {bins}")
    _check_chances(chances)
    places = np.searchsorted(np.arange(1, bins) / bins, chances, side="left")
    counts = np.bincount(places, minlength=bins).astype(np.int64)
    divisor = np.where(counts, counts, np.nan)
    confidence = np.bincount(places, chances, bins) / divisor
    accuracy = np.bincount(places, right, bins) / divisor
    gaps = np.abs(accuracy - confidence) * counts
    value = float(np.nansum(gaps) / len(chances)) if len(chances) else math.nan
    return CalibrationError(value, counts, confidence, accuracy)


def calibration_error(scores: Scores, *, calibrated: bool = True) -> CalibrationError | None:
    """The expected calibration error of the best class, over the videos whose class is known.

    Args:
        scores: of n videos.
        calibrated: with the temperature of the model, if it has one.

    Returns:
        The error; None where the softmax of the scores is not a probability (networks of several labels; fusions of
        normalised scores without a temperature), or no class is known.
    """
    fusion = scores.protocol.get("fusion") or {}
    plain = not calibrated or "temperature" not in scores.protocol
    if scores.multi_label or scores.sigmoid or (plain and fusion.get("kind") in ("l1", "l2", "svm")):
        return None
    known = scores.targets >= 0
    if not known.any():
        return None
    chances = probabilities(scores, calibrated=calibrated)[known]
    return expected_calibration_error(
        chances.max(axis=1), scores.logits[known].argmax(axis=1) == scores.targets[known]
    )


def none_threshold(confidences: ArrayLike, rate: float = FALSE_REFUSALS) -> Threshold | None:
    """The confidence below which a clip is answered by "none of these".

    It is the k-th lowest confidence of the held-out clips, k = rate * (n + 1) rounded down. A new clip of the known
    classes, exchangeable with them, has a lower confidence with a probability of k / (n + 1) at most, whatever the
    distribution. With fewer than 1 / rate - 1 clips, k is 0: not even the lowest confidence keeps this rate.

    Args:
        confidences: [n], of held-out clips of the known classes, from 0 to 1.
        rate: the fraction of known clips that may be refused, above 0 and below 1.

    Returns:
        The threshold; None if there are too few clips for this rate.

    Raises:
        ArgumentError: a confidence is not a probability, or the rate is out of range.
    """
    ordered = np.sort(np.asarray(confidences, dtype=np.float64).reshape(-1))
    if not 0 < rate < 1:
        raise ArgumentError(f"rate must be above 0 and below 1, got {rate:g}")
    _check_chances(ordered)
    rank = math.floor(rate * (len(ordered) + 1) + 1e-9)  # 0.29 * 100 is 28.999…
    if not rank:
        return None
    return Threshold(float(ordered[rank - 1]), rank / (len(ordered) + 1))


def auroc(known: ArrayLike, strangers: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a known clip has a higher confidence than a stranger.

    Ties count one half (Mann and Whitney). 0.5 is chance.

    Args:
        known: [n], confidences of clips of the known classes.
        strangers: [m], confidences of clips of other classes.

    Returns:
        The area; nan if one of the two is empty.
    """
    ours = np.asarray(known, dtype=np.float64).reshape(-1)
    others = np.sort(np.asarray(strangers, dtype=np.float64).reshape(-1))
    if not ours.size or not others.size:
        return math.nan
    below = np.searchsorted(others, ours, side="left") + np.searchsorted(others, ours, side="right")
    return float(below.mean() / (2 * others.size))


def calibrate(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    source: str,
    multi_label: bool = False,
    rate: float = FALSE_REFUSALS,
) -> dict[str, Any]:
    """The calibration of a model card (``ModelCard.calibration``), from held-out scores.

    Args:
        logits: [n, K], before softmax, of clips that the classifier was not trained on. Never those of test clips.
        targets: int [n] class numbers, or [n, K] of zeros and ones for ``multi_label``; clips without a known class are
            ignored.
        source: where the clips are from, such as "held-out training groups".
        multi_label: probabilities are sigmoids. They keep a temperature of 1; the confidence is that of the best class.
        rate: the fraction of known clips that may be refused.

    Returns:
        ``temperature``, ``none_below``, ``false_refusals`` (the expected fraction), ``videos`` (n) and ``source``;
        empty if fewer clips than 1 / rate - 1 have a known class: they say too little about a temperature, too.

    Raises:
        ArgumentError: shapes do not match, or a score is not finite.
    """
    scores, labels = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    known = labels.astype(bool).any(axis=1) if multi_label else labels >= 0
    if not known.any():
        return {}
    temperature = 1.0 if multi_label else fit_temperature(scores, labels)
    chances = sigmoid(scores[known]) if multi_label else softmax(scores[known] / temperature)
    threshold = none_threshold(chances.max(axis=1), rate)
    if threshold is None:
        return {}
    return {
        "temperature": temperature,
        "none_below": threshold.none_below,
        "false_refusals": threshold.false_refusals,
        "videos": int(known.sum()),
        "source": source,
    }


def _known(logits: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores and class numbers of the videos whose class is known."""
    scores, numbers = np.asarray(logits, dtype=np.float64), np.asarray(targets).astype(np.int64)
    if scores.ndim != 2 or numbers.shape != scores.shape[:1] or not scores.shape[1]:
        raise ArgumentError(
            f"logits must be [videos, classes] and targets [videos], got {scores.shape} and {numbers.shape}"
        )
    scores, numbers = scores[numbers >= 0], numbers[numbers >= 0]
    if not len(scores):
        raise ArgumentError("a temperature needs at least one held-out clip with a known class, got none")
    if numbers.max() >= scores.shape[1]:
        raise ArgumentError(f"targets must be class numbers below {scores.shape[1]}, got {numbers.max()}")
    if not np.isfinite(scores).all():
        raise ArgumentError("logits must be finite")
    return scores, numbers


def _check_chances(values: NDArray[np.float64]) -> None:
    if not ((values >= 0) & (values <= 1)).all():  # also catches nan
        raise ArgumentError("confidences must be probabilities from 0 to 1")
