"""Intervals over groups and paired differences of benchmarks, in numbers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from praxiscope.evaluation.scores import Scores

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("by_group")


def scores(right: list[bool], ids: str) -> Scores:
    """Scores of clips of class 0 of two."""
    logits = np.array([[1.0, 0.0] if value else [0.0, 1.0] for value in right])
    return Scores(list(ids), logits, np.zeros(len(right), dtype=np.int64), ("x", "y"), {"name": "1x1"})


def test_a_clip_counts_with_its_fraction_of_right_runs(module: Any) -> None:
    one, two = scores([True, False], "ab"), scores([True, True], "ab")
    assert module.right_of([one, two]) == {"a": 1.0, "b": 0.5}
    assert module.right_of([scores([True], "a"), scores([False], "b")]) == {"a": 1.0, "b": 0.0}


def test_intervals_draw_groups_not_clips(module: Any) -> None:
    values = {str(n): float(n < 50) for n in range(100)}
    alone = module.interval(values, {clip: clip for clip in values})
    assert alone == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.011)
    halves = {clip: str(int(clip) < 50) for clip in values}
    assert module.interval(values, halves) == (0.0, 1.0)  # both draws are of one group in half of the cases
    assert module.interval(dict.fromkeys("abc", 0.25), dict(zip("abc", "ggh", strict=True))) == (0.25, 0.25)


def test_differences_are_paired(module: Any) -> None:
    ids, groups = "abcdef", dict(zip("abcdef", "gghhii", strict=True))
    one = [scores([True, True, True, True, False, True], ids)]
    two = [scores([True, False, False, True, False, True], ids)]
    found = module.compare(one, two, groups)
    assert found.mean == pytest.approx(2 / 6)
    assert found.p == pytest.approx(ttest_rel([1, 1, 1, 1, 0, 1], [1, 0, 0, 1, 0, 1]).pvalue)
    assert found.low <= found.mean <= found.high
    with pytest.raises(SystemExit):
        module.compare(one, [scores([True], "a")], groups)
