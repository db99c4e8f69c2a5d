"""The benchmark scripts on stored features: what is drawn, planted and compared, and that finished runs are read."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from praxiscope.data.manifest import Manifest, load_records
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.scores import Scores
from praxiscope.types import VideoRecord
from support import make_store

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def a_set(per_class: int = 6) -> Manifest:
    """Two classes with groups of two clips, and two test clips of each class."""
    records = [
        VideoRecord(
            f"{label}/{n}.mp4",
            Path(f"{label}/{n}.mp4"),
            (label,),
            split="test" if n < 2 else "train",
            group=f"{label}{n // 2}",
        )
        for label in "ab"
        for n in range(2 + 2 * per_class)
    ]
    return Manifest(tuple(records), ("a", "b"), False, "made", Path())


def test_planted_labels_are_other_classes_of_as_many_training_clips(script) -> None:  # type: ignore[no-untyped-def]
    planted = script("label_errors").planted
    records, wrong = planted(a_set(), 5, seed=0)
    changed = {one.id for one in records if one.id[0] != one.labels[0]}
    assert changed == wrong
    assert (len(wrong), len(records), {one.split for one in records}) == (5, 24, {"train"})
    assert planted(a_set(), 5, seed=1)[1] != wrong


def test_drawn_clips_are_of_different_groups_and_smaller_sets_are_parts_of_larger(script) -> None:  # type: ignore[no-untyped-def]
    drawn = script("few_clips").drawn
    one, three = (drawn(a_set(), count, seed=0) for count in (1, 3))
    assert Counter(record.labels[0] for record in three if record.split == "train") == {"a": 3, "b": 3}
    groups = [record.group for record in three if record.split == "train"]
    assert len(set(groups)) == 6
    assert sum(record.split == "test" for record in three) == 4
    assert {record.id for record in one} <= {record.id for record in three}
    assert {record.id for record in drawn(a_set(), 1, seed=1)} != {record.id for record in one}


def test_a_list_of_its_own_keeps_the_features(script, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from praxiscope.features.store import FeatureStore

    features = {f"{n}.mp4": np.full((2, 3), n, np.float32) for n in range(5)}
    store = make_store(
        tmp_path / "features", features, {name: "ab"[n % 2] for n, name in enumerate(features)}
    )
    kept = [record for record in load_records(store.root, random_split=False).records if record.id != "2.mp4"]
    listed = script("stores").with_list(store.root, tmp_path / "listed", kept, ["a", "b"])
    assert [record.id for record in load_records(listed, random_split=False).records] == [
        one.id for one in kept
    ]
    assert float(FeatureStore(listed).clip("3.mp4").features[0, 0]) == 3


def test_a_finished_run_is_not_trained_again(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    stores = script("stores")
    scores = Scores(list("abc"), np.eye(3, dtype=np.float32), np.array([0, 1, 1]), ["x", "y", "z"])

    def test(run: Path, data: str, *, out: Path, **options: object) -> Scores:
        scores.save(out)
        return scores

    monkeypatch.setattr(stores.px, "test", test)
    trained: list[int] = []
    for _ in range(2):
        (tmp_path / "run").mkdir(exist_ok=True)
        result = stores.train_and_test(tmp_path / "run", lambda: trained.append(1), "data")
        assert result.top1 == pytest.approx(2 / 3)
    assert trained == [1]
    with pytest.raises(ArgumentError, match=r"run: "):
        stores.train_and_test(tmp_path / "run", lambda: None, "data", settings={"optim.epochs": 2})


@pytest.mark.parametrize("name", ["few_clips", "default_training"])
def test_a_training_without_a_checkpoint_begins_again(  # type: ignore[no-untyped-def]
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module, resumed = script(name), []
    monkeypatch.setattr(module.px, "train", lambda *data, resume, **given: resumed.append(resume))
    (tmp_path / "settings.yaml").touch()
    given = (
        ("data", tmp_path, {})
        if name == "default_training"
        else ("fine-tuned", "data", tmp_path, 0, {}, True)
    )
    module.trainer(*given)()
    (tmp_path / "run.json").write_text('{"last": "0"}')
    module.trainer(*given)()
    assert resumed == [False, True]


def test_few_clips_shows_the_runs_that_are_there(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    few, stores = script("few_clips"), script("stores")
    draw = np.random.default_rng(0)

    def result(quality: float) -> object:
        targets = np.arange(20) % 2
        guesses = np.where(draw.random(20) < quality, targets, 1 - targets)
        scores = Scores(
            [str(n) for n in range(20)], np.eye(2, dtype=np.float32)[guesses], targets, ["x", "y"]
        )
        return stores.Result(scores, float((guesses == targets).mean()), 1.0, 1.0, "a day, a machine")

    results = {("probe", count, seed): result(0.9) for count in (1, 2) for seed in range(3)}
    results |= {("random", 2, seed): result(0.5) for seed in range(3)}
    rows = few.comparisons(results, [1, 2], ["probe", "random"])
    assert [row[:3] for row in rows] == [[2, "probe", "random"]]
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / "few_clips.py"), "data"])
    options = few.parser(None, str(SCRIPTS / "few_clips.py")).parse_args(["--out", str(tmp_path)])
    options.counts, options.seeds = [1, 2], 3
    few.write(options, results, 20, 2)
    page = (tmp_path / "few_clips.md").read_text()
    assert page.count("\n| probe | ") == 2
    assert (tmp_path / "few_clips.png").is_file()
