"""The tables of the benchmark over time, of results made here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from praxiscope.evaluation.scores import Scores
from praxiscope.types import VideoRecord
from support import write_clip

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("over_time")


def result(module: Any, guesses: list[int], certainty: float = 5.0) -> Any:
    """Two films of each of three clips, all of class 0."""
    ids = [f"test{clip:03d}_{turn}.mp4" for clip in range(3) for turn in range(2)]
    logits = certainty * np.eye(2, dtype=np.float32)[guesses]
    scores = Scores(ids, logits, np.zeros(6, int), ["x", "y"])
    return module.Result(scores, float(np.mean(np.array(guesses) == 0)), 1.0, 1.0, "a day, a machine")


def test_films_of_one_clip_count_as_one(module: Any) -> None:
    rows = [result(module, [0, 0, 0, 1, 1, 1]), result(module, [0, 1, 0, 1, 1, 1])]
    by_clip = [0.75, 0.5, 0.0]
    assert module.right_of(rows) == {"test000": 0.75, "test001": 0.5, "test002": 0.0}
    found = module.accuracy(rows)
    interval = ttest_1samp(by_clip, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(by_clip))
    assert (found.low, found.high) == pytest.approx((max(interval.low, 0), min(interval.high, 1)))
    other = [result(module, [0, 0, 0, 0, 0, 1]), result(module, [0, 0, 0, 0, 1, 1])]
    compared = module.comparisons("long", {("rgb@1", "conv-30"): rows, ("rgb@1", "single frame"): other})
    (row,) = compared.rows
    assert row[2] == f"{np.mean(by_clip) - np.mean([1, 1, 0.25]):+.3f}"
    assert float(row[3]) == pytest.approx(ttest_rel(by_clip, [1, 1, 0.25]).pvalue, rel=0.05)


def test_fused_streams_have_the_mean_of_the_probabilities(module: Any) -> None:
    sure, unsure = result(module, [0] * 6, certainty=4.0), result(module, [1] * 6, certainty=1.0)
    made = module.with_fused({("rgb@1", "conv-1"): [sure], ("flow@1", "conv-1"): [unsure]})
    (fused,) = made["fused@1", "conv-1"]
    expected = (1 / (1 + np.exp(-4.0)) + 1 / (1 + np.exp(1.0))) / 2
    np.testing.assert_allclose(np.exp(fused.scores.logits[:, 0]), expected, rtol=1e-6)
    assert fused.top1 == 1
    _, found, chance = module.panel("long", made, 1.0)
    assert set(found) == {("conv-1", "rgb"), ("conv-1", "flow"), ("conv-1", "fused")}
    assert chance == 0.5


def test_a_long_video_shows_its_action_once_between_others(module: Any, tmp_path: Path) -> None:
    films = importlib.import_module("films")
    for name in ("own", "other"):
        write_clip(tmp_path / f"{name}.mp4", 0, frames=10)
    own, other = (VideoRecord(name, tmp_path / f"{name}.mp4", (name,)) for name in ("own", "other"))
    length = 10 / module.px.open_video(own.path).fps
    starts = []
    for seed in range(5):
        parts = films.amid(own, [other], 20 * length, 4 * length, np.random.default_rng(seed))
        shown = [place for place, part in enumerate(parts) if part.label]
        assert [parts[place].label for place in shown] == ["own"] * 4
        assert shown == [*range(shown[0], shown[0] + 4)]
        assert sum(part.seconds for part in parts) == pytest.approx(20 * length, abs=1.0)
        starts.append(sum(part.seconds for part in parts[: shown[0]]))
    assert len(set(starts)) > 2
