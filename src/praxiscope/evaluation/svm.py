"""Score fusion by a linear SVM (Simonyan and Zisserman 2014, section 4).

Axis letters: F streams (one scores file each), n videos, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.errors import ArgumentError, ScoresError
from praxiscope.evaluation.fusion import (
    Array,
    check_fit,
    fused_scores,
    known_targets,
    protocol_differences,
    stream_names,
    unit_length,
)
from praxiscope.evaluation.metrics import softmax
from praxiscope.evaluation.scores import Scores
from praxiscope.units import counted

__all__ = ["SVM_GRID", "SvmFusion", "check_training"]

SVM_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
_FOLDS = 5
# Tolerances of the solver; LIBLINEAR's default is 0.1, scikit-learn's 1e-4. For comparing values of C the coarse one is
# as good, and on scores of UCF-101's size it takes a second instead of half a minute.
_COARSE = 1e-2
_FINE = 1e-4


@dataclass(frozen=True)
class SvmFusion:
    """A multi-class linear SVM (Crammer and Singer 2001) on the streams' concatenated probabilities.

    The features of a video are its F softmax vectors, each divided by its L2 norm, concatenated (Simonyan and Zisserman
    2014, section 4). Only fitting needs scikit-learn.

    Attributes:
        coefficients: float64 [K, F * K].
        intercepts: float64 [K].
        classes: the K names.
        c: the SVM's C.
        cross_validated: mean accuracy over the folds for every C tried; empty if C was given.
        converged: whether the solver converged.
        sources: names of the training scores.
    """

    coefficients: Array
    intercepts: Array
    classes: tuple[str, ...]
    c: float
    cross_validated: dict[float, float] = field(default_factory=dict)
    converged: bool = True
    sources: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        training: Sequence[Scores],
        *,
        c: float | None = None,
        names: Sequence[str] | None = None,
        seed: int = 0,
    ) -> SvmFusion:
        """Fit on the streams' scores of *training* videos.

        Args:
            training: scores of the F streams, in the same order as the test scores. Videos without a label are ignored.
                The protocols may differ.
            c: the SVM's C; None selects the best of `SVM_GRID` by stratified cross-validation with up to 5 folds; of
                ties, the smallest. (Clips of one recording may fall into different folds.)
            names: names of the streams in messages.
            seed: seed of the folds and the solver.

        Raises:
            ScoresError: the streams do not match or have several labels per video; or a class has no video, or only one
                and C is cross-validated.
            ArgumentError: ``c`` is not above 0, or there are fewer than two streams.
        """
        if c is not None and not (c > 0 and np.isfinite(c)):
            raise ArgumentError(f"the SVM's C must be above 0, got {c}")
        names = stream_names(training, names)
        aligned = check_fit(training, names=names, any_protocol=True)
        _refuse_multi_label(aligned[0], names[0])
        classes, targets = aligned[0].classes, known_targets(aligned)
        labelled = targets >= 0
        features = _features([part.logits for part in aligned])[labelled]
        labels = targets[labelled]
        counts = np.bincount(labels, minlength=len(classes))
        if len(classes) < 2:
            raise ScoresError("an SVM needs at least 2 classes, got 1")
        if missing := [name for name, count in zip(classes, counts, strict=True) if count == 0]:
            raise ScoresError(
                f"the training scores have no video of {counted(len(missing), 'class', 'classes')} "
                f"({', '.join(missing[:3])}), so the SVM could never predict them. Score training videos of all "
                "classes."
            )
        tried = {} if c is not None else _cross_validate(features, labels, counts, classes, seed)
        chosen = c if c is not None else max(tried, key=lambda value: (tried[value], -value))
        machine, converged = _fit_svm(features, labels, chosen, seed)
        weights, offsets = machine.coef_, machine.intercept_
        if len(classes) == 2:  # scikit-learn stores only the difference of the two classes
            weights = np.concatenate([-weights, weights]) / 2
            offsets = np.concatenate([-offsets, offsets]) / 2
        return cls(weights, offsets, tuple(classes), float(chosen), tried, converged, tuple(names))

    def fuse(
        self, streams: Sequence[Scores], *, names: Sequence[str] | None = None, any_protocol: bool = False
    ) -> Scores:
        """Fuse the scores of videos. The logits of the result are the SVM's decision values.

        Args:
            streams: scores of the F streams, in the same order as in the fit.
            names, any_protocol: see `praxiscope.evaluation.fusion.fuse`.

        Raises:
            ScoresError: the streams do not match each other or the SVM.
        """
        names = stream_names(streams, names)
        aligned = check_fit(streams, names=names, any_protocol=any_protocol)
        _refuse_multi_label(aligned[0], names[0])
        shape = len(self.classes), len(streams) * len(self.classes)
        if tuple(aligned[0].classes) != self.classes or self.coefficients.shape != shape:
            raise ScoresError(
                f"the SVM was fitted on {self.coefficients.shape[1] // len(self.classes)} streams of "
                f"{len(self.classes)} classes; got {len(streams)} streams of {len(aligned[0].classes)}. Names and "
                "order of the classes must be the same, too."
            )
        decisions = self.decide([part.logits for part in aligned])
        description = {"kind": "svm", "c": self.c, "training": list(self.sources)}
        return fused_scores(aligned, decisions, names, description)

    def decide(self, logits: Sequence[ArrayLike]) -> Array:
        """Decision values, float64 [n, K], for F arrays [n, K] of logits in the same order as in the fit."""
        return _features(logits) @ self.coefficients.T + self.intercepts


def check_training(
    training: Sequence[Scores],
    streams: Sequence[Scores],
    *,
    training_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Raise ScoresError unless an SVM for ``streams`` can be fitted on ``training``.

    Args:
        training: scores of training videos, one per stream, in the order of ``streams``.
        streams: the scores to fuse.
        training_names, names: names of both in messages.

    Raises:
        ScoresError: the number or the order of the streams differs (as far as the protocols name streams, models and
            backbones), the classes differ, or training and test have videos in common.
    """
    training_names, names = stream_names(training, training_names), stream_names(streams, names)
    if len(training) != len(streams):
        raise ScoresError(
            f"an SVM needs one training scores file per stream: {len(streams)} streams "
            f"({', '.join(names)}), but {len(training)} training files ({', '.join(training_names)}). "
            "Repeat --svm before each training file."
        )
    for train, test, train_name, name in zip(training, streams, training_names, names, strict=True):
        between = f"{train_name} (training) and {name}"
        try:
            train.reordered([]).check_same(
                test.reordered([]), protocols=False
            )  # compares the classes; the videos must differ
        except ScoresError as error:
            raise ScoresError(f"{between}: {error}") from error
        if different := protocol_differences(train, test, ("streams", "model", "backbone")):
            raise ScoresError(
                f"{between} come from different networks: {different}. Give the training files in the order of the "
                "streams."
            )
        known = set(test.ids)
        if shared := [video for video in train.ids if video in known]:
            examples = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
            raise ScoresError(
                f"{between} have {len(shared)} videos in common ({examples}). Fit the SVM on scores of training "
                "videos: praxiscope test … --subset train"
            )


