"""Score fusion: what several streams say of the same videos becomes one answer.

Axis letters: F streams (one scores file each), n videos, K classes.

=========  ======================================  ======================================================
kind       what is averaged over the streams       source
=========  ======================================  ======================================================
average    softmax probabilities                   Simonyan and Zisserman 2014, section 4 ("averaging")
weighted   scores before softmax                   TSN, RGB : flow = 1 : 1.5; principal backprop, 2 : 3
l1, l2     scores before softmax, each video's     dense trajectories beside a network: two kinds of
           divided by their L1 or L2 length        scores whose sizes cannot be compared
svm        nothing: a multi-class linear SVM on    Simonyan and Zisserman 2014, section 4 ("SVM")
           the stacked, L2-normalised softmax
=========  ======================================  ======================================================

All but the SVM take weights, which act on the quantity that is averaged and are divided by their sum. (The L1
length of softmax probabilities is always 1: normalising those would be "average" again.) Fused scores stay
*before softmax*, as every reader of scores expects: of the average it is the logarithm of the mean probability,
so that softmax gives the mean back. Scores of networks trained on several labels for each video have sigmoids where
others have a softmax.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.errors import ArgumentError, ScoresError, unknown_name
from praxiscope.evaluation.metrics import softmax
from praxiscope.evaluation.protocols import views_named
from praxiscope.evaluation.scores import Scores
from praxiscope.units import counted

__all__ = ["FUSIONS", "SVM_GRID", "SvmFusion", "check_fit", "check_training", "combine", "fuse"]

SVM_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
_FOLDS = 5
# LIBLINEAR's own default is 0.1, scikit-learn's 1e-4. To compare values of C the coarse one is as good: on scores
# of UCF-101's size it takes a second where the fine one takes half a minute.
_COARSE, _FINE = 1e-2, 1e-4

_Array: TypeAlias = NDArray[np.float64]
_Rule: TypeAlias = Callable[[_Array, _Array, bool], _Array]  # scores [F, n, K], weights [F], multi-label


def _average(logits: _Array, weights: _Array, multi_label: bool) -> _Array:
    """Log of the mean probability; log-odds of it for multi-label scores. Exact where exp underflows."""
    with np.errstate(divide="ignore"):  # a stream of weight 0 counts nothing: log 0
        log_weights = np.log(weights)[:, None, None]

    def log_mean(log_chances: _Array) -> _Array:
        return np.logaddexp.reduce(log_weights + log_chances, axis=0)

    if multi_label:  # -logaddexp(0, -x) is the log of the sigmoid of x
        return log_mean(-np.logaddexp(0.0, -logits)) - log_mean(-np.logaddexp(0.0, logits))
    return log_mean(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def _weighted(logits: _Array, weights: _Array, multi_label: bool) -> _Array:
    return np.tensordot(weights, logits, axes=1)


def _normalised(order: int) -> _Rule:
    def rule(logits: _Array, weights: _Array, multi_label: bool) -> _Array:
        return _weighted(_unit(logits, order), weights, multi_label)

    return rule


def _unit(values: _Array, order: int) -> _Array:
    """Divide the last axis by its L1 or L2 length; zeros stay zeros."""
    length = np.linalg.norm(values, ord=order, axis=-1, keepdims=True)
    return values / np.where(length > 0, length, 1.0)


_RULES: dict[str, _Rule] = {
    "average": _average,
    "weighted": _weighted,
    "l1": _normalised(1),
    "l2": _normalised(2),
}
FUSIONS = tuple(_RULES)


def combine(
    logits: Sequence[ArrayLike],
    *,
    kind: str = "average",
    weights: Sequence[float] | None = None,
    multi_label: bool = False,
) -> _Array:
    """Fuse the scores of several streams, as plain arrays.

    Args:
        logits: F arrays [n, K], before softmax, of the same videos in the same order.
        kind: "average", "weighted", "l1" or "l2", see the module's table.
        weights: one per stream, not negative; equal ones by default. Only their ratio counts.
        multi_label: probabilities are sigmoids.

    Returns:
        float64 [n, K], before softmax. Of "l1" and "l2" the ranking means something, the softmax does not:
        their scores lie between -1 and 1.

    Raises:
        UnknownNameError: no such kind.
        ArgumentError: fewer than two streams, other shapes, or weights that do not fit.
    """
    if kind not in _RULES:
        raise unknown_name("kind of fusion", kind, _RULES)
    arrays = [np.asarray(stream, dtype=np.float64) for stream in logits]
    if len(arrays) < 2:
        raise ArgumentError(f"fusion needs the scores of at least 2 streams, got {len(arrays)}")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 2:
        raise ArgumentError(f"streams must all be [videos, classes], got {', '.join(map(str, shapes))}")
    return _RULES[kind](np.stack(arrays), _shares(weights, len(arrays)), multi_label)


def fuse(
    streams: Sequence[Scores],
    *,
    kind: str = "average",
    weights: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    any_protocol: bool = False,
) -> Scores:
    """Fuse the scores of several streams. Their videos may come in any order.

    Args:
        streams: F >= 2 scores of the same videos.
        kind, weights: see `combine`.
        names: what messages and the result's protocol call the streams; their files, say.
        any_protocol: let streams that were tested under different protocols meet.

    Returns:
        Scores in the order of the first stream. The protocol keeps what all streams agree on, and records
        kind, weights and every stream's own protocol under "fusion".

    Raises:
        ScoresError: the streams do not fit together; the message says what differs, with examples.
        ArgumentError: see `combine`.
    """
    names = _names(streams, names)
    aligned = check_fit(streams, names=names, any_protocol=any_protocol)
    logits = combine(
        [part.logits for part in aligned],
        kind=kind,
        weights=weights,
        multi_label=streams[0].sigmoid,
    )
    shares = [1.0] * len(streams) if weights is None else [float(weight) for weight in weights]
    return _fused(aligned, logits, names, {"kind": kind, "weights": shares})


def check_fit(
    streams: Sequence[Scores], *, names: Sequence[str] | None = None, any_protocol: bool = False
) -> list[Scores]:
    """Return the streams in the first one's order of videos, or say why they do not belong together.

    Videos, classes and known targets must be the same, and so must the views (whatever the protocol calls them), what
    of them was averaged, split and subset where both streams record them: a video that one network was tested and the
    other trained on has no honest fused score.

    Args:
        streams: scores of at least two streams.
        names: what messages call them.
        any_protocol: leave the protocols out of it.

    Raises:
        ArgumentError: fewer than two streams.
        ScoresError: says which two differ, and in what, with examples.
    """
    names = _names(streams, names)
    if len(streams) < 2:
        raise ArgumentError(f"fusion needs the scores of at least 2 streams, got {len(streams)}")
    first = streams[0]
    for name, other in zip(names[1:], streams[1:], strict=True):
        between = f"{names[0]} (first) and {name} (second)"
        try:
            first.check_same(other, protocols=False)
        except ScoresError as error:
            raise ScoresError(f"{between}: {error}") from error
        keys = () if any_protocol else ("name", "average", "split", "subset")
        if different := _differences(first, other, keys):
            raise ScoresError(
                f"{between}: protocols differ: {different}. Test both alike, or give --any-protocol "
                "(any_protocol=True) to fuse them as they are."
            )
    return [first, *(other.reordered(first.ids) for other in streams[1:])]


@dataclass(frozen=True)
class SvmFusion:
    """A multi-class linear SVM (Crammer and Singer 2001) over the streams' stacked probabilities.

    The features of a video are its F softmax vectors, each divided by its L2 length, one after the other
    (Simonyan and Zisserman 2014, section 4). Applying it is plain numpy; only fitting needs scikit-learn.

    Attributes:
        coefficients: float64 [K, F * K].
        intercepts: float64 [K].
        classes: the K names.
        c: the SVM's C.
        cross_validated: mean accuracy over the folds for every C tried; empty where C was given.
        converged: whether the solver came to its end.
        sources: names of the training scores.
    """

    coefficients: _Array
    intercepts: _Array
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
        """Fit on the scores that the streams give to *training* videos.

        Args:
            training: scores of the F streams, in the order in which test scores will come. Videos without a
                label are left out. They need not have been tested under the same protocol.
            c: the SVM's C; None takes the best of `SVM_GRID` in a stratified cross-validation of up to
                5 folds, and of equals the smallest. (Clips of one recording may fall on both sides of a fold.)
            names: what messages call the streams.
            seed: of the folds and the solver.

        Raises:
            ScoresError: the streams do not fit together, have several labels per video, or a class has no
                video, or only one where C must be found.
            ArgumentError: ``c`` is not above zero, or fewer than two streams.
        """
        if c is not None and not (c > 0 and np.isfinite(c)):
            raise ArgumentError(f"the SVM's C must be above 0, got {c}")
        names = _names(training, names)
        aligned = check_fit(training, names=names, any_protocol=True)
        _refuse_multi_label(aligned[0], names[0])
        classes, targets = aligned[0].classes, _known_targets(aligned)
        labelled = targets >= 0
        features = _features([part.logits for part in aligned])[labelled]
        labels = targets[labelled]
        counts = np.bincount(labels, minlength=len(classes))
        if len(classes) < 2:
            raise ScoresError("an SVM needs at least 2 classes, and these scores have 1")
        if missing := [name for name, count in zip(classes, counts, strict=True) if count == 0]:
            raise ScoresError(
                f"the training scores hold no video of {counted(len(missing), 'class', 'classes')} "
                f"({', '.join(missing[:3])}), "
                "which the SVM could never answer. Test the training videos of all classes."
            )
        tried = {} if c is not None else _cross_validate(features, labels, counts, classes, seed)
        chosen = c if c is not None else max(tried, key=lambda value: (tried[value], -value))
        machine, converged = _fit_svm(features, labels, chosen, seed)
        weights, offsets = machine.coef_, machine.intercept_
        if len(classes) == 2:  # scikit-learn keeps the difference of the two classes only
            weights = np.concatenate([-weights, weights]) / 2
            offsets = np.concatenate([-offsets, offsets]) / 2
        return cls(weights, offsets, tuple(classes), float(chosen), tried, converged, tuple(names))

    def fuse(
        self, streams: Sequence[Scores], *, names: Sequence[str] | None = None, any_protocol: bool = False
    ) -> Scores:
        """Score videos; the SVM's decision values stand where other scores have theirs before softmax.

        Args:
            streams: scores of the F streams, in the order of the fit.
            names, any_protocol: see `praxiscope.evaluation.fusion.fuse`.

        Raises:
            ScoresError: the streams do not fit together, or not to the SVM.
        """
        names = _names(streams, names)
        aligned = check_fit(streams, names=names, any_protocol=any_protocol)
        _refuse_multi_label(aligned[0], names[0])
        shape = len(self.classes), len(streams) * len(self.classes)
        if tuple(aligned[0].classes) != self.classes or self.coefficients.shape != shape:
            raise ScoresError(
                f"the SVM was fitted on {self.coefficients.shape[1] // len(self.classes)} streams of "
                f"{len(self.classes)} classes; these are {len(streams)} streams of "
                f"{len(aligned[0].classes)}, or the classes have other names or another order"
            )
        decisions = self.decide([part.logits for part in aligned])
        description = {"kind": "svm", "c": self.c, "training": list(self.sources)}
        return _fused(aligned, decisions, names, description)

    def decide(self, logits: Sequence[ArrayLike]) -> _Array:
        """Decision values float64 [n, K] of plain scores: F arrays [n, K] before softmax, in the fit's order."""
        return _features(logits) @ self.coefficients.T + self.intercepts


