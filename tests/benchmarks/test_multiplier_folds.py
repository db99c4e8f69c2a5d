"""The table of the benchmark of connections with every clip tested, of results made here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.multiplier import multiplier_rows

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("multiplier_folds")


def test_rows_and_pairs_are_known(module: Any) -> None:
    assert {*module.ROWS} <= {*multiplier_rows()}
    assert {name for pair in module.PAIRS for name in pair} == {*module.STREAMS, module.FUSED, *module.ROWS}


def test_the_loss_is_that_of_the_last_epoch(module: Any) -> None:
    log = [
        {"step": 1, "epoch": 0, "loss_rgb": 9.0, "loss_flow": 8.0},
        {"step": 2, "epoch": 1, "loss_rgb": 3.0, "loss_flow": 1.0},
        {"step": 3, "epoch": 1, "loss_rgb": 2.0, "loss_flow": 4.0},
        {"step": 3, "epoch": 1, "val_loss": 7.0},
    ]
    assert (module.last_loss(log, "rgb"), module.last_loss(log, "flow")) == (2.5, 2.5)


def test_late_fusion_is_that_of_the_scores_of_both_streams(module: Any, tmp_path: Path) -> None:
    logits = {"appearance": [[1.0, 2.0], [0.0, 3.0]], "motion": [[4.0, 0.0], [1.0, 0.5]]}
    for name, rows in logits.items():
        (tmp_path / f"{name}-1").mkdir()
        scores = Scores(["a", "b"], np.array(rows, np.float32), np.zeros(2, int), ["x", "y"])
        scores.save(tmp_path / f"{name}-1" / "scores.npz")
    fused = module._scores(tmp_path, module.FUSED, 1).logits
    np.testing.assert_allclose(np.diff(fused), [[-1.5], [1.25]], atol=1e-6)
