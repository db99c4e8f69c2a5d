"""The gain of one network over another: accuracies by hand, intervals against closed forms and a plain bootstrap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from praxiscope.errors import ArgumentError, ScoresError
from praxiscope.evaluation.class_gain import _interval, class_gains
from praxiscope.evaluation.scores import Scores

CLASSES = ["a", "b", "c"]


def scores(answers: str, targets: str, ids: Any = None) -> Scores:
    """A network that gives these answers."""
    logits = np.eye(3, dtype=np.float32)[[CLASSES.index(one) for one in answers]]
    numbers = np.array([CLASSES.index(one) if one in CLASSES else -1 for one in targets])
    return Scores(list(ids or map(str, range(len(answers)))), logits, numbers, CLASSES)


def test_accuracies_are_those_by_hand_and_gains_are_sorted() -> None:
    #                     right of one: aab, of the other: aba
    one, other = scores("aacbbb", "aabbbb"), scores("abbbab", "aabbbb")
    whole, *classes = class_gains(one, other)
    assert (whole.label, whole.videos, whole.groups) == ("", 6, 6)
    assert (whole.one, whole.other, whole.gain) == (5 / 6, 4 / 6, pytest.approx(1 / 6))
    assert [(found.label, found.videos, found.one, found.other) for found in classes] == [
        ("a", 2, 1.0, 0.5),
        ("b", 4, 0.75, 0.75),
    ]


def test_the_order_of_the_videos_does_not_matter_and_unknown_classes_are_left_out() -> None:
    one, other = scores("abca", "abc?", "wxyz"), scores("aacb", "?cba", "zyxw")
    whole, *classes = class_gains(one, other)
    # z has no class; w, x and y are of a, b and c; the other answers b, c and a.
    assert (whole.videos, whole.one, whole.other) == (3, 1.0, 0.0)
    assert [found.gain for found in classes] == [1.0, 1.0, 1.0]


def test_the_interval_of_many_videos_is_that_of_the_normal_distribution() -> None:
    gained = np.repeat([1.0, 0.0, -1.0], [300, 600, 100])
    low, high = _interval(gained, np.ones(1000, dtype=np.int64), np.random.default_rng(0))
    half = 1.96 * gained.std() / math.sqrt(1000)
    assert (low, high) == (pytest.approx(0.2 - half, abs=2e-3), pytest.approx(0.2 + half, abs=2e-3))


def test_groups_are_drawn_as_a_plain_bootstrap_draws_them() -> None:
    draw = np.random.default_rng(1)
    sizes = draw.integers(1, 6, 12)
    gained = np.array([draw.integers(-size, size + 1) for size in sizes], dtype=float)
    found = _interval(gained, sizes, np.random.default_rng(2))
    rows = draw.integers(0, 12, (40_000, 12))
    plain = np.quantile(gained[rows].sum(1) / sizes[rows].sum(1), [0.025, 0.975])
    assert found == pytest.approx(plain, abs=0.03)


def test_videos_of_a_group_are_drawn_together() -> None:
    one, other = scores("a" * 40, "a" * 40), scores("a" * 20 + "b" * 20, "a" * 40)
    alone = class_gains(one, other)[1]
    together = class_gains(one, other, {str(number): f"g{number // 10}" for number in range(40)})[1]
    assert (alone.groups, together.groups) == (40, 4)
    assert alone.gain == together.gain == 0.5
    assert (together.low, together.high) == (0.0, 1.0)
    assert 0.3 < alone.low < alone.high < 0.7


def test_one_group_has_no_interval() -> None:
    found = class_gains(scores("ab", "ab"), scores("aa", "ab"))
    assert math.isnan(found[1].low)
    assert not math.isnan(found[0].low)


def test_the_same_seed_gives_the_same_interval() -> None:
    one, other = scores("abcabc", "abcabc"), scores("abbaac", "abcabc")
    assert class_gains(one, other, seed=3)[0] == class_gains(one, other, seed=3)[0]


def test_scores_that_cannot_be_compared_are_refused() -> None:
    one = scores("ab", "ab", "xy")
    with pytest.raises(ScoresError, match=r"videos differ.*z"):
        class_gains(one, scores("ab", "ab", "xz"))
    with pytest.raises(ScoresError, match="targets differ"):
        class_gains(one, scores("ab", "ac", "xy"))
    with pytest.raises(ScoresError, match="known class"):
        class_gains(scores("ab", "??"), scores("ab", "??"))
    with pytest.raises(ArgumentError, match=r"1 of .* y"):
        class_gains(one, one, {"x": "g"})
    several = Scores(["x"], np.zeros((1, 3)), np.array([[1, 1, 0]]), CLASSES)
    with pytest.raises(ArgumentError, match="several labels"):
        class_gains(several, several)
