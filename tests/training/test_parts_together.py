"""Parts of one video look alike, so cross-validation holds them out together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import praxiscope.training.feature_fit as feature_fit
import praxiscope.training.probe_start as probe_start
from praxiscope.data.manifest import Manifest
from praxiscope.data.splitlist import Learned
from praxiscope.types import VideoRecord

RECORDS = tuple(
    VideoRecord(f"{name}@{part}-{part + 1}", Path(name), ("AB"[part % 2],), part, part + 1, "train", group)
    for name, group in (("a", None), ("b", None), ("c", "g"), ("d", "g"))
    for part in range(2)
)
MANIFEST = Manifest(RECORDS, ("A", "B"), False, "set", Path())
SOURCES = ["a", "a", "b", "b", "g", "g", "g", "g"]


class Seen(Exception):
    """The groups of a cross-validation."""


def seen(x: Any, targets: Any, *more: Any, **options: Any) -> None:
    raise Seen(next(value for value in more if isinstance(value, list)))


def test_by_the_fit_of_a_model_to_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(feature_fit, "frame_features", lambda store, id, maps: torch.zeros(1, 2))
    model: Any = SimpleNamespace(describe=lambda features: features[0], fit=seen)
    monkeypatch.setattr(feature_fit, "trained_on", lambda network: Learned())

    class Stored(list[str]):
        network = tmp_path
        contract = SimpleNamespace(shape=(2,))

    store: Any = Stored(record.id for record in RECORDS)
    card: Any = None
    with pytest.raises(Seen) as raised:
        feature_fit.fit_to_store(model, card, store, MANIFEST, scratch=tmp_path)
    assert raised.value.args == (SOURCES,)


def test_by_the_regression_that_a_training_starts_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def features(*given: Any) -> dict[str, torch.Tensor]:
        return {record.id: torch.arange(2.0) for record in RECORDS}

    monkeypatch.setattr(probe_start, "_not_fitted", lambda *given: None)
    monkeypatch.setattr(probe_start, "_features", features)
    monkeypatch.setattr(probe_start, "choose_l2", seen)
    settings: Any = SimpleNamespace(run=SimpleNamespace(seed=0))
    nothing: Sequence[Any] = [None] * 4
    with pytest.raises(Seen) as raised:
        probe_start.start_from_probe(settings, MANIFEST, *nothing)
    assert raised.value.args == (SOURCES,)
