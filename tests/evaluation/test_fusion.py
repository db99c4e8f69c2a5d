"""Fusion against plain loops in numpy, on scores whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from praxiscope.errors import ArgumentError, ScoresError, UnknownNameError
from praxiscope.evaluation.fusion import FUSIONS, check_fit, combine, fuse
from praxiscope.evaluation.metrics import probabilities, top_k
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.svm import SvmFusion, check_training

CLASSES = ["jump", "run", "wave"]


def make(seed=0, n=6, k=3, prefix="v", multi_label=False, stream="rgb", **changes):
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % k
    fields = {
        "ids": [f"{prefix}{i}" for i in range(n)],
        "logits": rng.normal(size=(n, k), scale=3).astype(np.float32),
        "targets": np.eye(k, dtype=int)[targets] if multi_label else targets,
        "classes": CLASSES if k == 3 else [f"class {i}" for i in range(k)],
        "protocol": {"name": "25x10", "streams": [stream], "model": "tsn", "split": "1", "size": 224},
    }
    return Scores(**{**fields, **changes})


def with_protocol(scores, **changes):
    return dataclasses.replace(scores, protocol={**scores.protocol, **changes})


def softmax_of(row):
    powers = [math.exp(x) for x in row]
    return [x / sum(powers) for x in powers]


# ---------------------------------------------------------------------------------------- kinds, by loops


def by_hand(kind, rows, weights):
    """One video's fused quantity: probabilities for the average, else scores. ``rows``: its F score rows."""
    total = sum(weights)
    changed = []
    for row in rows:
        if kind == "average":
            changed.append(softmax_of(row))
        elif kind == "weighted":
            changed.append(row)
        elif kind == "l1":
            changed.append([x / sum(abs(y) for y in row) for x in row])
        else:
            changed.append([x / math.sqrt(sum(y * y for y in row)) for x in row])
    return [
        sum(w * row[k] for w, row in zip(weights, changed, strict=True)) / total for k in range(len(rows[0]))
    ]


@pytest.mark.parametrize("weights", [None, [1.0, 1.5, 0.25], [2.0, 0.0, 3.0]])
@pytest.mark.parametrize("kind", FUSIONS)
def test_every_kind_is_its_formula(kind, weights):
    streams = [make(seed) for seed in range(3)]
    fused = fuse(streams, kind=kind, weights=weights)
    found = probabilities(fused) if kind == "average" else fused.logits
    for i in range(len(fused)):
        rows = [[float(x) for x in stream.logits[i]] for stream in streams]
        expected = by_hand(kind, rows, weights or [1.0, 1.0, 1.0])
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


def test_of_weights_only_the_ratio_counts():
    streams = [make(0), make(1)]
    for kind in FUSIONS:
        np.testing.assert_allclose(
            fuse(streams, kind=kind, weights=[2, 3]).logits,
            fuse(streams, kind=kind, weights=[0.4, 0.6]).logits,
            rtol=1e-6,
        )


def test_multi_label_scores_are_averaged_behind_the_sigmoid():
    streams = [make(seed, multi_label=True) for seed in range(2)]
    fused = fuse(streams, weights=[1, 3])
    assert fused.multi_label
    expected = sum(
        w / (1 + np.exp(-s.logits.astype(float))) for w, s in zip([0.25, 0.75], streams, strict=True)
    )
    np.testing.assert_allclose(probabilities(fused), expected, rtol=1e-5)
    np.testing.assert_array_equal(fused.targets, streams[0].targets)


def test_networks_of_single_labels_are_averaged_behind_the_softmax_whatever_the_targets():
    several = [with_protocol(make(seed, multi_label=True), activation="softmax") for seed in range(2)]
    np.testing.assert_array_equal(fuse(several).logits, fuse([make(seed) for seed in range(2)]).logits)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_average_of_huge_scores_is_finite_and_right(multi_label):
    a = make(n=1, logits=[[4000.0, 0, -4000]], multi_label=multi_label)
    b = make(n=1, logits=[[-4000.0, 1000, -4000]], multi_label=multi_label)
    fused = fuse([a, b])  # Scores would refuse what is not finite
    expected = [[0.5, 0.5 if not multi_label else 0.75, 0]]
    np.testing.assert_allclose(probabilities(fused), expected, atol=1e-12)


def test_a_video_without_any_score_is_not_divided_by_zero():
    a, b = make(n=1, logits=[[0.0, 0, 0]]), make(n=1, logits=[[3.0, 0, 4]])
    np.testing.assert_allclose(fuse([a, b], kind="l2").logits, [[0.3, 0, 0.4]], rtol=1e-6)


