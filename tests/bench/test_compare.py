"""``praxiscope bench folds``, ``compare`` and ``power``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from praxiscope.bench.compare import pair_cells
from praxiscope.data.folds import Fold, fold_split
from praxiscope.data.manifest import load_records, write_csv
from praxiscope.evaluation.scores import Scores
from praxiscope.types import VideoRecord
from support import Call, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

SMALL = (
    *(
        "--set",
        "optim.epochs=1",
        "--set",
        "optim.batch=4",
        "--set",
        "input.size=32",
        "--set",
        "input.short_side=32",
    ),
    *("--set", "model.backbone=resnet18", "--set", "input.snippets=1", "--set", "model.pretrained=false"),
    *("--set", "run.tensorboard=false", "--protocol", "1x1", "--workers", "0"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    records = []
    for label in ("a", "b"):
        for number in range(6):
            path = root / label / f"{number}.mp4"
            write_clip(path, number % 2, frames=3, seed=number)
            records.append(VideoRecord(f"{label}/{number}", path, (label,), group=f"{label}{number // 2}"))
    write_csv(root / "list.csv", records, ("a", "b"))
    return root / "list.csv"


def test_every_video_is_tested_by_each_seed_and_finished_runs_are_kept(
    tmp_path: Path, data: Path, call: Call
) -> None:
    words = (
        "bench",
        "folds",
        data,
        "--out",
        tmp_path / "tsn",
        "--model",
        "tsn",
        "--folds",
        "3",
        "--seeds",
        "2",
    )
    found = call(*words, *SMALL, "--json")
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)
    assert (row["system"], row["videos"], row["groups"], row["runs"]) == ("tsn", 12, 6, 2)
    records = load_records(data).records
    for number in (1, 2, 3):
        tested = {r.id for r in fold_split(records, Fold(number, 3)) if r.split == "test"}
        for seed in (0, 1):
            assert (
                set(Scores.load(tmp_path / "tsn" / f"seed{seed}-fold{number}of3" / "scores_1x1.npz").ids)
                == tested
            )
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "tsn").rglob("*.safetensors")}
    (tmp_path / "tsn" / "seed1-fold3of3" / "result_1x1.json").unlink()
    again = call(*words, *SMALL, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out) == [row]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "tsn").rglob("*.safetensors")} == weights
    wrong = call("bench", "folds", data, "--out", tmp_path / "none", "--folds", "3", "--protocol", "25y1")
    assert wrong.code == 2
    assert "25y1" in wrong.err
    assert not (tmp_path / "none").exists()
    views = call(*words, *SMALL, "--protocol", "2x1", "--json")  # the last one counts
    assert views.code == 0, views.err
    tested_again = Scores.load(tmp_path / "tsn" / "seed0-fold1of3" / "scores_2x1.npz")
    assert tested_again.protocol["name"] == "2x1"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "tsn").rglob("*.safetensors")} == weights
    other = call(*words, *SMALL, "--set", "optim.lr=0.5")
    assert other.code == 2
    assert "optim.lr" in other.err
    both = call("bench", "compare", f"x={tmp_path / 'tsn'}", tmp_path / "tsn")
    assert both.code != 0
    assert "scores_2x1.npz" in both.err
    for path in (tmp_path / "tsn").glob("*/scores_2x1.npz"):
        path.unlink()
    compared = call("bench", "compare", f"x={tmp_path / 'tsn'}", tmp_path / "tsn", "--groups", data, "--json")
    (pair,) = json.loads(compared.out)["pairs"]
    assert (pair["one"], pair["other"], pair["mean"], pair["p"]) == ("tsn", "x", 0.0, 1.0)
    (tmp_path / "tsn" / "seed1-fold2of3" / "scores_1x1.npz").unlink()
    lacking = call("bench", "compare", f"x={tmp_path / 'tsn'}", f"y={tmp_path / 'tsn'}")
    assert lacking.code != 0
    assert "seed 1 lacks fold 2 of 3" in lacking.err


def _write(path: Path, right: list[int]) -> Path:
    logits = np.array([[1, 0] if value else [0, 1] for value in right], dtype=np.float32)
    ids = [f"v{number}" for number in range(len(right))]
    Scores(ids, logits, np.zeros(len(right), dtype=np.int64), ["a", "b"]).save(path)
    return path


def test_files_globs_and_names_are_compared(tmp_path: Path, call: Call) -> None:
    chance = np.random.default_rng(0)
    good = [
        _write(tmp_path / f"good-{seed}.npz", (chance.random(100) < 0.95).astype(int).tolist())
        for seed in (0, 1)
    ]
    bad = _write(tmp_path / "bad.npz", [0] * 60 + [1] * 40)
    middle = _write(tmp_path / "middle.npz", [0] * 50 + [1] * 50)
    picture = tmp_path / "picture.png"
    found = call(
        "bench",
        "compare",
        f"bad={bad}",
        middle,
        f"good={tmp_path}/good-*.npz",
        "--picture",
        picture,
        "--json",
    )
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert [row["system"] for row in told["systems"]] == ["bad", "middle", "good"]
    assert [row["runs"] for row in told["systems"]] == [1, 1, 2]
    assert told["systems"][0]["accuracy"] == pytest.approx(0.4)
    by_name = {(row["one"], row["other"]): row for row in told["pairs"]}
    assert set(by_name) == {("middle", "bad"), ("good", "bad"), ("good", "middle")}
    assert by_name["middle", "bad"]["mean"] == pytest.approx(0.1)
    assert by_name["good", "bad"]["holm"] < 0.01
    assert len(by_name["good", "bad"]["mcnemar"]) == 2
    assert by_name["middle", "bad"]["mcnemar"] == pytest.approx([2 / 2**10])
    assert picture.read_bytes()[:4] == b"\x89PNG"
    few = call("bench", "compare", good[0], bad, middle, "--against", "bad")
    assert few.out.count(" - bad |") == 2
    for words, said in (
        ((bad,), "two or more"),
        ((bad, tmp_path / "none.npz"), "none.npz"),
        ((bad, bad), "one name"),
        ((bad, middle, "--against", "good"), "good"),
        ((bad, f"x={tmp_path}"), "scores files"),
        ((bad, f"={middle}"), "NAME"),
    ):
        refused = call("bench", "compare", *words)
        assert refused.code != 0
        assert said in refused.err


def test_the_power_of_a_number_of_videos(call: Call) -> None:
    found = call("bench", "power", "225", "--differing", "0.1", "--json")
    assert json.loads(found.out)[0]["difference"] == pytest.approx(0.061, abs=0.002)
    none = call("bench", "power", "10", "--differing", "0.1")
    assert "| none |" in none.out
    for words in (("225", "--differing", "2"), ("225", "--power", "1"), ("0",)):
        assert call("bench", "power", *words).code == 2


@pytest.mark.parametrize("labels", ["a|b", ""])
def test_videos_without_exactly_one_label_are_refused_before_training(
    tmp_path: Path, call: Call, labels: str
) -> None:
    rows = []
    for number in range(6):
        write_clip(tmp_path / f"{number}.mp4", 0, frames=2)
        label, split = (labels, "test") if number == 5 else ("ab"[number % 2], "train")
        rows.append(f"{number}.mp4,{label},{split}")
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    found = call("bench", "folds", tmp_path / "list.csv", "--out", tmp_path / "x", "--folds", "2", *SMALL)
    assert found.code != 0
    assert "5.mp4" in found.err
    assert not (tmp_path / "x").exists()


def test_large_counts_and_tiny_values_are_written_as_what_they_are() -> None:
    row = {"one": "a", "other": "b", "mean": 0.5, "low": 0.4, "high": 0.6, "alone": (1174.0, 21.333)}
    cells = pair_cells(
        {**row, "mcnemar": (0.0, 0.02), "p": 1.0, "holm": 0.1234, "excluded_above": 0.6, "can_show": 0.1}
    )
    assert cells[3:7] == ["1174 / 21.3", "1", "0.12", "< 1e-300 to 0.02"]
