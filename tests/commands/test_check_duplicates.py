"""Near duplicates in a library, by vectors that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from praxiscope.checkpoint import write_json
from praxiscope.commands.check_duplicates import check_duplicates
from praxiscope.errors import ArgumentError, DataError
from praxiscope.retrieval.blocks import Item, NewItem, write_block
from praxiscope.retrieval.state import LIBRARY_FILE, State, block_path
from support import Call, write_clip

TURN = {"a.mp4": 0, "copy of a.mp4": 20, "b.mp4": 90, "copy of b.mp4": 100, "c.mp4": 180}
"""The direction of each vector, degrees."""


def made(root: Path, turns: dict[str, float] = TURN, **changes: dict[str, object]) -> Path:
    items = []
    for id, turn in turns.items():
        given = {
            "labels": ("x",),
            "split": "train",
            "path": id,
            **changes.get(id.split(".")[0].replace(" ", "_"), {}),
        }
        angle = np.deg2rad(turn)
        vectors = torch.tensor([[np.cos(angle), np.sin(angle)]] * 2)
        item = Item(id, source="s", mark=id, kind="video", rows=2, **given)  # type: ignore[arg-type]
        items.append(NewItem(item, vectors, np.array([[0.0, 4.0], [0.0, 2.0]])))
    write_block(block_path(root, "0.safetensors"), items, "made")
    state = State({"dims": 2}, {}, {"s": "/videos"}, ("0.safetensors",))
    write_json(root / LIBRARY_FILE, state.to_dict())
    return root


def test_pairs_of_similar_items_are_found(tmp_path: Path) -> None:
    found = check_duplicates(made(tmp_path), least=0.9)
    assert [tuple(record.id for record in pair.records) for pair in found.pairs] == [
        ("b.mp4", "copy of b.mp4"),
        ("a.mp4", "copy of a.mp4"),
    ]
    assert [pair.similarity for pair in found.pairs] == pytest.approx(
        [np.cos(np.deg2rad(x)) for x in (10, 20)]
    )
    assert (found.items, found.more, found.leaks) == (5, 0, 0)
    assert [len(check_duplicates(tmp_path, least=least).pairs) for least in (0.95, 0.1)] == [1, 5]


def test_pairs_in_different_splits_come_first_then_those_of_different_labels(tmp_path: Path) -> None:
    turns = {**TURN, "d.mp4": 181}
    changes = {"copy_of_a": {"split": "test"}, "d": {"labels": ("y",)}}
    found = check_duplicates(made(tmp_path, turns, **changes), least=0.9)
    assert [pair.records[0].id for pair in found.pairs] == ["a.mp4", "c.mp4", "b.mp4"]
    assert found.leaks == 1
    assert str(found.pairs[0].records[0].path) == "/videos/a.mp4"


def test_parts_of_one_video_are_not_compared(tmp_path: Path) -> None:
    same = {"copy_of_a": {"path": "a.mp4"}}
    found = check_duplicates(made(tmp_path, **same), least=0.9)
    assert [pair.records[0].id for pair in found.pairs] == ["b.mp4"]


@pytest.mark.parametrize("least", [0.0, -1.0, 1.1])
def test_the_least_similarity_is_one(tmp_path: Path, least: float) -> None:
    with pytest.raises(ArgumentError, match="similarity"):
        check_duplicates(made(tmp_path), least=least)


def test_one_item_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 item"):
        check_duplicates(made(tmp_path, {"a.mp4": 0}))


def test_the_command_lists_them(call: Call, tmp_path: Path) -> None:
    library = made(tmp_path / "library")
    shown = call("check", "--duplicates", library)
    assert shown.code == 0, shown.err
    assert "copy of a.mp4" in shown.out
    listed = json.loads(call("check", "--duplicates", library, "--least", "0.96", "--json").out)
    assert [pair["ids"] for pair in listed["duplicates"]["pairs"]] == [["b.mp4", "copy of b.mp4"]]


def test_a_library_of_other_data_is_noted(call: Call, tmp_path: Path) -> None:
    library, data = made(tmp_path / "library"), tmp_path / "data"
    write_clip(data / "one" / "0.mp4", 40)
    write_clip(data / "two" / "0.mp4", 80)
    told = call("check", data, "--duplicates", library)
    assert str(data) in told.err
    assert "copy of a.mp4" in told.out


@pytest.mark.parametrize(
    "words",
    [
        ("--duplicates", "nowhere"),
        ("videos", "--least", "0.5"),
        ("--duplicates", "library", "--out", "x.csv"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(call: Call, tmp_path: Path, words: tuple[str, ...]) -> None:
    places = {"library": made(tmp_path / "library"), "videos": tmp_path}
    result = call("check", *(places.get(word, word) for word in words))
    assert (result.code, result.out) == ({True: 1, False: 2}["nowhere" in words], ""), result.err
    assert len(result.err.strip().splitlines()) == 1
