"""How many runs of a table are left."""

from __future__ import annotations

from pathlib import Path

from praxiscope.bench.countdown import Countdown
from praxiscope.progress import Reporter


class Lines(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)


def test_the_time_of_runs_that_are_left_is_the_mean_of_those_done(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abcd"]
    files[1].touch()
    now, told = 100.0, Lines()
    countdown = Countdown(files, told, clock=lambda: now)
    for file, took in zip(files, (120, 0, 360, 60), strict=True):
        countdown.begin(file, file.name)
        now += took
    assert told.said == ["a; 3 runs left", "c; 2 runs left, about 4 min", "d; 1 run left, about 4 min"]
    countdown.begin(files[0], "a")
    assert len(told.said) == 3