def check_training(
    training: Sequence[Scores],
    streams: Sequence[Scores],
    *,
    training_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Raise unless ``training`` may serve to fit an SVM for ``streams``.

    Args:
        training: scores of training videos, one per stream and in the same order.
        streams: the scores to be fused.
        training_names, names: what messages call them.

    Raises:
        ScoresError: another number, other classes, another order of streams (as far as the protocols tell
            streams, models and backbones), or videos in common.
    """
    training_names, names = _names(training, training_names), _names(streams, names)
    if len(training) != len(streams):
        raise ScoresError(
            f"an SVM needs one training scores file per stream: {len(streams)} streams "
            f"({', '.join(names)}), but {len(training)} training files ({', '.join(training_names)}). "
            "Repeat --svm before each training file."
        )
    for train, test, train_name, name in zip(training, streams, training_names, names, strict=True):
        between = f"{train_name} (training) and {name}"
        try:
            train.reordered([]).check_same(test.reordered([]), protocols=False)  # classes; videos must differ
        except ScoresError as error:
            raise ScoresError(f"{between}: {error}") from error
        if different := _differences(train, test, ("streams", "model", "backbone")):
            raise ScoresError(
                f"{between} come from different networks: {different}. Give the training files in the order "
                "of the streams."
            )
        known = set(test.ids)
        if shared := [video for video in train.ids if video in known]:
            examples = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
            raise ScoresError(
                f"{between} have {len(shared)} videos in common ({examples}). An SVM is fitted on training "
                "videos only: make those scores by `praxiscope test … --subset train`."
            )


# ------------------------------------------------------------------------------------------------- the SVM


def _refuse_multi_label(scores: Scores, name: str) -> None:
    if scores.multi_label:
        raise ScoresError(f"{name} is multi-label, and an SVM gives one class per video. Use another kind.")


def _features(logits: Sequence[ArrayLike]) -> _Array:
    """[n, F * K]: every stream's softmax, of length 1."""
    return np.concatenate([_unit(softmax(np.asarray(part)), 2) for part in logits], axis=1)


def _machine(c: float, seed: int, tolerance: float) -> Any:
    from sklearn.svm import LinearSVC

    # ``dual`` does not matter to this kind, but scikit-learn before 1.5 warns where it is not named.
    return LinearSVC(
        multi_class="crammer_singer", C=c, dual=True, tol=tolerance, max_iter=20_000, random_state=seed
    )


def _fit_svm(
    features: _Array, labels: NDArray[np.int64], c: float, seed: int, tolerance: float = _FINE
) -> tuple[Any, bool]:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        machine = _machine(c, seed, tolerance).fit(features, labels)
    return machine, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _cross_validate(
    features: _Array, labels: NDArray[np.int64], counts: NDArray[Any], classes: Sequence[str], seed: int
) -> dict[float, float]:
    """Mean accuracy over the folds, by C."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(_FOLDS, int(counts.min()))
    if folds < 2:
        name = classes[int(counts.argmin())]
        raise ScoresError(
            f"the class {name!r} has 1 training video, too few to find the SVM's C by cross-validation. "
            "Name it: --svm-c 1"
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


# ------------------------------------------------------------------------------------------ what all share


def _names(streams: Sequence[Scores], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [f"stream {number}" for number in range(1, len(streams) + 1)]
    if len(names) != len(streams):
        raise ArgumentError(f"names must be one per stream: {len(streams)} streams, {len(names)} names")
    return list(names)


def _shares(weights: Sequence[float] | None, count: int) -> _Array:
    values = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.shape != (count,):
        raise ArgumentError(f"weights must be one per stream: {count} streams, {values.size} weights")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ArgumentError(
            f"weights must not be negative, and one must be above 0, got {', '.join(map(str, values))}"
        )
    return values / values.sum()


def _differences(first: Scores, second: Scores, keys: Sequence[str]) -> str:
    """The protocol's entries that both record, and not alike."""
    pairs: list[tuple[str, Any, Any]] = [
        (key, first.protocol.get(key), second.protocol.get(key)) for key in keys
    ]
    both = [(key, a, b) for key, a, b in pairs if a != b and None not in (a, b)]
    return ", ".join(
        f"{key} {a!r} and {b!r}" for key, a, b in both if key != "name" or views_named(a) != views_named(b)
    )


def _known_targets(aligned: Sequence[Scores]) -> NDArray[np.int64]:
    """The first known target of every video, over the streams."""
    targets = aligned[0].targets
    for part in aligned[1:]:
        targets = np.where(targets < 0, part.targets, targets)
    return targets


def _fused(
    aligned: Sequence[Scores], logits: _Array, names: Sequence[str], description: dict[str, Any]
) -> Scores:
    first = aligned[0]
    protocols = [part.protocol for part in aligned]
    shared = {
        key: value
        for key, value in protocols[0].items()
        if all(other.get(key) == value for other in protocols)
    }
    views = list(dict.fromkeys(str(protocol["name"]) for protocol in protocols if protocol.get("name")))
    streams = [stream for protocol in protocols for stream in protocol.get("streams") or ()]
    sources = [{"name": name, "protocol": protocol} for name, protocol in zip(names, protocols, strict=True)]
    protocol: dict[str, Any] = {"name": "+".join(views)} if views else {}
    if streams:
        protocol["streams"] = list(dict.fromkeys(streams))
    protocol.update(shared)
    protocol["fusion"] = {**description, "sources": sources}
    targets = first.targets if first.multi_label else _known_targets(aligned)
    return Scores(list(first.ids), logits.astype(np.float32), targets, list(first.classes), protocol)
