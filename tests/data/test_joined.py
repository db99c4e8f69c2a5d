"""Several data sets as one."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from praxiscope.data.joined import join
from praxiscope.data.joined_flow import JoinedFlow, store_of
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.splits import epoch_order, leaking_groups
from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.flow.store import FlowContract, FlowStore, create_store
from praxiscope.types import VideoRecord


def a_set(name: str, videos: dict[str, str], root: Path = Path("/data")) -> Manifest:
    """A set of ``{"CLASS/clip": "split"}``; the group is the clip's name."""
    records = tuple(
        VideoRecord(
            key, root / name / key, (key.partition("/")[0],), split=split, group=key.partition("/")[2]
        )
        for key, split in videos.items()
    )
    classes = tuple(dict.fromkeys(record.labels[0] for record in records))
    return Manifest(records, classes, False, name, root / name, ("run/lost",), (f"{name} says this.",))


SPORT = a_set("sport", {"run/g1": "train", "run/g2": "test", "jump/g3": "train", "jump/g4": "val"})
DAILY = a_set("daily", {"walk/g1": "test", "walk/g2": "train", "run/g3": "train"})


def test_joined_sets_keep_ids_classes_groups_and_splits_under_their_names() -> None:
    both = join({"a": SPORT, "b-2": DAILY})
    assert both.classes == ("a/run", "a/jump", "b-2/walk", "b-2/run")
    assert both.tasks == {"a": (0, 2), "b-2": (2, 4)}
    assert [(r.id, r.split, r.group) for r in both.records] == [
        ("a/run/g1", "train", "a/g1"),
        ("a/run/g2", "test", "a/g2"),
        ("a/jump/g3", "train", "a/g3"),
        ("a/jump/g4", "val", "a/g4"),
        ("b-2/walk/g1", "test", "b-2/g1"),
        ("b-2/walk/g2", "train", "b-2/g2"),
        ("b-2/run/g3", "train", "b-2/g3"),
    ]
    assert [r.path for r in both.records] == [r.path for m in (SPORT, DAILY) for r in m.records]
    # Both sets have a class "run": two classes.
    assert [both.numbers(r) for r in both.records] == [(0,), (0,), (1,), (1,), (2,), (2,), (3,)]
    assert both.name == "a + b-2"
    assert both.missing == ("a/run/lost", "b-2/run/lost")
    assert both.notes == ("a: sport says this.", "b-2: daily says this.")


def test_groups_of_one_name_in_two_sets_do_not_leak() -> None:
    assert leaking_groups([*SPORT.records, *DAILY.records])  # as they are, g1 and g2 seem to
    assert not leaking_groups(join({"a": SPORT, "b": DAILY}).records)


def test_a_file_that_one_set_trains_on_and_another_holds_out_is_named() -> None:
    twin = a_set("sport", {"run/g2": "train", "jump/g3": "train", "run/g9": "test"})
    notes = join({"a": SPORT, "b": twin}).notes
    assert [note.endswith(": a/run/g2") for note in notes[2:]] == [True]


def test_a_file_is_found_under_another_spelling_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sport" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "sport")
    held = a_set("sport", {"run/g2": "test", "run/g3": "train"}, tmp_path)
    for spelling in ("other/../sport", "link"):
        records = (VideoRecord("run/g2", tmp_path / spelling / "run" / "g2", ("run",), split="train"),)
        notes = join({"a": held, "b": replace(held, records=records)}).notes
        assert len(notes) == 3, spelling


def test_parts_of_one_file_on_both_sides_of_one_set_are_its_own_affair() -> None:
    parts = tuple(replace(record, path=Path("/data/long.mp4")) for record in SPORT.records)
    assert len(join({"a": replace(SPORT, records=parts), "b": DAILY}).notes) == 2


def test_a_set_with_several_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,split\nx.mp4,warm|cold,train\ny.mp4,cold,train\n")
    for name in "xy":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"^b: list"):
        join({"a": SPORT, "b": load_records(tmp_path / "list.csv")})


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "a\n"])
def test_names_of_tasks_are_plain(name: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(repr(name))):
        join({name: SPORT})


def test_class_uniform_sampling_draws_two_tasks_of_as_many_classes_evenly() -> None:
    many = a_set("many", {f"c{n % 3}/{n}": "train" for n in range(90)})
    few = a_set("few", {f"c{n % 3}/{n}": "train" for n in range(9)})
    both = join({"many": many, "few": few})
    labels = [both.numbers(record) for record in both.records]
    start, end = both.tasks["few"]
    counts = {}
    for uniform in (False, True):
        order = epoch_order(labels, seed=1, epoch=0, uniform=uniform).tolist()
        counts[uniform] = Counter(start <= labels[place][0] < end for place in order)
    assert counts[False] == {False: 90, True: 9}
    assert abs(counts[True][True] - 99 / 2) <= 3  # each of the six classes to within one


def flow(root: Path, fields: int, **parameters: float) -> FlowStore:
    store = create_store(root, FlowContract("tvl1", parameters, 20.0))
    video = root / "clip.avi"
    video.write_bytes(b"x")
    with store.writing("run/clip.avi", video) as writer:
        writer.add(torch.zeros(fields, 2, 16, 16))
    return store


def test_stored_flow_of_two_sets_is_found_by_the_task(tmp_path: Path) -> None:
    a, b = flow(tmp_path / "a", 2), flow(tmp_path / "b", 3)
    both = JoinedFlow({"a": a, "b": b})
    assert both.contract == a.contract
    assert [len(both.clip(f"{name}/run/clip.avi")) for name in "ab"] == [2, 3]
    assert both.keys() == ["a/run/clip.avi", "b/run/clip.avi"]
    assert both.path("b/run/clip.avi") == b.path("run/clip.avi")
    assert "b/run/clip.avi" in both
    assert "run/clip.avi" not in both
    assert "b/run/other.avi" not in both
    assert store_of(both, "b/run/clip.avi") is b
    assert store_of(a, "run/clip.avi") is a
    with pytest.raises(UnknownNameError, match="'c'"):
        both.clip("c/run/clip.avi")
    with pytest.raises(DataError, match="other"):
        both.clip("a/other")


def test_flow_made_in_two_ways_is_refused_with_both(tmp_path: Path) -> None:
    a, b = flow(tmp_path / "a", 2, warps=5), flow(tmp_path / "b", 2, warps=3)
    with pytest.raises(DataError, match=r"\ba\b.*\bb\b.*warps=5.*3"):
        JoinedFlow({"a": a, "b": b})
