"""The text format, and the trajectories of a video beside published output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import praxiscope as px
from praxiscope.errors import DataError
from praxiscope.trajectories.extraction import extract
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import TrajectorySettings
from praxiscope.trajectories.text import read_text, write_text

SIZES = TrajectorySettings().sizes


def some(count: int) -> Trajectories:
    draw = np.random.default_rng(0)
    info = draw.random((count, 10), np.float32)
    info[:, 0] = np.arange(count)
    return Trajectories(info, *(draw.random((count, width), np.float32) for width in SIZES.values()))


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("count", [0, 3])
def test_what_is_written_is_read(tmp_path: Path, name: str, count: int) -> None:
    made = some(count)
    write_text(tmp_path / name, made)
    found = read_text(tmp_path / name)
    for field in ("info", *SIZES):
        assert np.allclose(getattr(found, field), getattr(made, field), atol=1e-6)
        assert getattr(found, field).dtype == np.float32


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("1 2 3\n")
    (tmp_path / "words.txt").write_text("a b c\n")
    (tmp_path / "cut.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0")
    for name, told in (
        ("short.txt", "line 1 has 3"),
        ("words.txt", "cannot"),
        ("cut.gz", "cut"),
        ("no", "no"),
    ):
        with pytest.raises(DataError, match=told):
            read_text(tmp_path / name)


def test_published_output_is_read(data_folder: Path) -> None:
    found = read_text(data_folder / "idt_reference" / "release" / "person01_boxing_d1.gz")
    assert len(found) == 2001
    assert np.linalg.norm(found.track.reshape(-1, 15, 2), axis=2).sum(1) == pytest.approx(
        np.ones(2001), abs=1e-4
    )


@pytest.mark.slow
def test_trajectories_are_those_of_the_published_output(data_folder: Path) -> None:
    """Of the first 60 frames of its video: as many, and where both have one, alike."""
    folder = data_folder / "idt_reference" / "release"
    theirs = read_text(folder / "person01_boxing_d1.gz")
    video = px.open_video(folder / "person01_boxing_d1_uncomp.avi")
    ours = extract(video.frames(range(60)))
    rows = np.flatnonzero(theirs.info[:, 0] < 60)
    assert len(ours) == pytest.approx(len(rows), rel=0.1)
    pairs = []
    for row in rows:
        frame, scale = theirs.info[row, 0], theirs.info[row, 6]
        same = np.flatnonzero((ours.info[:, 0] == frame) & (abs(ours.info[:, 6] - scale) < 0.01))
        apart = np.linalg.norm(ours.info[same, 1:3] - theirs.info[row, 1:3], axis=1)
        if len(same) and apart.min() < 1.5 * scale:
            pairs.append((row, same[apart.argmin()]))
    assert len(pairs) > 0.35 * len(rows)
    one, other = (np.array(side) for side in zip(*pairs, strict=True))
    for name, largest in (("track", 0.1), ("hog", 0.15), ("hof", 0.3), ("mbhx", 0.4), ("mbhy", 0.4)):
        apart = np.linalg.norm(getattr(theirs, name)[one] - getattr(ours, name)[other], axis=1)
        assert np.median(apart) < largest, name
