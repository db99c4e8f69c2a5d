"""The measurement of the input path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "video"))
from video_files import make_video

from praxiscope.errors import ArgumentError
from praxiscope.recipes.bench_load import bench_load, format_bench
from praxiscope.video.pack import pack_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    folder = tmp_path_factory.mktemp("bench")
    options = {"x264-params": "keyint=10:bframes=2"}
    videos = [make_video(folder / f"{k}.mp4", frames=30, size=(80, 64), options=options) for k in range(4)]
    for video in videos:
        pack_video(video, video.with_suffix(".pxv"), short_side=48)
    return videos, [video.with_suffix(".pxv") for video in videos]


def test_each_reader_gets_a_row_and_ours_are_exact(clips: tuple[list[Path], list[Path]]) -> None:
    rows = bench_load(*clips, frames=(4,), short_side=48, crop=32, workers=1, repeat=2, rivals=("opencv",))
    ours = {row["reader"]: row for row in rows if row["reader"].startswith("praxiscope")}
    assert set(ours) == {"praxiscope raw", "praxiscope packed"}
    for row in ours.values():
        assert row["clips_per_s"] > 0
        assert row["slowest"] <= row["clips_per_s"] <= row["fastest"]
        assert (row["wrong_frames"], row["failed"]) == (0, 0)
    assert format_bench(rows).count("\n") == len(rows) + 1


def test_a_rival_that_is_not_there_is_reported(
    clips: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    rows = bench_load(
        clips[0], None, frames=(2,), short_side=48, crop=32, workers=0, repeat=1, rivals=("decord",)
    )
    assert rows[-1] == {"reader": "decord", "frames": 2, "missing": "decord is not installed"}
    assert "missing: decord is not installed" in format_bench(rows)


def test_arguments_are_checked(clips: tuple[list[Path], list[Path]]) -> None:
    with pytest.raises(ArgumentError, match="no videos"):
        bench_load([], None)
    with pytest.raises(ArgumentError, match="unknown rival"):
        bench_load(clips[0], None, rivals=("ffmpeg",))
    with pytest.raises(ArgumentError, match="give one for each"):
        bench_load(clips[0], clips[1][:1])
