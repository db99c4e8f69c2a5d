"""The report of a run: what its film strips show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.commands.report import _claim, _strips, note_command, report_run, report_test
from support import read_page, write_clip


def test_a_film_strip_shows_the_part_that_was_scored(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0, frames=24, size=(96, 96))  # 12 frames per second
    record = px.VideoRecord("a.mp4@0.5-1", tmp_path / "a.mp4", ("run",), start_s=0.5, end_s=1.0)
    scores = px.Scores([record.id], np.array([[1.0, 0.0]]), np.array([0]), ["run", "walk"], {"name": "1x1"})
    strips = _strips(scores, [record])
    assert {strip.id for strip in strips} == {record.id}
    expected = px.open_video(tmp_path / "a.mp4").frames(range(6, 12))
    assert torch.equal(torch.as_tensor(strips[0].frames), expected)


def test_a_clip_that_can_no_longer_be_read_costs_its_strip_only(tmp_path: Path) -> None:
    record = px.VideoRecord("a.mp4", tmp_path / "gone.mp4", ("run",))
    scores = px.Scores(["a.mp4"], np.array([[1.0, 0.0]]), np.array([0]), ["run", "walk"], {"name": "1x1"})
    assert _strips(scores, [record]) == []


def test_a_clip_of_several_labels_is_recognised_by_any_of_them(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0)
    record = px.VideoRecord("a.mp4", tmp_path / "a.mp4", ("run", "walk"))
    scores = px.Scores(["a.mp4"], np.array([[0.0, 1.0, 0.0]]), np.array([[1, 1, 0]]), ["run", "walk", "jump"])
    (strip,) = _strips(scores, [record])
    assert strip.target == "run | walk"
    assert strip.recognised


def test_clips_play_where_a_browser_can(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0)
    write_clip(tmp_path / "b.mkv", 0)
    records = [
        px.VideoRecord("a.mp4", tmp_path / "a.mp4", ("run",), start_s=0.25, end_s=0.75),
        px.VideoRecord("b.mkv", tmp_path / "b.mkv", ("walk",)),
    ]
    scores = px.Scores(["a.mp4", "b.mkv"], np.eye(2), np.array([0, 1]), ["run", "walk"], {"name": "1x1"})
    played, unplayed = sorted(_strips(scores, records), key=lambda strip: strip.id)
    assert (played.video, played.start_s, played.end_s) == (tmp_path / "a.mp4", 0.25, 0.75)
    assert played.unplayed is None
    assert (unplayed.video, unplayed.unplayed) == (None, "h264 in .mkv")


def test_the_newest_test_is_named_first(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    dates = {
        "b": "2026-01-02T10:00:05+00:00",
        "a": "2026-01-02T10:00:01+00:00",
        "c": "2025-12-31T23:00:00+00:00",
    }
    for name, date in dates.items():
        (tmp_path / "tests" / f"{name}.html").write_text("")
        about = {"date": date, "data": name, "protocol": {"name": "1x1"}, "figures": {"top1": 0.5}}
        (tmp_path / "tests" / f"{name}.json").write_text(json.dumps(about))
    (tmp_path / "tests" / "half.json").touch()  # of a test that is running
    page = read_page(report_run(tmp_path))
    links = [value for tag, key, value in page.attributes if (tag, key) == ("a", "href")]
    assert links == ["tests/b.html", "tests/a.html", "tests/c.html"]


def test_tests_at_the_same_time_have_pages_of_their_own(tmp_path: Path) -> None:
    long = "x" * 200
    names = [_claim(tmp_path, ["my set/1: ü", long, "", "2026-01-02"]) for _ in range(3)]
    assert names[0] == f"my_set_1_ü-{'x' * 60}-2026-01-02"
    assert names[1:] == [f"{names[0]}-2", f"{names[0]}-3"]


def test_commands_are_noted_one_a_line(tmp_path: Path) -> None:
    note_command(tmp_path, "praxiscope train 'a\nb'")
    note_command(tmp_path, None)
    lines = (tmp_path / "commands.txt").read_text().splitlines()
    assert len(lines) == 2
    assert "praxiscope train 'a b'" in lines[0]
    assert "Python" in lines[1]


def test_a_test_of_a_known_set_names_its_split(tmp_path: Path) -> None:
    protocol = {
        "name": "25x10",
        "model": "tsn",
        "data": "ucf101",
        "split": "2",
        "subset": "val",
        "task": "ucf",
    }
    scores = px.Scores(["a"], np.eye(2)[:1], np.array([0]), ["run", "walk"], protocol)
    path = report_test(tmp_path, scores, [])
    assert path.name.startswith("ucf101-ucf-split_2-val-25x10-2")
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["data"] == "ucf101 ucf split 2 val"
    assert about["figures"]["top1"] == 1
    chance = float(np.exp(1) / (np.exp(1) + 1))  # of the better of two classes, a score of 1 apart
    assert about["figures"]["ece"] == pytest.approx(1 - chance)
    assert about["reliability"]["counts"] == [int(place == 10) for place in range(15)]
    assert about["reliability"]["confidence"][9:12] == [None, pytest.approx(chance), None]
    assert about["reliability"]["accuracy"][9:12] == [None, 1.0, None]
    assert "tsn tested on ucf101 ucf split 2 val, 25x10" in read_page(path).text
