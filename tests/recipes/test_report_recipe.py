"""The report of a run: what its film strips show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import praxiscope as px
from conftest import write_clip
from praxiscope.recipes.report import _strips


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
