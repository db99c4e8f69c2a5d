"""Average precision of rankings, against the area below the curve, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from praxiscope.errors import ArgumentError
from praxiscope.retrieval.metrics import recall_at, trapezoidal_ap


def area(right: list[bool], positives: int) -> float:
    """The area below the points (recall, precision), which begin at (0, 1)."""
    hits = np.cumsum(right)
    precision = np.concatenate([[1.0], hits / np.arange(1, len(right) + 1)])
    return float(np.trapezoid(precision, np.concatenate([[0.0], hits / positives])))


def test_it_is_the_area_below_precision_over_recall() -> None:
    draw = np.random.default_rng(0)
    for positives in (1, 3, 10):
        ranked = draw.permutation(30).tolist()
        wanted = set(range(positives))
        expected = area([item in wanted for item in ranked], positives)
        assert trapezoidal_ap(ranked, wanted) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        ("ab", 1.0),
        ("axb", (1 + (1 / 2 + 2 / 3) / 2) / 2),  # the rank before the second positive has precision 1/2
        ("xab", ((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2),
        ("a", 0.5),
        ("xy", 0.0),
        ("", 0.0),
    ],
)
def test_average_precision_by_hand(ranked: str, expected: float) -> None:
    assert trapezoidal_ap(ranked, "ab") == pytest.approx(expected)


def test_junk_does_not_take_a_rank() -> None:
    assert trapezoidal_ap("jaxkb", "ab", junk="jk") == trapezoidal_ap("axb", "ab")
    assert trapezoidal_ap("jab", "abj", junk="j") == 1.0
    assert recall_at(1, "ja", "a", junk="j") == 1.0


def test_recall_is_whether_one_is_found() -> None:
    assert [recall_at(k, "xyab", "ab") for k in (1, 2, 3, 4, 9)] == [0, 0, 1, 1, 1]


def test_what_has_no_average_precision_is_refused() -> None:
    with pytest.raises(ArgumentError, match="positives"):
        trapezoidal_ap("ab", "")
    with pytest.raises(ArgumentError, match="positives"):
        trapezoidal_ap("ab", "a", junk="a")
    with pytest.raises(ArgumentError, match="twice"):
        trapezoidal_ap("aa", "a")
    with pytest.raises(ArgumentError, match="k must"):
        recall_at(0, "a", "a")
