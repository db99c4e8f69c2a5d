"""Scores files: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from praxiscope.errors import ScoresError
from praxiscope.evaluation.scores import Scores

PROTOCOL = {"name": "25x10", "model": "tsn", "streams": ["rgb"], "input": {"size": 224, "mean": [0.5, 0.5]}}


def make(n=5, multi_label=False, **changes):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (n, 3)) if multi_label else rng.integers(-1, 3, n)
    fields = {
        "ids": [f"jump/clip {i}.avi" for i in range(n)],
        "logits": rng.normal(size=(n, 3)).astype(np.float32),
        "targets": targets,
        "classes": ["jump", "走る", "wave <both> & smile"],
        "protocol": dict(PROTOCOL),
    }
    return Scores(**{**fields, **changes})


def assert_same(a, b):
    assert a.ids == b.ids
    assert a.classes == b.classes
    assert a.protocol == b.protocol
    for x, y in ((a.logits, b.logits), (a.targets, b.targets)):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.fixture(params=[".npz", ".parquet"])
def suffix(request):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra 'parquet')")
    return request.param


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_file_gives_back_what_was_saved(tmp_path, suffix, multi_label, n):
    scores = make(n, multi_label=multi_label)
    path = scores.save(tmp_path / "new" / f"scores{suffix}")
    assert_same(Scores.load(path), scores)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_target_types_are_int64_and_uint8():
    assert make(targets=np.array([0.0, 1, 2, -1, 0])).targets.dtype == np.int64
    assert make(multi_label=True).targets.dtype == np.uint8
    assert make(targets=np.ones((5, 3), dtype=bool)).targets.tolist() == [[1, 1, 1]] * 5


def test_target_names_are_the_classes_of_a_video():
    assert make(targets=np.array([0, 1, 2, -1, 0])).target_names(3) == []
    assert make(targets=np.array([0, 1, 2, -1, 0])).target_names(1) == ["走る"]
    both = make(n=1, targets=np.array([[1, 0, 1]]))
    assert both.target_names(0) == ["jump", "wave <both> & smile"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"logits": np.zeros((5, 2))}, r"logits .*\[5, 3\].*\[5, 2\]"),
        ({"logits": np.full((5, 3), np.nan)}, r"jump/clip 0\.avi"),
        ({"targets": np.array([0, 1, 2, 3, 0])}, r"targets\b.*\b0\b.*\b2\b.*-1\b.*jump/clip 3"),
        ({"targets": np.array([0, 1, -2, 0, 0])}, "jump/clip 2"),
        ({"targets": np.array([0, 1, 0.5, 0, 0])}, "targets .*integers"),
        ({"targets": np.full((5, 3), 2)}, r"targets\b.*jump/clip 0\.avi"),
        ({"targets": np.zeros(4)}, r"targets .*\[4\]"),
        ({"ids": ["a", "b", "a", "c", "d"]}, ": a"),
        ({"classes": ["x", "y", "x"]}, ": x"),
        ({"classes": [], "logits": np.zeros((5, 0))}, r"\bclass\b"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, says):
    with pytest.raises(ScoresError, match=says):
        make(**changes)


def test_reordered_gives_the_videos_in_the_order_asked_for():
    scores = make()
    order = [scores.ids[i] for i in (3, 0, 4)]
    part = scores.reordered(order)
    assert part.ids == order
    np.testing.assert_array_equal(part.logits, scores.logits[[3, 0, 4]])
    np.testing.assert_array_equal(part.targets, scores.targets[[3, 0, 4]])
    with pytest.raises(ScoresError, match=r"\b1 video\b.*\belsewhere$"):
        scores.reordered(["elsewhere", scores.ids[0]])


def test_scores_of_the_same_videos_in_another_order_fit_together():
    scores = make(targets=np.array([0, 1, 2, -1, 0]))
    scores.check_same(scores.reordered(scores.ids[::-1]))
    scores.check_same(make(targets=np.array([0, 1, 2, 2, 0])))  # the fourth is unknown in the first


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"ids": ["jump/clip 0.avi", "x", "y", "z", "w"]},
            r"\b4\b.*jump/clip 1\.avi, .*, … \(4\).*\b4\b.*\bx, y",
        ),
        ({"classes": ["jump", "run", "wave"]}, r"classes\b.*\b2\b.*走る"),
        ({"classes": ["jump", "wave <both> & smile", "走る"]}, r"\bindex 1\b"),
        (
            {"targets": np.array([1, 1, 1, 1, 1])},
            r"targets\b.*\b3 videos\b.*jump/clip 0\.avi \(jump .*走る\)",
        ),
        ({"targets": np.zeros((5, 3))}, "multi-label"),
        ({"protocol": {"name": "1x1"}}, "'25x10'.*'1x1'"),
    ],
)
def test_scores_that_differ_are_refused_with_what_differs(changes, says):
    scores = make(targets=np.array([0, 1, 2, -1, 0]))
    other = make(**{"targets": scores.targets, **changes})
    with pytest.raises(ScoresError, match=says):
        scores.check_same(other)
    if "protocol" in changes:
        scores.check_same(other, protocols=False)


def test_another_ending_is_refused_on_both_ways(tmp_path):
    with pytest.raises(ScoresError, match=r"\.npz.*\.parquet"):
        make().save(tmp_path / "scores.pkl")
    with pytest.raises(ScoresError, match=r"\.npz.*\.parquet"):
        Scores.load(tmp_path / "scores.pkl")


def test_a_protocol_that_json_cannot_hold_is_refused_before_writing(tmp_path):
    for value in (object(), float("nan")):
        with pytest.raises(ScoresError, match=r"\bprotocol\b"):
            make(protocol={"name": value}).save(tmp_path / "scores.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = make().save(tmp_path / "scores.npz")
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        make(n=2).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scores.npz"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScoresError, match=r"none\.npz: "):
        Scores.load(tmp_path / "none.npz")


class Bomb:
    exploded = False


def explode():
    Bomb.exploded = True


class Trap:
    def __reduce__(self):
        return explode, ()


def arrays_of(scores):
    return {
        "format": np.array("praxiscope-scores"),
        "version": np.array(1),
        "ids": np.array(scores.ids),
        "logits": scores.logits,
        "targets": scores.targets,
        "classes": np.array(scores.classes),
        "protocol": np.array(json.dumps(scores.protocol)),
    }


def write(path, **changes):
    arrays = {**arrays_of(make()), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_the_hand_written_file_of_the_next_tests_is_sound(tmp_path):
    assert_same(Scores.load(write(tmp_path / "s.npz")), make())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"logits": None}, r"'logits\.npy'"),
        ({"format": np.array("else")}, "format .*'else'"),
        ({"version": np.array(2)}, "version 2"),
        ({"protocol": np.array("[1]")}, r"protocol\b.*\bJSON\b"),
        ({"protocol": np.array("{")}, "damaged"),
        ({"logits": np.zeros((5, 3, 1))}, r"logits\b.*\[5, 3, 1\]"),
        ({"logits": np.full((5, 3), np.inf)}, r"jump/clip 0\.avi"),
        ({"logits": np.full((5, 3), "word")}, "damaged"),
        ({"targets": np.full(5, 9)}, r"targets\b.*jump/clip 0\.avi"),
        ({"ids": np.array("one")}, "lists"),
        ({"ids": np.array([Trap()] * 5, dtype=object)}, "pickled"),
        ({"protocol": np.array(Trap(), dtype=object)}, "pickled"),
    ],
)
def test_foreign_arrays_are_refused(tmp_path, changes, says):
    with pytest.raises(ScoresError, match=says) as caught:
        Scores.load(write(tmp_path / "s.npz", **changes))
    assert "s.npz" in str(caught.value)
    assert not Bomb.exploded


def test_files_that_are_something_else_are_refused(tmp_path, suffix):
    good = make().save(tmp_path / f"good{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    hostile = {
        "empty": b"",
        "text": b"id,score\n1,2\n",
        "pickle": pickle.dumps(Trap()),
        "noise": rng.bytes(2000),
        "half": good[: len(good) // 2],
        "beginning cut": good[50:],
    }
    for name, content in hostile.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(ScoresError, match=name):
            Scores.load(path)
    assert not Bomb.exploded


def test_flipped_bytes_give_a_scores_error_or_the_same_shape(tmp_path, suffix):
    good = make().save(tmp_path / f"good{suffix}").read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / f"flipped{suffix}"
    for _ in range(150):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with contextlib.suppress(ScoresError):
            assert Scores.load(path).logits.shape == (5, 3)


@pytest.mark.parametrize("shape", [(10**13, 3), (5, 10**13), (5, 2)])
def test_a_header_that_lies_about_its_size_is_refused_before_memory_is_asked_for(tmp_path, shape):
    path = write(tmp_path / "s.npz", logits=None)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("logits.npy", header.getvalue() + b"\0" * 60)
    with pytest.raises(ScoresError, match=r"logits\.npy"):
        Scores.load(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ScoresError, match=r"praxiscope\[parquet\]"):
        make().save(tmp_path / "scores.parquet")
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(ScoresError, match=r"praxiscope\[parquet\]"):
        Scores.load(tmp_path / "scores.parquet")


def test_a_parquet_file_is_a_table_that_others_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow (the extra 'parquet')")
    scores = make()
    table = parquet.read_table(scores.save(tmp_path / "scores.parquet"))
    assert table.column_names == ["id", "target", "logits"]
    assert table["id"].to_pylist() == scores.ids
    np.testing.assert_array_equal(np.array(table["logits"].to_pylist(), dtype=np.float32), scores.logits)


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra 'parquet')")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ScoresError, match=r"other\.parquet: "):
        Scores.load(tmp_path / "other.parquet")
