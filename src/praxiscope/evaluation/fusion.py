"""Score fusion: combine the scores of several streams for the same videos.

Axis letters: F streams (one scores file each), n videos, K classes.

=========  ======================================  ======================================================
kind       what is averaged over the streams       source
=========  ======================================  ======================================================
average    softmax probabilities                   Simonyan and Zisserman 2014, section 4 ("averaging")
weighted   scores before softmax                   TSN, RGB : flow = 1 : 1.5; principal backprop, 2 : 3
l1, l2     scores before softmax, divided by the   dense trajectories with a network: two kinds of
           L1 or L2 norm of each video's scores    scores on different scales
svm        nothing: a multi-class linear SVM on    Simonyan and Zisserman 2014, section 4 ("SVM");
           the L2-normalised softmax               see `praxiscope.evaluation.svm`
=========  ======================================  ======================================================

All but the SVM compute a weighted mean; the weights are divided by their sum. Fused scores are logits. Those of
"average" are the logarithm of the mean probability, so that their softmax is the mean. Networks that were trained with
several labels per video use sigmoids instead of the softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxiscope.errors import ArgumentError, ScoresError, unknown_name
from praxiscope.evaluation.protocols import views_named
from praxiscope.evaluation.scores import Scores

__all__ = ["FUSIONS", "check_fit", "combine", "fuse"]


Array: TypeAlias = NDArray[np.float64]
_Rule: TypeAlias = Callable[[Array, Array, bool], Array]  # scores [F, n, K], weights [F], multi-label


def _average(logits: Array, weights: Array, multi_label: bool) -> Array:
    """Logarithm of the mean probability, or its log-odds for multi-label scores. Exact even if exp underflows."""
    with np.errstate(divide="ignore"):  # the logarithm of a weight of 0
        log_weights = np.log(weights)[:, None, None]

    def log_mean(log_chances: Array) -> Array:
        return np.logaddexp.reduce(log_weights + log_chances, axis=0)

    if multi_label:  # -logaddexp(0, -x) is the log of the sigmoid of x
        return log_mean(-np.logaddexp(0.0, -logits)) - log_mean(-np.logaddexp(0.0, logits))
    return log_mean(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def _weighted(logits: Array, weights: Array, multi_label: bool) -> Array:
    return np.tensordot(weights, logits, axes=1)


def _normalised(order: int) -> _Rule:
    def rule(logits: Array, weights: Array, multi_label: bool) -> Array:
        return _weighted(unit_length(logits, order), weights, multi_label)

    return rule


def unit_length(values: Array, order: int) -> Array:
    """Divide the last axis by its L1 or L2 norm; zeros stay zeros."""
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
) -> Array:
    """Fuse arrays of scores of several streams.

    Args:
        logits: F arrays [n, K], before softmax, of the same videos in the same order.
        kind: "average", "weighted", "l1" or "l2", see the module's table.
        weights: one per stream, not negative; equal by default. Only their ratios matter.
        multi_label: whether probabilities are sigmoids.

    Returns:
        float64 [n, K], before softmax. The results of "l1" and "l2" lie between -1 and 1: they rank classes, but their
        softmax is not a probability.

    Raises:
        UnknownNameError: the kind is unknown.
        ArgumentError: fewer than two streams, shapes that differ, or wrong weights.
    """
    if kind not in _RULES:
        raise unknown_name("kind of fusion", kind, _RULES)
    arrays = [np.asarray(stream, dtype=np.float64) for stream in logits]
    if len(arrays) < 2:
        raise ArgumentError(f"fusion needs the scores of at least 2 streams, got {len(arrays)}")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 2:
        raise ArgumentError(
            f"all streams must have one shape [videos, classes], got {', '.join(map(str, shapes))}"
        )
    return _RULES[kind](np.stack(arrays), _shares(weights, len(arrays)), multi_label)


def fuse(
    streams: Sequence[Scores],
    *,
    kind: str = "average",
    weights: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    any_protocol: bool = False,
) -> Scores:
    """Fuse the scores of several streams. The order of the videos may differ.

    Args:
        streams: F >= 2 scores of the same videos.
        kind, weights: see `combine`.
        names: names of the streams for messages and the protocol of the result, such as their files.
        any_protocol: accept streams that were tested with different protocols.

    Returns:
        Scores in the order of the first stream. The protocol has the entries that are equal in all streams and, under
        "fusion", the kind, the weights and the protocol of each stream.

    Raises:
        ScoresError: the streams do not match; the message names the differences, with examples.
        ArgumentError: see `combine`.
    """
    names = stream_names(streams, names)
    aligned = check_fit(streams, names=names, any_protocol=any_protocol)
    logits = combine(
        [part.logits for part in aligned],
        kind=kind,
        weights=weights,
        multi_label=streams[0].sigmoid,
    )
    shares = [1.0] * len(streams) if weights is None else [float(weight) for weight in weights]
    return fused_scores(aligned, logits, names, {"kind": kind, "weights": shares})


def check_fit(
    streams: Sequence[Scores], *, names: Sequence[str] | None = None, any_protocol: bool = False
) -> list[Scores]:
    """Check that streams match, and return them with the videos in the order of the first stream.

    Videos, classes and known targets must be equal. So must the views, the averaged quantity, the split and the subset,
    if both streams record them. A video that one of the networks was trained on is not a test video of the fusion.

    Args:
        streams: scores of at least two streams.
        names: names of the streams in messages.
        any_protocol: do not compare protocols.

    Raises:
        ArgumentError: fewer than two streams.
        ScoresError: two streams differ; the message names them and gives examples.
    """
    names = stream_names(streams, names)
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
        if different := protocol_differences(first, other, keys):
            raise ScoresError(
                f"{between}: protocols differ: {different}. Test both with one protocol, or allow the difference with "
                "--any-protocol (any_protocol=True)."
            )
    return [first, *(other.reordered(first.ids) for other in streams[1:])]


def stream_names(streams: Sequence[Scores], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [f"stream {number}" for number in range(1, len(streams) + 1)]
    if len(names) != len(streams):
        raise ArgumentError(f"names must be one per stream: {len(streams)} streams, {len(names)} names")
    return list(names)


def _shares(weights: Sequence[float] | None, count: int) -> Array:
    values = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.shape != (count,):
        raise ArgumentError(f"weights must be one per stream: {count} streams, {values.size} weights")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ArgumentError(
            f"weights must not be negative, and one must be above 0, got {', '.join(map(str, values))}"
        )
    return values / values.sum()


def protocol_differences(first: Scores, second: Scores, keys: Sequence[str]) -> str:
    """Describe the entries that both protocols have and that differ."""
    pairs: list[tuple[str, Any, Any]] = [
        (key, first.protocol.get(key), second.protocol.get(key)) for key in keys
    ]
    both = [(key, a, b) for key, a, b in pairs if a != b and None not in (a, b)]
    return ", ".join(
        f"{key} {a!r} and {b!r}" for key, a, b in both if key != "name" or views_named(a) != views_named(b)
    )


def known_targets(aligned: Sequence[Scores]) -> NDArray[np.int64]:
    """The first known target of every video over the streams."""
    targets = aligned[0].targets
    for part in aligned[1:]:
        targets = np.where(targets < 0, part.targets, targets)
    return targets


def fused_scores(
    aligned: Sequence[Scores], logits: Array, names: Sequence[str], description: dict[str, Any]
) -> Scores:
    first = aligned[0]
    protocols = [part.protocol for part in aligned]
    shared = {
        key: value
        for key, value in protocols[0].items()
        # A temperature of the parts, or their hits, are none of their fusion.
        if key not in ("temperature", "clip_hits") and all(other.get(key) == value for other in protocols)
    }
    views = list(dict.fromkeys(str(protocol["name"]) for protocol in protocols if protocol.get("name")))
    streams = [stream for protocol in protocols for stream in protocol.get("streams") or ()]
    sources = [{"name": name, "protocol": protocol} for name, protocol in zip(names, protocols, strict=True)]
    protocol: dict[str, Any] = {"name": "+".join(views)} if views else {}
    if streams:
        protocol["streams"] = list(dict.fromkeys(streams))
    protocol.update(shared)
    protocol["fusion"] = {**description, "sources": sources}
    targets = first.targets if first.multi_label else known_targets(aligned)
    return Scores(list(first.ids), logits.astype(np.float32), targets, list(first.classes), protocol)
