"""Metrics of action recognition, in numpy. All rates are fractions from 0 to 1, nan if undefined.

Axis letters: n videos, K classes.

Ties: between classes of a video (top-k, Hit@k, the predicted class) the lower class number wins, as with ``argmax``.
Average precision counts videos of equal score together, so that the result does not depend on their order.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.calibration import calibration_error
from praxiscope.evaluation.probabilities import probabilities, softmax
from praxiscope.evaluation.scores import Scores

__all__ = [
    "average_precision",
    "class_accuracies",
    "confused_pairs",
    "confusion_matrix",
    "hit_at_k",
    "mean_average_precision",
    "mean_class_accuracy",
    "mean_over_splits",
    "per_class_table",
    "probabilities",
    "shown_figures",
    "softmax",
    "summarise",
    "top_k",
    "wilson_interval",
]


def top_k(scores: ArrayLike, targets: ArrayLike, k: int = 1) -> float:
    """Fraction of the videos whose class is among the k highest scores (top-k accuracy).

    Args:
        scores: [n, K], any monotone function of the class probabilities.
        targets: int [n], class numbers; videos with -1 are ignored.
        k: number of classes; values above K count as K.

    Returns:
        The fraction; nan if no video has a target.

        Raises: ArgumentError: shapes do not match, a target is out of range, or k is below 1.
    """
    values, numbers = _scores_and_targets(scores, targets)
    return _share_of_hits(values, np.eye(values.shape[1], dtype=bool)[numbers], k)


def hit_at_k(scores: ArrayLike, positives: ArrayLike, k: int = 1) -> float:
    """Fraction of the videos with at least one label among the k highest scores (Hit@k, Sports-1M).

    Args:
        scores: [n, K].
        positives: [n, K], true or 1 for each label; videos without labels are ignored.
        k: number of classes.

    Returns:
        The fraction; nan if no video has a label.

    Raises:
        ArgumentError: shapes do not match, or k is below 1.
    """
    values, labels = _scores_and_positives(scores, positives)
    labelled = labels.any(axis=1)
    return _share_of_hits(values[labelled], labels[labelled], k)


def class_accuracies(targets: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Accuracy of each class: float64 [K], nan for classes without videos.

    Args:
        targets: int [n]; videos with -1 are ignored.
        predicted: int [n], the predicted class number of each video.
        num_classes: K.
    """
    matrix = confusion_matrix(targets, predicted, num_classes)
    return _divide(np.diag(matrix), matrix.sum(axis=1))


def mean_class_accuracy(scores: ArrayLike, targets: ArrayLike) -> float:
    """Mean of the class accuracies.

    Classes without videos are ignored (``summarise`` names them).

    Args:
        scores: [n, K].
        targets: int [n]; videos with -1 are ignored.

    Returns:
        The fraction, nan where no video has a target.
    """
    values, numbers = _scores_and_targets(scores, targets)
    return _mean(class_accuracies(numbers, _best(values), values.shape[1]))