def test_the_size_of_a_streams_scores_does_not_matter_to_l1_and_l2():
    a, b = make(0), make(1)
    large = dataclasses.replace(b, logits=b.logits * 1000)
    for kind in ("l1", "l2"):
        np.testing.assert_allclose(
            fuse([a, large], kind=kind).logits, fuse([a, b], kind=kind).logits, rtol=1e-5
        )


def test_averages_can_be_averaged_again():
    a, b, c = (make(seed) for seed in range(3))
    twice = fuse([fuse([a, b]), c], weights=[2, 1], kind="average")
    np.testing.assert_allclose(twice.logits, fuse([a, b, c]).logits, rtol=1e-5, atol=1e-6)
    assert twice.protocol["name"] == "25x10"
    inner = twice.protocol["fusion"]["sources"][0]["protocol"]["fusion"]
    assert [source["name"] for source in inner["sources"]] == ["stream 1", "stream 2"]


def test_rows_in_another_order_are_matched_by_their_ids():
    a, b = make(0), make(1)
    shuffled = b.reordered([b.ids[i] for i in (3, 0, 5, 1, 4, 2)])
    fused, expected = fuse([a, shuffled]), fuse([a, b])
    assert fused.ids == a.ids
    np.testing.assert_array_equal(fused.logits, expected.logits)
    np.testing.assert_array_equal(fused.targets, a.targets)


def test_a_label_that_one_stream_does_not_know_is_taken_from_another():
    a = make(0, targets=np.array([-1, 1, 2, 0, -1, 2]))
    b = make(1, targets=np.array([0, 1, 2, 0, -1, -1]))
    np.testing.assert_array_equal(fuse([a, b]).targets, [0, 1, 2, 0, -1, 2])


def test_the_protocol_keeps_what_all_agree_on_and_names_the_sources():
    a, b = make(0), with_protocol(make(1, stream="flow"), size=112)
    fused = fuse([a, b], kind="weighted", weights=[1, 1.5], names=["rgb.npz", "flow.npz"])
    fusion = fused.protocol.pop("fusion")
    assert fused.protocol == {"name": "25x10", "streams": ["rgb", "flow"], "model": "tsn", "split": "1"}
    assert fusion == {
        "kind": "weighted",
        "weights": [1.0, 1.5],
        "sources": [
            {"name": "rgb.npz", "protocol": a.protocol},
            {"name": "flow.npz", "protocol": b.protocol},
        ],
    }


def test_two_networks_of_one_stream_name_it_once():
    assert fuse([make(0), make(1), make(2, stream="flow")]).protocol["streams"] == ["rgb", "flow"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_fused_scores_come_back_from_their_file(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    fused = fuse([make(0), make(1)])
    back = Scores.load(fused.save(tmp_path / f"fused{suffix}"))
    assert (back.ids, back.classes, back.protocol) == (fused.ids, fused.classes, fused.protocol)
    np.testing.assert_array_equal(back.logits, fused.logits)


def test_no_videos_fuse_to_no_videos():
    for kind in FUSIONS:
        assert len(fuse([make(n=0), make(n=0)], kind=kind)) == 0


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (make(1, n=5), ["v5"]),
        (make(1, classes=["jump", "run", "walk"]), ["wave", "walk"]),
        (make(1, classes=["run", "jump", "wave"]), ["index 0"]),
        (make(1, targets=np.array([1, 1, 2, 0, 1, 2])), ["v0", "jump", "run"]),
        (make(1, multi_label=True), ["multi-label"]),
        (with_protocol(make(1), activation="sigmoid"), ["activations"]),
        (with_protocol(make(1), name="25x1"), ["name", "'25x10'", "'25x1'", "--any-protocol"]),
        (with_protocol(make(1), split="2"), ["split", "'1'", "'2'"]),
    ],
)
def test_streams_that_do_not_fit_are_named_with_what_differs(other, parts):
    with pytest.raises(ScoresError) as caught:
        fuse([make(0), make(0), other], names=["a.npz", "b.npz", "c.npz"])
    message = str(caught.value)
    assert "b.npz" not in message
    for part in ("a.npz", "c.npz", *parts):
        assert part in message


def test_any_protocol_lets_views_differ_and_says_so():
    fused = fuse([make(0), with_protocol(make(1), name="25x1")], any_protocol=True)
    assert fused.protocol["name"] == "25x10+25x1"
    with pytest.raises(ScoresError, match=r"\bv5\b"):
        fuse([make(0), make(1, n=5)], any_protocol=True)