def _refuse_multi_label(scores: Scores, name: str) -> None:
    if scores.multi_label:
        raise ScoresError(
            f"{name} is multi-label, but an SVM predicts one class per video. Use another kind of fusion."
        )


def _features(logits: Sequence[ArrayLike]) -> Array:
    """Softmax of every stream, divided by its L2 norm: [n, F * K]."""
    return np.concatenate([unit_length(softmax(np.asarray(part)), 2) for part in logits], axis=1)


def _machine(c: float, seed: int, tolerance: float) -> Any:
    from sklearn.svm import LinearSVC

    # ``dual`` has no effect here, but scikit-learn before 1.5 warns if it is not set.
    return LinearSVC(
        multi_class="crammer_singer", C=c, dual=True, tol=tolerance, max_iter=20_000, random_state=seed
    )


def _fit_svm(
    features: Array, labels: NDArray[np.int64], c: float, seed: int, tolerance: float = _FINE
) -> tuple[Any, bool]:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        machine = _machine(c, seed, tolerance).fit(features, labels)
    return machine, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _cross_validate(
    features: Array, labels: NDArray[np.int64], counts: NDArray[Any], classes: Sequence[str], seed: int
) -> dict[float, float]:
    """Mean accuracy over the folds for each C."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(_FOLDS, int(counts.min()))
    if folds < 2:
        name = classes[int(counts.argmin())]
        raise ScoresError(
            f"the class {name!r} has 1 training video, too few to choose the SVM's C by cross-validation. Give C: "
            "--svm-c 1"
        )
    parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels))
    tried = {}
    for c in SVM_GRID:
        shares = []
        for fitted, held_out in parts:
            machine, _ = _fit_svm(features[fitted], labels[fitted], c, seed, _COARSE)
            shares.append(float((machine.predict(features[held_out]) == labels[held_out]).mean()))
        tried[c] = float(np.mean(shares))
    return tried
