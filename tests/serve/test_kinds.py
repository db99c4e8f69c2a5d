"""Steps of jobs, without processes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from praxiscope.serve.kinds import KINDS
from praxiscope.serve.work import _Turns
from praxiscope.types import Segment

SETTINGS = {"top": 2, "protocol": None, "long": True, "windows": 2000, "duration_s": 400.0}
ROWS = [([0.7, 0.2, 0.1], False), ([0.1, 0.8, 0.1], True), ([0.4, 0.5, 0.1], False)]


def worker(rows: Any = ROWS, none_below: float | None = 0.5) -> Any:
    """A model of all frames whose windows have given probabilities."""

    def timeline(path: str, **how: Any) -> Any:
        for number, (scores, none) in enumerate(rows):
            pairs = sorted(zip(scores, "abc", strict=True), reverse=True)
            labels, best = [label for _, label in pairs], [score for score, _ in pairs]
            yield Segment(float(number), number + 2.0, labels, best, none)

    contract = SimpleNamespace(fps=None, snippets=8)
    network = SimpleNamespace(card=SimpleNamespace(input=contract), labels=("a", "b", "c"), timeline=timeline)
    return SimpleNamespace(recogniser=network, takes_all=True, none_below=none_below)


def test_the_answer_for_a_long_video_of_all_frames_is_the_mean_over_its_windows() -> None:
    *beats, last = KINDS["predict"](worker(), "long.mp4", SETTINGS)
    assert [message["kind"] for message in beats] == ["beat"] * 3
    answer = last["answer"]
    assert answer["labels"] == ["b", "a"]
    assert answer["scores"] == pytest.approx([0.5, 0.4])
    assert (answer["none_of_these"], answer["none_below"], answer["windows"]) == (False, 0.5, 3)
    *_, last = KINDS["predict"](worker([(scores, True) for scores, _ in ROWS]), "long.mp4", SETTINGS)
    assert last["answer"]["none_of_these"] is True


class Heard:
    """A line that keeps what is said, as JSON would."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, message: Any) -> None:
        json.dumps(message, allow_nan=False)
        self.said.append(message)

    def receive(self, wait: bool) -> None:
        return None


def test_scores_that_are_no_numbers_fail_their_job_only() -> None:
    line: Any = Heard()
    turns = _Turns(line, worker([([float("nan"), 0.0, 0.0], False)]))
    turns._take({"job": "bad", "do": "predict", "path": "a", "settings": SETTINGS})
    for _ in range(3):
        turns.advance()
    ends = [message for message in line.said if message["kind"] in ("done", "failed")]
    assert [(end["job"], end["kind"]) for end in ends] == [("bad", "failed")]
