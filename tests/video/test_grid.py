"""Frames at a frame rate: against a closed form, FFmpeg's own filter, and a decode of the whole file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from praxiscope.errors import ArgumentError
from praxiscope.video.framearray import FrameArray
from praxiscope.video.grid import FrameGrid
from praxiscope.video.opening import open_video
from praxiscope.video.pack import pack_video
from praxiscope.video.times import same_within
from video_files import level_number, write_levels


def by_filter(path: Path, fps: str) -> list[int]:
    """The frames that FFmpeg's filter ``fps`` returns, rounded up, of a video moved to start at 0.

    It takes times as the file has them, so the clock of the file must hold them exactly.
    """
    graph = av.filter.Graph()
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        chain = [
            graph.add_buffer(template=stream, time_base=stream.time_base),
            graph.add("setpts", "PTS-STARTPTS"),
            graph.add("fps", f"fps={fps}:round=up"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*chain).configure()
        for frame in [*container.decode(stream), None]:
            graph.vpush(frame)
            while True:
                try:
                    found.append(level_number(graph.vpull().to_ndarray(format="rgb24")))
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
    return found


@pytest.mark.parametrize("tick", [None, Fraction(1, 1000), Fraction(1, 90000)])
def test_the_grid_is_that_of_exact_fractions(tick: Fraction | None) -> None:
    draw = np.random.default_rng(0)
    tried = 0
    while tried < 400:
        rate = Fraction(int(draw.integers(4, 61))) if draw.random() < 0.7 else Fraction(30000, 1001)
        fps = rate if draw.random() < 0.2 else Fraction(int(draw.integers(1, 80)), int(draw.integers(1, 6)))
        count, first = int(draw.integers(1, 60)), Fraction(int(draw.integers(0, 200)), 7)
        # Frame floor(k / fps * rate) is on screen at k / fps after the first, until frame ``count`` would come.
        expected = [math.floor(k / fps * rate) for k in range(math.ceil(count / rate * fps))]
        steps = [k / fps * rate for k in range(len(expected) + 1)] + [count / rate * fps]
        if any(0 < abs(x - round(x)) <= 2 * (tick or Fraction(1, 10**5)) * max(rate, fps) for x in steps):
            continue  # nearer than the clock can tell
        tried += 1
        exact = [first + k / rate for k in range(count + 1)]
        times = [float(at if tick is None else round(at / tick) * tick) for at in exact]
        near_s = 2 * same_within(float(tick or 0), float(1 / rate))
        found = FrameGrid(float(fps)).numbers(np.array(times[:-1]), times[-1], near_s)
        assert found.tolist() == expected, (rate, fps, count, first)


@pytest.mark.parametrize(
    ("name", "times", "rate"),
    [
        ("even.mp4", range(37), 25),
        ("even.mkv", range(37), 50),
        ("variable.mp4", [0, 1, 2, 9, 10, 25, 26, 27, 40, 41, 43, 47], 30),
        ("late.mkv", [25, 26, 27, 29, 33, 34, 60, 61], 25),
        ("one.mp4", [0], 10),
    ],
)
@pytest.mark.parametrize("fps", ["1", "3", "7/2", "25", "30", "80"])
def test_the_frames_are_those_of_ffmpegs_filter(
    name: str, times: Sequence[int], rate: int, fps: str, tmp_path: Path
) -> None:
    video = open_video(write_levels(tmp_path / name, times, rate))
    grid = FrameGrid(float(Fraction(fps)))
    numbers = grid.of(video, 0, video.quick_length()).tolist()
    assert numbers == by_filter(tmp_path / name, fps)
    assert [frame.index for frame in grid.select(video)] == numbers
    shown = [level_number(frame.numpy()) for frame in video.frames(numbers)]
    assert shown == numbers


def test_first_seconds_and_parts_bound_the_grid(tmp_path: Path) -> None:
    video = open_video(write_levels(tmp_path / "a.mkv", range(10, 50), 10))
    video.quick_length()
    whole = (0, 40)
    assert FrameGrid(2).of(video, *whole).tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert FrameGrid(2, max_seconds=1.5).of(video, *whole).tolist() == [0, 5, 10]
    assert FrameGrid(2, max_seconds=1.6).of(video, *whole).tolist() == [0, 5, 10, 15]
    assert FrameGrid(max_seconds=0.5).of(video, *whole).tolist() == [0, 1, 2, 3, 4]
    assert FrameGrid(max_seconds=0.01).of(video, *whole).tolist() == [0]
    # A part is counted from its own first frame, and a frame is not shown after the end of the part.
    assert FrameGrid(2).of(video, 12, 31, end_s=3.05).tolist() == [0, 5, 10, 15]
    part = FrameGrid(2).select(video, 1.15, 3.05)
    assert [frame.index for frame in part] == [12, 17, 22, 27]
    assert [frame.index for frame in FrameGrid(None, 0.3).select(video)] == [0, 1, 2]
    # A snippet of 11 frames fits at 0 to 29.
    assert FrameGrid(2, span=11).of(video, *whole).tolist() == [0, 5, 10, 15, 20, 25]
    assert FrameGrid(2, span=99).of(video, *whole).tolist() == [0]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_times_in_milliseconds_neither_repeat_nor_omit_frames_at_the_rate_of_the_file(
    first: int, tmp_path: Path
) -> None:
    video = open_video(write_levels(tmp_path / "a.mkv", range(40), 30))
    video.quick_length()
    assert FrameGrid(30).of(video, first, 40).tolist() == list(range(40 - first))
    times = video.timestamps()
    shown = FrameGrid(30).select(video, float(times[first]))
    assert [frame.index for frame in shown] == list(range(first, 40))


def test_five_minutes_at_one_frame_per_second_are_300_frames() -> None:
    times = np.arange(25 * 400) / 25
    numbers = FrameGrid(1, max_seconds=300).numbers(times, 400.0)
    assert numbers.tolist() == list(range(0, 7500, 25))


def test_frames_in_memory_and_packed_clips_have_the_same_grid(tmp_path: Path) -> None:
    array = FrameArray(np.zeros((20, 8, 8, 3), np.uint8), fps=10)
    assert FrameGrid(3).of(array, 0, 20).tolist() == [0, 3, 6, 10, 13, 16]
    path = write_levels(tmp_path / "v.mkv", [0, 1, 2, 9, 10, 25, 26], 30)
    pack_video(path, tmp_path / "v.pxv")
    packed = open_video(tmp_path / "v.pxv")
    assert FrameGrid(7).of(packed, 0, 7).tolist() == FrameGrid(7).of(open_video(path), 0, 7).tolist()


def test_frames_that_come_without_an_end_are_taken_once(tmp_path: Path) -> None:
    video = open_video(write_levels(tmp_path / "a.mkv", range(12), 12))
    live = FrameGrid(4).select_from(video.decode())
    assert [frame.index for frame in live] == [0, 3, 6, 9]
    assert list(FrameGrid(4).select_from([])) == []


@pytest.mark.parametrize(("name", "value"), [("fps", 0), ("fps", math.inf), ("max_seconds", -1), ("span", 0)])
def test_wrong_rates_are_named(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=name):
        FrameGrid(**{name: value})  # type: ignore[arg-type]
