"""The picture of the gain in each class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from praxiscope.errors import ScoresError
from praxiscope.evaluation.scores import Scores
from praxiscope.explain.gain import explain_gain


def save(path: Path, right: list[int], classes: int = 3) -> Path:
    """Two videos of each class, of which so many are right."""
    targets = np.repeat(np.arange(classes), 2)
    answers = [k if number < right[k] else (k + 1) % classes for k in range(classes) for number in range(2)]
    logits = np.eye(classes, dtype=np.float32)[answers]
    names = [f"class{k}/{number}.mp4" for k in range(classes) for number in range(2)]
    return Scores(names, logits, targets, [f"class{k}" for k in range(classes)]).save(path)


def test_bars_are_sorted_and_coloured_by_their_sign(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one.npz", [1, 2, 2]), save(tmp_path / "other.npz", [2, 0, 2])
    made = explain_gain(one, other)
    assert [(found["label"], found["gain"]) for found in made.facts["classes"]] == [
        ("class1", 1.0),
        ("class2", 0.0),
        ("class0", -0.5),
    ]
    (axes,) = made.figure.axes
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [100, 0, -50]
    first, _, last = (bar.get_facecolor() for bar in axes.patches)
    assert first[2] > first[0]  # blue
    assert last[0] > last[2]  # red


def test_of_many_classes_the_ends_are_drawn(tmp_path: Path) -> None:
    one = save(tmp_path / "a" / "scores.npz", [2, 2, 1, 1, 0], 5)
    other = save(tmp_path / "b" / "scores.npz", [0, 1, 1, 1, 2], 5)
    made = explain_gain(one, other, most=3)
    assert (made.facts["one"], made.facts["other"]) == ("a/scores", "b/scores")
    assert len(made.facts["classes"]) == 5
    assert [bar.get_width() for bar in made.figure.axes[0].patches] == [100, 50, -100]


def test_the_command_draws_groups_of_a_list(call: Any, tmp_path: Path) -> None:
    one, other = save(tmp_path / "one.npz", [2, 2, 2]), save(tmp_path / "other.npz", [0, 1, 2])
    rows = ["path,label,group"]
    for k in range(3):
        for number in range(2):
            path = tmp_path / f"class{k}" / f"{number}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.touch()
            rows.append(f"class{k}/{number}.mp4,class{k},g{k}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    words = ("explain", "gain", one, other, "--groups", tmp_path / "list.csv", "--out", tmp_path / "gain.png")
    code, out, err = call(*words, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["whole"]["groups"], facts["whole"]["gain"]) == (3, 0.5)
    assert facts["classes"][0]["low"] is None  # one group
    assert (tmp_path / "gain.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = call(*words[:4], "--out", tmp_path / "gain.pdf")
    assert (code, out.count("\n")) == (0, 1), err
    assert "+50.0" in out


def test_a_file_that_is_no_scores_file_is_named(tmp_path: Path) -> None:
    one = save(tmp_path / "one.npz", [1, 2, 2])
    with pytest.raises(ScoresError, match="other"):
        explain_gain(one, tmp_path / "other.npz")
