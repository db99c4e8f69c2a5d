"""Paired comparisons, against closed forms, enumeration and simulation."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from praxiscope.errors import ArgumentError, ScoresError
from praxiscope.evaluation.comparison import (
    System,
    compare,
    holm,
    interval,
    mcnemar,
    read_system,
    sign_flip,
)
from praxiscope.evaluation.power import power, smallest_difference
from praxiscope.evaluation.scores import Scores


def _system(name: str, right: list[list[int]]) -> System:
    ids = tuple(f"v{i}" for i in range(len(right)))
    return System(name, ids, ("a",) * len(right), np.array(right, dtype=bool))


def _scores(ids: list[str], right: list[int], classes: tuple[str, ...] = ("a", "b")) -> Scores:
    logits = np.array([[1, 0] if value else [0, 1] for value in right], dtype=np.float32)
    return Scores(ids, logits, np.zeros(len(ids), dtype=np.int64), list(classes))


def test_runs_of_folds_and_seeds_are_joined() -> None:
    runs = [
        _scores(["b", "a"], [1, 0]),
        _scores(["c"], [1]),
        _scores(["a", "b"], [1, 1]),
        _scores(["c"], [0]),
    ]
    found = read_system("x", runs)
    assert found.ids == ("a", "b", "c")
    assert found.right.tolist() == [[False, True], [True, True], [True, False]]
    assert found.each.tolist() == [0.5, 1.0, 0.5]
    assert np.allclose(found.accuracies, [2 / 3, 2 / 3])


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ScoresError, match="b was scored by 1 run"):
        read_system("x", [_scores(["a", "b"], [1, 0]), _scores(["a"], [1])])
    with pytest.raises(ScoresError, match="different classes"):
        read_system("x", [_scores(["a"], [1]), _scores(["b"], [1], ("a", "c"))])
    with pytest.raises(ScoresError, match="no scored videos"):
        read_system("x", [])
    several = Scores(["a"], np.zeros((1, 2), np.float32), np.array([[1, 1]]), ["a", "b"])
    with pytest.raises(ScoresError, match="several labels"):
        read_system("x", [several])
    unknown = Scores(["a"], np.zeros((1, 2), np.float32), np.array([-1]), ["a", "b"])
    with pytest.raises(ScoresError, match="no known label"):
        read_system("x", [unknown])
    one, other = _system("x", [[1], [0]]), _system("y", [[1], [0], [1]])
    with pytest.raises(ScoresError, match="v2"):
        compare(one, other, {f"v{i}": "g" for i in range(3)})
    with pytest.raises(ScoresError, match="v1"):
        compare(one, one, {"v0": "g"})


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (3, 9), (9, 3), (5, 5), (0, 12), (40, 61)])
def test_the_exact_mcnemar_test_is_a_binomial_test(one: int, other: int) -> None:
    n, least = one + other, min(one, other)
    tail = sum(comb(n, k) for k in range(least + 1)) / 2**n
    assert mcnemar(one, other) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_signs_of_few_groups_are_enumerated() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(0.3, 1, 24), [f"g{i % 8}" for i in range(24)]
    sums = [sum(v for v, g in zip(values, groups, strict=True) if g == f"g{k}") for k in range(8)]
    totals = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in product((-1, 1), repeat=8)
    ]
    expected = np.mean([total >= abs(sum(sums)) - 1e-9 for total in totals])
    assert sign_flip(values, groups) == pytest.approx(float(expected))
    assert sign_flip(np.zeros(5), list("abcde")) == 1.0
    assert sign_flip(np.ones(4), list("abcd")) == pytest.approx(2 / 16)


def test_signs_of_many_groups_agree_with_a_normal_approximation() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice((-1.0, 0.0, 1.0), p=(0.1, 0.7, 0.2), size=400)
    p = sign_flip(values, [str(i) for i in range(400)])
    from scipy.stats import norm

    expected = 2 * norm.sf(abs(values.sum()) / np.sqrt((values**2).sum()))
    assert p == pytest.approx(expected, abs=0.01)


def test_videos_of_a_group_count_as_one_for_the_test_and_the_interval() -> None:
    rng = np.random.default_rng(2)
    each = rng.choice((-1.0, 0.0, 1.0), p=(0.2, 0.5, 0.3), size=40)
    copies, groups = np.repeat(each, 10), [str(i // 10) for i in range(400)]
    alone, copied = (
        interval(x, g, (-1, 1)) for x, g in ((each, [str(i) for i in range(40)]), (copies, groups))
    )
    assert copied == pytest.approx(alone, abs=0.04)
    assert interval(copies, [str(i) for i in range(400)], (-1, 1))[0] > copied[0] + 0.05
    assert sign_flip(copies, groups) == pytest.approx(sign_flip(each, [str(i) for i in range(40)]), abs=0.02)


def test_the_interval_is_that_of_a_proportion() -> None:
    values = np.array([1.0] * 600 + [0.0] * 400)
    low, high = interval(values, [str(i) for i in range(1000)])
    wide = 1.96 * np.sqrt(0.6 * 0.4 / 1000)
    assert (low, high) == pytest.approx((0.6 - wide, 0.6 + wide), abs=0.003)


def test_no_video_that_differs_does_not_exclude_every_difference() -> None:
    low, high = interval(np.zeros(225), [str(i) for i in range(225)], (-1, 1))
    # Two of 227 videos, one each way: the adjusted interval of Agresti and Min.
    assert (low, high) == pytest.approx((-0.0122, 0.0122), abs=0.002)
    assert interval(np.ones(30), [str(i) for i in range(30)])[0] < 0.97
    assert interval(np.zeros(30), ["one"] * 30, (-1, 1)) == (-1, 1)


@pytest.mark.parametrize(("groups", "each"), [(4, 200), (9, 50), (60, 1)])
def test_intervals_hold_the_difference_as_often_as_they_say(groups: int, each: int) -> None:
    rng = np.random.default_rng(0)
    names = [str(i // each) for i in range(groups * each)]
    held, tries = 0, 150
    for _ in range(tries):
        of_group = np.repeat(rng.normal(0.05, 0.1, groups), each)
        chance = rng.random(groups * each)
        values = np.where(chance < 0.15 + of_group, 1.0, np.where(chance > 0.85, -1.0, 0.0))
        low, high = interval(values, names, (-1, 1))
        held += low <= 0.05 <= high
    assert 0.9 <= held / tries <= 1


def test_a_difference_has_its_sign_its_counts_and_each_run() -> None:
    one = _system("one", [[1, 1], [1, 0], [0, 0], [1, 1]])
    other = _system("other", [[0, 1], [0, 0], [1, 0], [1, 1]])
    groups = {f"v{i}": f"v{i}" for i in range(4)}
    found = compare(one, other, groups)
    assert found.mean == pytest.approx((0.5 + 0.5 - 0.5 + 0) / 4)
    # Means over the four pairs of runs: 2, 2, 1, 1 and 1, 0, 1, 0.
    assert found.alone == (1.0, 0.5)
    assert found.mcnemar == (mcnemar(2, 1), 1.0)
    assert found.low <= found.mean <= found.high
    assert found.largest == max(abs(found.low), abs(found.high))
    assert found.can_show == pytest.approx((found.high - found.low) / 2 * (1.96 + 0.8416) / 1.96, rel=1e-3)
    turned = compare(other, one, groups)
    assert (turned.mean, turned.p, turned.alone) == (-found.mean, found.p, (0.5, 1.0))
    single = _system("single", [[0], [0], [1], [1]])
    beside = compare(one, single, groups)
    assert beside.alone == (1.5, 1.0)
    assert beside.mcnemar == (mcnemar(2, 1), 1.0)


def test_systems_with_other_labels_are_refused() -> None:
    one = _system("one", [[1], [0]])
    other = System("other", one.ids, ("a", "b"), one.right)
    with pytest.raises(ScoresError, match="v1"):
        compare(one, other, {"v0": "x", "v1": "y"})
    first, second = _scores(["a"], [1]), _scores(["a"], [1])
    second.targets[:] = 1
    with pytest.raises(ScoresError, match="different labels"):
        read_system("x", [first, second])


def test_holm_is_monotone_and_bounded() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("videos", "differing", "difference"), [(63, 0.3, 0.2), (225, 0.1, 0.05), (40, 0.5, 0.0)]
)
def test_the_power_is_that_of_simulated_tests(videos: int, differing: float, difference: float) -> None:
    rng = np.random.default_rng(0)
    shares = [(differing + difference) / 2, (differing - difference) / 2, 1 - differing]
    drawn = [*map(tuple, rng.multinomial(videos, shares, size=4000)[:, :2].tolist())]
    known = {(a, b): mcnemar(a, b) <= 0.05 for a, b in set(drawn)}  # most are drawn many times
    shown = np.mean([known[a, b] for a, b in drawn])
    assert power(videos, differing, difference) == pytest.approx(float(shown), abs=0.025)


def test_the_smallest_difference_has_the_wanted_power() -> None:
    found = smallest_difference(225, 0.1)
    assert found is not None
    assert power(225, 0.1, found) >= 0.8 > power(225, 0.1, found - 0.002)
    assert smallest_difference(10, 0.1) is None
    more = smallest_difference(2000, 0.1)
    assert more is not None
    assert more < found


@pytest.mark.parametrize(
    "values", [(0, 0.1, 0.05), (10, 0.0, 0.0), (10, 1.5, 0.1), (10, 0.1, 0.2), (10, 0.1, -0.1)]
)
def test_powers_of_what_cannot_be_are_refused(values: tuple[int, float, float]) -> None:
    with pytest.raises(ArgumentError):
        power(*values)