def test_a_protocol_that_one_stream_does_not_record_is_no_difference():
    check_fit([make(0), make(1, protocol={})])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"weights\b.*\b2\b.*\b1\b"),
        ([1.0, -1.0], r"weights\b.*\b1\.0, -1\.0"),
        ([0.0, 0.0], r"weights\b.*\b0\.0, 0\.0"),
        ([1.0, math.nan], r"weights\b.*\b1\.0, nan"),
        ([1.0, math.inf], r"weights\b.*\b1\.0, inf"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises(ArgumentError, match=message):
        fuse([make(0), make(1)], weights=weights)


def test_one_stream_and_unknown_kinds_are_refused():
    with pytest.raises(ArgumentError, match=r"\b2 streams\b.*\b1\b"):
        fuse([make(0)])
    with pytest.raises(ArgumentError, match=r"\b2 streams\b.*\b1\b"):
        combine([make(0).logits])
    with pytest.raises(UnknownNameError, match=r"'avrage'.*'average'"):
        fuse([make(0), make(1)], kind="avrage")
    with pytest.raises(ArgumentError, match=r"\[videos, classes\].*\([23], 3\).*\([23], 3\)"):
        combine([np.zeros((2, 3)), np.zeros((3, 3))])
    with pytest.raises(ArgumentError, match=r"names\b.*\b2\b.*\b1\b"):
        fuse([make(0), make(1)], names=["a"])


# ------------------------------------------------------------------------------------------------- the SVM


def good_and_noise(seed, n, prefix, k=3):
    """A stream that is right on most videos but never sure of itself, and a sure one that knows nothing."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, k, n)
    good = np.eye(k)[targets] * 1.2 + rng.normal(scale=0.4, size=(n, k))
    noise = rng.normal(scale=6, size=(n, k))
    return (
        make(n=n, k=k, prefix=prefix, logits=good, targets=targets),
        make(n=n, k=k, prefix=prefix, logits=noise, targets=targets, stream="flow"),
    )


def accuracy(scores):
    return top_k(scores.logits, scores.targets)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_svm_learns_to_leave_out_a_stream_of_noise(k):
    training, test = good_and_noise(0, 300, "train", k), good_and_noise(1, 300, "test", k)
    machine = SvmFusion.fit(training)
    fused = machine.fuse(test)
    assert fused.logits.shape == (300, k)
    assert accuracy(fuse(test)) < accuracy(test[0]) - 0.05  # the average believes the noise
    assert accuracy(fused) > accuracy(fuse(test)) + 0.05
    assert accuracy(fused) > accuracy(test[0]) - 0.03
    assert machine.converged


@pytest.mark.parametrize("k", [2, 4])
def test_the_svm_is_scikit_learns_on_normalised_softmax(k):
    from sklearn.svm import LinearSVC

    training, test = good_and_noise(0, 80, "train", k), good_and_noise(1, 40, "test", k)

    def features(streams):
        columns = []
        for stream in streams:
            chances = np.array([softmax_of([float(x) for x in row]) for row in stream.logits])
            columns.append(chances / np.sqrt((chances**2).sum(axis=1, keepdims=True)))
        return np.hstack(columns)

    theirs = LinearSVC(multi_class="crammer_singer", C=0.5, dual=True, max_iter=20_000, random_state=0)
    theirs.fit(features(training), training[0].targets)
    ours = SvmFusion.fit(training, c=0.5).fuse(test)
    decisions = theirs.decision_function(features(test))
    if k == 2:
        np.testing.assert_allclose(ours.logits[:, 1] - ours.logits[:, 0], decisions, atol=1e-5)
    else:
        np.testing.assert_allclose(ours.logits, decisions, atol=1e-5)
    np.testing.assert_array_equal(ours.logits.argmax(1), theirs.predict(features(test)))


def test_c_is_the_smallest_of_the_best_in_cross_validation():
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import LinearSVC

    training = good_and_noise(3, 90, "train")
    machine = SvmFusion.fit(training)
    rows = []
    for stream in training:
        chances = np.array([softmax_of([float(x) for x in row]) for row in stream.logits])
        rows.append(chances / np.linalg.norm(chances, axis=1, keepdims=True))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for c, found in machine.cross_validated.items():
        theirs = LinearSVC(multi_class="crammer_singer", C=c, tol=0.01, max_iter=20_000, random_state=0)
        expected = cross_val_score(theirs, np.hstack(rows), training[0].targets, cv=folds).mean()
        assert found == pytest.approx(expected)
    best = max(machine.cross_validated.values())
    assert machine.c == min(c for c, value in machine.cross_validated.items() if value == best)


def test_of_equally_good_cs_the_smallest_is_taken():
    perfect = np.eye(3)[np.arange(30) % 3] * 20
    training = [make(n=30, logits=perfect), make(n=30, logits=perfect, stream="flow")]
    machine = SvmFusion.fit(training)
    assert set(machine.cross_validated.values()) == {1.0}
    assert machine.c == 0.01


def test_training_videos_without_a_label_teach_nothing():
    training = good_and_noise(0, 60, "train")
    extra = good_and_noise(7, 20, "unknown")
    more = [
        dataclasses.replace(
            a,
            ids=a.ids + b.ids,
            logits=np.concatenate([a.logits, b.logits]),
            targets=np.concatenate([a.targets, np.full(20, -1)]),
        )
        for a, b in zip(training, extra, strict=True)
    ]
    np.testing.assert_array_equal(
        SvmFusion.fit(more, c=1).coefficients, SvmFusion.fit(training, c=1).coefficients
    )


def test_svm_scores_record_c_and_the_training_scores():
    training, test = good_and_noise(0, 60, "train"), good_and_noise(1, 20, "test")
    fused = SvmFusion.fit(training, c=2, names=["ta", "tb"]).fuse(test, names=["a", "b"])
    fusion = fused.protocol["fusion"]
    assert (fusion["kind"], fusion["c"], fusion["training"]) == ("svm", 2.0, ["ta", "tb"])
    assert [source["name"] for source in fusion["sources"]] == ["a", "b"]


def test_a_solver_that_stopped_early_is_known(monkeypatch):
    from sklearn.svm import LinearSVC

    from praxiscope.evaluation import svm

    def impatient(c, seed, tolerance):
        return LinearSVC(multi_class="crammer_singer", C=c, dual=True, max_iter=1, random_state=seed)

    monkeypatch.setattr(svm, "_machine", impatient)
    assert not SvmFusion.fit(good_and_noise(0, 60, "train"), c=100).converged


def test_the_svm_refuses_what_it_cannot_learn_from():
    several = [make(seed, multi_label=True) for seed in range(2)]
    with pytest.raises(ScoresError, match="multi-label"):
        SvmFusion.fit(several)
    never = [make(seed, targets=np.array([0, 1, 0, 1, 0, -1])) for seed in range(2)]
    with pytest.raises(ScoresError, match=r"\(wave\)"):
        SvmFusion.fit(never)
    once = [make(seed, targets=np.array([0, 1, 0, 1, 0, 2])) for seed in range(2)]
    with pytest.raises(ScoresError, match=r"'wave'.*\b1\b.*--svm-c 1"):
        SvmFusion.fit(once)
    assert SvmFusion.fit(once, c=1).c == 1
    single = [make(seed, k=1, classes=["all"]) for seed in range(2)]
    with pytest.raises(ScoresError, match=r"\b2 classes\b"):
        SvmFusion.fit(single, c=1)
    for c in (0, -1, math.inf, math.nan):
        with pytest.raises(ArgumentError, match=rf"\bC\b.*{c}"):
            SvmFusion.fit(once, c=c)


def test_the_svm_refuses_other_streams_than_it_was_fitted_on():
    machine = SvmFusion.fit(good_and_noise(0, 60, "train"), c=1)
    a, b = good_and_noise(1, 20, "test")
    with pytest.raises(ScoresError, match=r"\b2 streams\b.*\b3 classes\b.*\b3 streams\b.*\b3\b"):
        machine.fuse([a, b, b])
    with pytest.raises(ScoresError, match=r"stream 1 .*multi-label"):
        machine.fuse([make(0, multi_label=True), make(1, multi_label=True)])
    renamed = [dataclasses.replace(part, classes=["x", "y", "z"]) for part in (a, b)]
    with pytest.raises(ScoresError, match="order"):
        machine.fuse(renamed)


def test_training_scores_must_be_of_other_videos_in_the_streams_order():
    training, test = good_and_noise(0, 60, "train"), good_and_noise(1, 20, "test")
    check_training(training, test)
    names = {"training_names": ["ta", "tb"], "names": ["a", "b"]}
    with pytest.raises(ScoresError, match=r"\bta\b.*\ba\b.*\['flow'\].*\['rgb'\]"):
        check_training(training[::-1], test, **names)
    with pytest.raises(ScoresError, match=r"\b2\b.*\(a, b\).*\b1\b.*\(ta\)"):
        check_training(training[:1], test, training_names=["ta"], names=["a", "b"])
    with pytest.raises(ScoresError, match=r"\b20 videos\b.*test0, test1, test2, ….*--subset train"):
        check_training(test, test, **names)
    other = [dataclasses.replace(part, classes=["jump", "run", "walk"]) for part in training]
    with pytest.raises(ScoresError, match=r"\bta\b.*\ba\b.*classes.*\bwalk\b"):
        check_training(other, test, **names)
    one_shared = dataclasses.replace(training[1], ids=[*training[1].ids[:-1], "test7"])
    with pytest.raises(ScoresError, match=r"\btb\b.*\bb\b.*\btest7\b"):
        check_training([training[0], one_shared], test, **names)