def average_precision(scores: ArrayLike, positives: ArrayLike) -> float:
    """Non-interpolated average precision: the mean of the precision at every positive.

    The precision at a positive is the fraction of positives among the items with at least its score, so items of equal
    score count together. Equals scikit-learn's ``average_precision_score``.

    Args:
        scores: [n], higher means more likely positive.
        positives: [n], true or 1 for the positives.

    Returns:
        The average precision; nan if there is no positive.

    Raises:
        ArgumentError: shapes do not match.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positives).astype(bool)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ArgumentError(
            f"scores and positives must be 1-D and of equal length, got {values.shape} and {labels.shape}"
        )
    if not labels.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    found = np.cumsum(labels[order])
    # The last index of each group of equal scores.
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    precision = found[last] / (last + 1)
    return float(precision[labels[order]].mean())


def mean_average_precision(scores: ArrayLike, positives: ArrayLike) -> float:
    """Mean of the average precisions of the classes; classes without positives are ignored.

    Args:
        scores: [n, K]; each column ranks the videos.
        positives: [n, K], true or 1 for each label.

    Returns:
        The mean; nan if no class has a positive.
    """
    values, labels = _scores_and_positives(scores, positives)
    return _mean(_average_precisions(values, labels))


def confusion_matrix(targets: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Number of videos of each class (row) that were predicted as each class (column): int64 [K, K].

    Args:
        targets: int [n]; videos with -1 are ignored.
        predicted: int [n].
        num_classes: K.

    Raises:
        ArgumentError: lengths differ, or a class number is out of range.
    """
    rows, columns = np.asarray(targets, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ArgumentError(
            f"targets and predicted must be 1-D and of equal length, got {rows.shape} and {columns.shape}"
        )
    rows, columns = rows[rows >= 0], columns[rows >= 0]
    for name, numbers in (("targets", rows), ("predicted", columns)):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < num_classes:
            worst = numbers.min() if numbers.min() < 0 else numbers.max()
            raise ArgumentError(f"{name} must be class numbers below {num_classes}, got {worst}")
    counts = np.bincount(rows * num_classes + columns, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def confused_pairs(
    matrix: NDArray[np.int64], classes: Sequence[str], count: int = 10
) -> list[tuple[str, str, int, float]]:
    """The most frequent errors: class, predicted class, number of videos, fraction of the class's videos.

    Args:
        matrix: [K, K], result of ``confusion_matrix``.
        classes: the K names.
        count: maximum number of errors.
    """
    wrong = matrix - np.diag(np.diag(matrix))
    totals = matrix.sum(axis=1)
    cells = [(int(r), int(c)) for r, c in np.argwhere(wrong)]
    pairs = [(int(wrong[r, c]), float(wrong[r, c] / totals[r]), r, c) for r, c in cells]
    pairs.sort(key=lambda pair: (-pair[0], -pair[1]))
    return [(classes[r], classes[c], number, share) for number, share, r, c in pairs[:count]]


def per_class_table(scores: Scores) -> list[dict[str, Any]]:
    """One row per class, in the order of the classes.

    Returns:
        Rows with ``class``, ``videos`` (of this class) and ``average_precision``; for single-label scores also
        ``accuracy``, ``precision`` and ``confused_with`` (its most frequent error, or None). Undefined values are None.
    """
    labels, chances = _known(scores)
    rows: list[dict[str, Any]] = [
        {"class": name, "videos": int(labels[:, k].sum()), "average_precision": _or_none(value)}
        for k, (name, value) in enumerate(
            zip(scores.classes, _average_precisions(chances, labels), strict=True)
        )
    ]
    if not scores.multi_label:
        matrix = confusion_matrix(scores.targets, _best(scores.logits), len(scores.classes))
        wrong = matrix - np.diag(np.diag(matrix))
        accuracies = _divide(np.diag(matrix), matrix.sum(axis=1))
        precisions = _divide(np.diag(matrix), matrix.sum(axis=0))
        for k, row in enumerate(rows):
            row["accuracy"] = _or_none(accuracies[k])
            row["precision"] = _or_none(precisions[k])
            row["confused_with"] = scores.classes[int(wrong[k].argmax())] if wrong[k].any() else None
    return rows


def summarise(scores: Scores) -> dict[str, Any]:
    """The main metrics of scores, as plain values for JSON.

    Single-label: ``top1``, ``top5``, ``mean_class_accuracy``, ``map`` (from softmax probabilities, one class against
    the rest) and ``ece`` (see `calibration_error`); if the model has a temperature, ``ece_uncalibrated`` is the error
    without it. Multi-label: ``map``, in which a video without any label is a negative of every class, and ``hit1``,
    ``hit5`` (right where a label is among the best), which are called ``top1``, ``top5`` if the network was trained
    with one label per video. For random examples also ``clip_hit1``, ``clip_hit5`` (of single examples) and
    ``video_hit1``, ``video_hit5`` (of their average), see `praxiscope.evaluation.clip_hits`. Always: ``videos``,
    ``labelled`` (videos with a known label; only these have a top-1), ``classes`` (K), ``classes_without_videos``
    (names; ignored in the means). Metrics are fractions. They are missing if no video is labelled. With five classes or
    fewer the figures at 5 are always 1, and `shown_figures` omits them.
    """
    labels, chances = _known(scores)
    figures: dict[str, float] = {}
    if scores.multi_label:
        name = "hit" if scores.sigmoid else "top"
        figures[f"{name}1"] = hit_at_k(scores.logits, scores.targets, 1)
        figures[f"{name}5"] = hit_at_k(scores.logits, scores.targets, 5)
    else:
        figures["top1"] = top_k(scores.logits, scores.targets, 1)
        figures["top5"] = top_k(scores.logits, scores.targets, 5)
        figures["mean_class_accuracy"] = mean_class_accuracy(scores.logits, scores.targets)
    figures["map"] = mean_average_precision(chances, labels)
    if (error := calibration_error(scores)) is not None:
        figures["ece"] = error.value
    if (
        "temperature" in scores.protocol
        and (plain := calibration_error(scores, calibrated=False)) is not None
    ):
        figures["ece_uncalibrated"] = plain.value
    if clip_hits := scores.protocol.get("clip_hits"):
        figures |= clip_hits
        known = scores.logits if scores.multi_label else scores.logits[scores.targets >= 0]
        figures |= {f"video_hit{k}": hit_at_k(known, labels, k) for k in (1, 5)}
    counts = labels.sum(axis=0)
    missing = [name for name, count in zip(scores.classes, counts.tolist(), strict=True) if count == 0]
    return {
        **{name: value for name, value in figures.items() if not np.isnan(value)},
        "videos": len(scores),
        "labelled": int(labels.any(axis=1).sum()),
        "classes": len(scores.classes),
        "classes_without_videos": missing,
    }


def shown_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a summary to display: without those at 5 for five classes or fewer, where they are always 1."""
    figures = {name: value for name, value in summary.items() if isinstance(value, float)}
    few = summary.get("classes", 0) <= 5
    return {name: value for name, value in figures.items() if not (few and name.endswith(("top5", "hit5")))}


def mean_over_splits(summaries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation of each metric that all splits have.

    Args:
        summaries: one result of ``summarise`` per split.

    Returns:
        By metric: ``mean``, ``std`` (the sample standard deviation; None for a single split), ``splits`` (the values).
            Counts and lists are omitted.

    Raises:
        ArgumentError: ``summaries`` is empty.
    """
    if not summaries:
        raise ArgumentError("mean_over_splits needs the figures of at least one split, got none")
    names = [name for name, value in summaries[0].items() if isinstance(value, float)]
    result = {}
    for name in names:
        values = [summary.get(name) for summary in summaries]
        numbers = [value for value in values if isinstance(value, float)]
        if len(numbers) == len(values):
            mean, spread = statistics.mean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None
            result[name] = {"mean": mean, "std": spread, "splits": numbers}
    return result


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval (Wilson) of a fraction measured on ``count`` independent videos.

    Args:
        share: the measured fraction.
        count: videos; 0 gives the interval (0, 1).
    """
    if count < 1:
        return 0.0, 1.0
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _known(scores: Scores) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels [m, K] and probabilities [m, K] of the m videos whose target is known.

    They rank videos, and published figures rank them by the plain softmax. So the temperature is left out.
    """
    chances = probabilities(scores, calibrated=False)
    if scores.multi_label:
        return scores.targets.astype(bool), chances
    known = scores.targets >= 0
    return np.eye(len(scores.classes), dtype=bool)[scores.targets[known]], chances[known]


def _average_precisions(values: NDArray[Any], labels: NDArray[np.bool_]) -> list[float]:
    return [average_precision(values[:, k], labels[:, k]) for k in range(values.shape[1])]


def _share_of_hits(values: NDArray[Any], labels: NDArray[np.bool_], k: int) -> float:
    if k < 1:
        raise ArgumentError(f"k must be at least 1, got {k}")
    best = np.argsort(-values, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(labels, best, axis=1).any(axis=1)
    return float(hits.mean()) if hits.size else float("nan")


def _best(scores: NDArray[Any]) -> NDArray[np.int64]:
    return scores.argmax(axis=1).astype(np.int64)


def _scores_and_targets(
    scores: ArrayLike, targets: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores [m, K] and class numbers [m] of the videos whose class is known."""
    values, numbers = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if values.ndim != 2 or numbers.shape != values.shape[:1]:
        raise ArgumentError(
            f"scores must be [videos, classes] and targets [videos], got {values.shape} and {numbers.shape}"
        )
    numbers = numbers.astype(np.int64)
    if numbers.size and numbers.max() >= values.shape[1]:
        raise ArgumentError(f"targets must be class numbers below {values.shape[1]}, got {numbers.max()}")
    return values[numbers >= 0], numbers[numbers >= 0]


def _scores_and_positives(
    scores: ArrayLike, positives: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positives).astype(bool)
    if values.ndim != 2 or labels.shape != values.shape:
        raise ArgumentError(
            f"scores and positives must both be [videos, classes], got {values.shape} and {labels.shape}"
        )
    return values, labels


def _divide(counts: NDArray[Any], totals: NDArray[Any]) -> NDArray[np.float64]:
    """counts / totals; nan where a total is 0."""
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean of the values that are not nan; nan if there are none."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if numbers.size else float("nan")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
