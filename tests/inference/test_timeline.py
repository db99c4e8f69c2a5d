"""Windows over a video: against exact fractions, on clocks of any tick, from the start of the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope.inference.timeline as timeline
from praxiscope.checkpoint import InputContract
from praxiscope.video.times import same_within
from video_files import forget_indices, make_colours

CONTRACT = InputContract(size=8, short_side=8, snippets=3)


class Numbered:
    """A video whose frame k is full of k, shown at k / rate as a clock of that tick has it."""

    def __init__(self, rate: Fraction, count: int, tick: Fraction | None, first: Fraction) -> None:
        exact = [first + Fraction(number) / rate for number in range(count)]
        self.times = [float(at if tick is None else round(at / tick) * tick) for at in exact]
        self.end = float(exact[-1] + 1 / rate)
        self.same_s = same_within(float(tick or 0), float(1 / rate))
        self.fps = float(rate)

    def decode(self) -> Iterator[Any]:
        for number, at in enumerate(self.times):
            yield _Frame(at, number)

    def end_of(self, last_s: float) -> float:
        return self.end


class _Frame:
    def __init__(self, time_s: float, number: int) -> None:
        self.time_s, self.number = time_s, number

    def rgb(self, short_side: int | None = None) -> torch.Tensor:
        return torch.full((3, 8, 8), self.number, dtype=torch.uint8)


def exact_windows(
    rate: Fraction, count: int, first: Fraction, window: Fraction, stride: Fraction
) -> list[tuple[Fraction, list[int], list[int]]]:
    """(start, frames on screen, frames at the instants) of each window, in fractions."""
    end = first + count / rate
    found = []
    number = 0
    while (start := number * stride) < end:
        number += 1
        if start + window <= first:
            continue
        # Frame k is on screen from first + k / rate until first + (k + 1) / rate.
        earliest = max(math.floor((start - first) * rate), 0)
        behind = min(math.ceil((start + window - first) * rate), count)
        on_screen = list(range(earliest, behind))
        looks = [start + (k + Fraction(1, 2)) / 3 * window for k in range(3)]
        at_looks = [min(max(math.floor((look - first) * rate), 0), count - 1) for look in looks]
        found.append((start, on_screen, at_looks))
        if start + window >= end:
            break
    return found


@pytest.mark.parametrize("tick", [None, Fraction(1, 1000), Fraction(1, 90000)])
def test_windows_are_those_of_exact_fractions(tick: Fraction | None, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, tried = np.random.default_rng(0), 0
    while tried < 350:
        rate = Fraction(int(draw.integers(4, 61))) if draw.random() < 0.8 else Fraction(30000, 1001)
        count = int(draw.integers(1, 40))
        if draw.random() < 0.5:  # windows of whole frames
            window, stride = (Fraction(int(draw.integers(1, 25))) / rate for _ in range(2))
        else:  # of what users type
            window, stride = (Fraction(int(draw.integers(1, 30)), 10) for _ in range(2))
        stride = max(stride, window / 8)
        first = Fraction(int(draw.integers(0, 4)) * 3, 2) if draw.random() < 0.3 else Fraction(0)
        video = Numbered(rate, count, tick, first)
        within = (0, window, *((k + Fraction(1, 2)) / 3 * window for k in range(3)))
        last = math.ceil((first + count / rate) / stride)
        edges = [number * stride + e for number in range(last + 1) for e in within]
        apart = [abs(e * rate - round(e * rate)) / rate for e in ((x - first) for x in edges)]
        if any(0 < gap <= 2 * (tick or Fraction(1, 10**5)) for gap in apart):
            continue  # nearer than the clock can tell
        tried += 1
        monkeypatch.setattr(timeline, "as_video", lambda source, video=video: video)
        expected = exact_windows(rate, count, first, window, stride)
        for every in (True, False):
            found = list(timeline.windows("x", float(window), float(stride), CONTRACT, every=every))
            numbers = [part.streams["rgb"][:, 0, 0, 0].tolist() for part in found]
            assert numbers == [on_screen if every else looks for _, on_screen, looks in expected], (
                rate,
                window,
                stride,
                count,
                first,
            )
            assert [part.start_s for part in found] == pytest.approx(
                [float(start) for start, _, _ in expected]
            )


def test_seven_strides_and_a_window_have_five_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    video = Numbered(Fraction(5), 20, None, Fraction(0))
    monkeypatch.setattr(timeline, "as_video", lambda source: video)
    assert 7 * 0.2 + 1.0 > 2.4  # what plain comparison stumbles over
    found = list(timeline.windows("x", 1.0, 0.2, CONTRACT, every=True))
    assert {len(part.streams["rgb"]) for part in found} == {5}


def test_a_timeline_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = make_colours(tmp_path / "late.mp4", times=3000 + np.arange(100) * 40, sound_s=8.0)
    forget_indices()
    found = list(timeline.windows(path, 1.0, 1.0, InputContract(size=32, short_side=32, snippets=2)))
    assert [round(part.start_s) for part in found] == [3, 4, 5, 6]
    assert found[-1].end_s == pytest.approx(7.0, abs=0.05)
    colours = [int(part.streams["rgb"].float().mean((0, 2, 3)).argmax()) for part in found]
    assert colours == [0, 0, 2, 2]


def test_a_pause_before_the_last_frame_opens_no_windows_behind_it(tmp_path: Path) -> None:
    path = make_colours(tmp_path / "pause.mp4", times=np.r_[np.arange(99) * 40, 9000], b_frames=0)
    found = list(timeline.windows(path, 1.0, 1.0, InputContract(size=32, short_side=32, snippets=1)))
    assert len(found) == 10
    assert found[-1].end_s == pytest.approx(9.04, abs=0.01)
