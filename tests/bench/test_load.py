"""The measurement of the input path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from praxiscope.bench.load import LoadTest, _Draws, bench_load, format_bench, measure_readers
from praxiscope.errors import ArgumentError, DataError
from praxiscope.video.pack import pack_video
from video_files import make_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, list[Path]]]:
    folder = tmp_path_factory.mktemp("bench")
    options = {"x264-params": "keyint=10:bframes=2"}
    videos = [make_video(folder / f"{k}.mp4", frames=30, size=(80, 64), options=options) for k in range(4)]
    for video in videos:
        pack_video(video, video.with_suffix(".pxv"), short_side=48)
    return videos, {"ours, packed": [video.with_suffix(".pxv") for video in videos]}


def test_each_reader_gets_a_row_and_ours_are_exact(clips: tuple[list[Path], dict[str, list[Path]]]) -> None:
    test = LoadTest((4,), short_side=48, crop=32, workers=1, repeat=2, seconds=0.1, others=("opencv",))
    rows = measure_readers(*clips, test)
    ours = {row["reader"]: row for row in rows if row["reader"] != "opencv"}
    assert set(ours) == {"praxiscope raw", "ours, packed"}
    for row in ours.values():
        assert row["clips_per_s"] > 0
        assert row["slowest"] <= row["clips_per_s"] <= row["fastest"]
        assert (row["wrong_frames"], row["failed"]) == (0, 0)
    assert format_bench(rows).count("\n") == len(rows) + 1


def test_a_reader_that_is_not_installed_is_reported(
    clips: tuple[list[Path], dict[str, list[Path]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    test = LoadTest((2,), short_side=48, crop=32, workers=0, repeat=1, seconds=0, others=("decord",))
    rows = measure_readers(clips[0], {}, test)
    assert rows[-1] == {"reader": "decord", "frames": 2, "missing": "decord is not installed"}
    assert "missing: decord is not installed" in format_bench(rows)


def test_arguments_are_checked(clips: tuple[list[Path], dict[str, list[Path]]]) -> None:
    with pytest.raises(ArgumentError, match="0"):
        measure_readers([], {})
    with pytest.raises(ArgumentError, match="ffmpeg"):
        measure_readers(clips[0], {}, LoadTest(others=("ffmpeg",)))
    with pytest.raises(ArgumentError, match=r"a: .*4.*1"):
        measure_readers(clips[0], {"a": clips[0][:1]})


def test_a_turn_goes_through_the_clips_as_often_as_fills_its_time() -> None:
    draws = _Draws(5)
    assert sorted(number for number, _ in draws) == list(range(5))
    draws.passes = 3
    assert len(draws) == len(list(draws)) == 15
    assert sorted(number for number, _ in draws) == sorted(3 * list(range(5)))


def test_copies_are_matched_by_id_and_named_by_what_they_hold(
    clips: tuple[list[Path], dict[str, list[Path]]], tmp_path: Path
) -> None:
    for name in ("videos", "a", "b"):
        (tmp_path / name / "red").mkdir(parents=True)
    for number, video in enumerate(clips[0]):
        (tmp_path / "videos" / "red" / video.name).symlink_to(video)
        (tmp_path / "a" / "red" / f"{video.name}.pxv").symlink_to(video.with_suffix(".pxv"))
        if number:
            (tmp_path / "b" / "red" / f"{video.name}.pxv").symlink_to(video.with_suffix(".pxv"))
    test = LoadTest((2,), short_side=48, crop=32, workers=0, repeat=1, seconds=0, others=())
    rows = bench_load(tmp_path / "videos", [tmp_path / "a", tmp_path / "b"], test)
    assert [row["reader"] for row in rows] == [
        "praxiscope raw",
        "praxiscope packed, mpeg2video",
        f"praxiscope packed, mpeg2video, {tmp_path / 'b'}",
    ]
    (tmp_path / "empty" / "red").mkdir(parents=True)
    (tmp_path / "empty" / "red" / "other.pxv").symlink_to(clips[0][0].with_suffix(".pxv"))
    with pytest.raises(DataError, match="empty"):
        bench_load(tmp_path / "videos", [tmp_path / "empty"])
