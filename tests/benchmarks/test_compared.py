"""Rows that are trained on every fold: which runs there are, who trains them, and the tables of their scores."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from praxiscope.data.csvfile import write_csv
from praxiscope.data.folds import Fold
from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError, ScoresError
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.named import get_recipe
from praxiscope.types import VideoRecord

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("compared")


@pytest.fixture
def trained(compared: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, int, str]]:
    """What is trained: the name of the run's folder, the split, the seed and the subset."""
    found: list[tuple[str, str | None, int, str]] = []

    def experiment(
        settings: Any, run: Path, protocol: str, *, source: Any, task: str | None, subset: str = "test"
    ) -> str:
        assert source == settings.data.sources()[task or ""]
        found.append((run.name, source.split, settings.run.seed, "_".join(filter(None, (task, subset)))))
        return run.name

    monkeypatch.setattr(compared, "experiment", experiment)
    return found


def rows_of(compared: Any, out: Path, **changes: Any) -> Any:
    settings = get_recipe("default").updated(
        {"data.source": "videos", "model.name": "tsn", "data.split": "1"}
    )
    return compared.Rows({"A": settings, "B, L = 10": settings}, out, "25x1", **{"folds": 3, **changes})


def test_every_row_is_trained_on_every_fold_with_every_seed(
    compared: Any, tmp_path: Path, trained: list[Any]
) -> None:
    found = rows_of(compared, tmp_path, seeds=2).train()
    assert {name: len(runs) for name, runs in found.items()} == {"A": 6, "B, L = 10": 6}
    assert found["A"] == [f"A-{seed}-fold{fold}of3" for seed in (0, 1) for fold in (1, 2, 3)]
    assert found["B, L = 10"][0] == "B-L-10-0-fold1of3"
    assert {(split, seed) for _, split, seed, _ in trained} == {
        (f"{k}/3", seed) for k in (1, 2, 3) for seed in (0, 1)
    }


def test_without_folds_the_split_of_the_settings_stays(
    compared: Any, tmp_path: Path, trained: list[Any]
) -> None:
    rows_of(compared, tmp_path, folds=None, seeds=2).train()
    assert [(name, split) for name, split, _, _ in trained] == [
        ("A-0", "1"), ("B-L-10-0", "1"), ("A-1", "1"), ("B-L-10-1", "1")
    ]  # fmt: skip


def test_rows_of_two_data_sets_are_tested_on_a_fold_of_each(
    compared: Any, tmp_path: Path, trained: list[Any]
) -> None:
    rows = rows_of(compared, tmp_path, folds=2)
    tasks = {"a": {"source": "one", "split": "1"}, "b": {"source": "other", "flow": None}}
    settings = get_recipe("default").updated({"data.tasks": tasks})
    rows = rows._replace(settings={"both": settings})
    assert rows.train() == {"both": [f"both-0-fold{fold}of2" for fold in (1, 1, 2, 2)]}
    assert trained == [
        (f"both-0-fold{fold}of2", f"{fold}/2", 0, f"{task}_test") for fold in (1, 2) for task in "ab"
    ]
    for task, guess in (("a", 0), ("b", 1)):
        for number in (1, 2):
            folder = rows.folder("both", 0, Fold(number, 2))
            folder.mkdir(parents=True, exist_ok=True)
            logits = np.eye(2, dtype=np.float32)[[guess]]
            Scores([str(number)], logits, np.array([0]), ["x", "y"]).save(folder / f"scores_25x1_{task}.npz")
    assert rows.system("both", "a").right.tolist() == [[True], [True]]
    assert rows.system("both", "b").right.tolist() == [[False], [False]]


def test_shares_divide_the_runs(compared: Any, tmp_path: Path, trained: list[Any]) -> None:
    rows = rows_of(compared, tmp_path, with_train=("A",))
    rows.train()
    every = trained.copy()
    assert len(every) == 9, "three folds of two rows, and the training clips of one"
    trained.clear()
    first = rows.train(Fold(1, 2))
    assert sum(map(len, first.values())) == 3
    rows.train(Fold(2, 2))
    assert sorted(trained, key=str) == sorted(every, key=str)


def parse(compared: Any, *words: str) -> argparse.Namespace:
    arguments = argparse.ArgumentParser()
    compared.add_fold_options(arguments)
    return arguments.parse_args(words)


def test_options_of_folds(compared: Any) -> None:
    assert parse(compared) == argparse.Namespace(folds=5, seeds=1, share=None)
    assert parse(compared, "--share", "2/3", "--folds", "2").share == Fold(2, 3)


@pytest.mark.parametrize(
    "words",
    [
        *(("--share", text) for text in ("3", "0/2", "3/2", "1/1", "a/b")),
        *(("--folds", text) for text in ("1", "0", "-1", "x")),
        ("--seeds", "0"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    compared: Any, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(compared, *words)
    assert f"argument {words[0]}: {words[1]}: must be" in capsys.readouterr().err


def test_missing_flow_is_found_before_any_training(compared: Any, tmp_path: Path, trained: list[Any]) -> None:
    rows = rows_of(compared, tmp_path)
    settings = rows.settings["A"].updated({"model.stream": "flow", "data.flow": str(tmp_path / "absent")})
    with pytest.raises(DataError, match="absent"):
        rows._replace(settings={**rows.settings, "flow": settings}).train()
    assert trained == []


def save(rows: Any, name: str, guesses: dict[int, list[int]]) -> None:
    """Scores of each fold: clip i of fold k is of class i, and classified as ``guesses[k][i]``."""
    for k, of_fold in guesses.items():
        folder = rows.folder(name, 0, Fold(k, rows.folds))
        folder.mkdir(parents=True)
        logits = np.eye(2, dtype=np.float32)[of_fold] * 4
        for ending in ("", "_train"):
            often = 6 if ending else 1  # enough training clips for an SVM
            ids = [f"{k}{i}{ending}" for i in range(often * len(of_fold))]
            targets = np.tile(np.arange(len(of_fold)), often)
            scores = Scores(ids, np.tile(logits, (often, 1)), targets, ["x", "y"])
            scores.save(folder / f"scores_25x1{ending}.npz")


def test_tables_have_all_clips_of_all_folds(compared: Any, tmp_path: Path) -> None:
    rows = rows_of(compared, tmp_path)
    save(rows, "A", {1: [0, 1], 2: [0, 1], 3: [0, 0]})
    save(rows, "B, L = 10", {1: [0, 0], 2: [0, 0], 3: [0, 0]})
    systems = [rows.system(name) for name in rows.settings]
    pairs = [("A", "B, L = 10"), ("A", "absent")]
    first, second = compared.comparison_tables("Title", systems, None, pairs)
    assert first.heading == "Title"
    accuracy = first.header.index("accuracy")
    assert [(row[0], row[1], row[accuracy]) for row in first.rows] == [
        ("A", "6", "0.833"), ("B, L = 10", "6", "0.500")
    ]  # fmt: skip
    assert [row[:2] for row in second.rows] == [["A - B, L = 10", "+0.333"]]
    assert second.rows[0][second.header.index("right alone")] == "2 / 0"
    assert len(rows.scores("A", "train")) == 3
    (alone,) = compared.comparison_tables("", systems, None, [("A", "absent")])
    assert len(alone.rows) == 2, "no pair that is wanted can be formed: no other pairs instead"
    assert compared.Comparison(systems, compared.groups_of(systems, None), []).differences == {}


def test_a_missing_fold_is_named(compared: Any, tmp_path: Path) -> None:
    rows = rows_of(compared, tmp_path)
    save(rows, "A", {1: [0, 1], 2: [0, 1]})
    with pytest.raises(ScoresError, match="A-0-fold3of3"):
        rows.system("A")


# ------------------------------------------------------------------------------- the scripts that use it


@pytest.mark.parametrize("script", ["principal", "two_stream"])
def test_pairs_are_of_rows(compared: Any, script: str) -> None:
    module = importlib.import_module(script)
    if script == "principal":
        assert {name for pair in module.PAIRS for name in pair} == {*module.VARIANTS}
    else:
        known = {module.SPATIAL, *module.FLOW, *module.FUSED, "average with both directions"}
        known |= {"SVM", "SVM, held-out"}
        assert {name for pair in module.PAIRS for name in pair} == known


def test_fusions_of_two_streams(compared: Any, tmp_path: Path) -> None:
    """By hand: one stream is always right, the other in half of the clips, with equal confidence."""
    module = importlib.import_module("two_stream")
    settings = get_recipe("default")
    rows = compared.Rows(dict.fromkeys((module.SPATIAL, module.TEMPORAL), settings), tmp_path, "25x1", 2)
    save(rows, module.SPATIAL, {1: [0, 1], 2: [0, 1]})
    save(rows, module.TEMPORAL, {1: [0, 0], 2: [1, 1]})
    found = {system.name: system for system in module.fusions(rows)}
    assert [*found] == [*module.FUSED, "SVM"]
    # Of equal confidence: a tie goes to the first class; flow counted more outvotes RGB frames.
    assert found["average, 1 : 1.5"].right.ravel().tolist() == [True, False, False, True]
    assert found["before softmax, 1 : 1.5"].right.ravel().tolist() == [True, False, False, True]
    assert found["SVM"].right.all(), "the SVM learns which stream to believe"
    only = compared.Rows({module.SPATIAL: settings}, tmp_path, "25x1", 2)
    assert module.fusions(only) == []


def test_held_out_scores_are_of_networks_without_the_clips(
    compared: Any, tmp_path: Path, trained: list[Any]
) -> None:
    """Each training clip is scored by a network whose training clips have neither it nor a clip of the test."""
    held_out = importlib.import_module("held_out")
    listing = tmp_path / "clips.csv"
    people, labels = "abcdef", ("x", "y")
    records = [
        VideoRecord(f"{person}-{label}", tmp_path / f"{person}-{label}.avi", (label,), group=person)
        for person in people
        for label in labels
    ]
    for record in records:
        record.path.touch()
    write_csv(listing, records)
    settings = get_recipe("default").updated({"data.source": str(listing)})
    rows = compared.Rows({"RGB": settings}, tmp_path / "runs", "25x1", 3, 2)
    found = held_out.held_out_rows(rows, ["RGB"])
    found.rows.train()
    assert len(trained) == 6, "three pairs of three folds, two seeds"
    for number, (name, of_pair) in enumerate(found.rows.settings.items()):
        manifest = load_records(of_pair.data.source)
        assert (len(manifest.of("train")), len(manifest.of("test"))) == (4, 8)
        tested = manifest.of("test")
        for seed in (0, 1):  # the score tells the network
            logits = np.full((len(tested), 2), 10 * seed + number, dtype=np.float32)
            targets = np.array([labels.index(record.labels[0]) for record in tested])
            folder = found.rows.folder(name, seed, None)
            folder.mkdir(parents=True)
            Scores([r.id for r in tested], logits, targets, list(labels)).save(folder / "scores_25x1.npz")
    learned = found.learned("RGB")
    assert len(learned) == 6
    for part, ((seed, fold), scores) in enumerate(zip(rows.parts(), learned, strict=True)):
        assert seed == part // 3
        test = {record.id for record in load_records(str(listing), split=str(fold)).of("test")}
        assert sorted(scores.ids) == sorted({record.id for record in records} - test)
        for video, logits in zip(scores.ids, scores.logits, strict=True):
            name = list(found.rows.settings)[int(logits[0]) - 10 * seed]
            trained_on = {r.id for r in load_records(found.rows.settings[name].data.source).of("train")}
            assert not trained_on & (test | {video})


@pytest.mark.parametrize(
    ("script", "words", "named"),
    [
        ("multi_task", ["--flow-ucf", "u"], "--flow-ucf and --flow-wei"),
        ("multi_task", ["--streams", "flow"], "--streams flow"),
        ("multi_task", ["--budgets", "0"], "--budgets"),
        ("multi_task", ["--batches", "1"], "--batches"),
        ("two_stream", ["--held-out", "--rows", "RGB"], "--held-out"),
        ("two_stream", ["--held-out", "--folds", "2"], "--held-out"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    compared: Any,
    script: str,
    words: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = importlib.import_module(script)
    data = ["u", "w"] if script == "multi_task" else ["d", "--flow", "f"]
    monkeypatch.setattr("sys.argv", [script, *data, "--weights", "none.npz", *words])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_networks_of_one_data_set_and_of_both(compared: Any, tmp_path: Path) -> None:
    module = importlib.import_module("multi_task")
    options = argparse.Namespace(
        ucf=Path("u"), wei=Path("w"), flow_ucf=Path("fu"), flow_wei=Path("fw"), weights=tmp_path / "weights.npz",
        size=64, steps=7, budgets=[1, 3], batches=[2], assignments=["data.workers=0"],
    )  # fmt: skip
    found = module.networks(options, "flow")
    assert {name: (settings.optim.steps, settings.optim.batch) for name, settings in found.items()} == {
        "flow, UCF-101 alone": (7, 8),
        "flow, Weizmann alone": (7, 8),
        "flow, both": (7, 8),
        "flow, both, 3 x steps": (21, 8),
        "flow, both, 2 x batch": (7, 16),
    }
    assert found["flow, UCF-101 alone"].data.sources()[""].model_dump(exclude_none=True) == {
        "source": "ucf101:u", "flow": "fu"
    }  # fmt: skip
    assert {name: task.flow for name, task in found["flow, both"].data.sources().items()} == {
        "ucf": "fu", "wei": "fw"
    }  # fmt: skip
    rgb = module.networks(options, "rgb")["RGB, both"]
    assert [task.flow for task in rgb.data.sources().values()] == [None, None]
    assert (rgb.model.keywords()["stream"], rgb.data.workers) == ("rgb", 0)
