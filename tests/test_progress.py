"""What long work says of itself where nothing can be drawn."""

from __future__ import annotations

import re

import pytest

from praxiscope import progress
from praxiscope.progress import ConsoleReporter, clock


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def left_s(line: str) -> int | None:
    found = re.search(r"([0-9:]+) left", line)
    return None if found is None else sum(int(p) * 60**n for n, p in enumerate(found[1].split(":")[::-1]))


def test_times_are_minutes_or_hours_and_minutes() -> None:
    assert [clock(s) for s in (0, 59.6, 61, 3599, 3725)] == ["0:00", "1:00", "1:01", "59:59", "1:02:05"]


def test_quick_tenths_are_said_each_with_the_time_that_is_left(
    time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ConsoleReporter().bar("packing", 40) as bar:
        for _ in range(40):
            time.now += 2.0
            bar.advance()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [int(re.findall(r"(\d+) of 40", line)[0]) for line in lines] == list(range(4, 41, 4))
    assert [left_s(line) for line in lines] == [2 * (40 - done) for done in range(4, 41, 4)]


def test_slow_work_is_heard_of_every_minute(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter().bar("training", 1000, 500) as bar:  # a resumed run
        for _ in range(30):
            time.now += 10.0
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [int(re.findall(r"(\d+) of 1000", line)[0]) for line in lines] == [506, 512, 518, 524, 530]
    assert [left_s(line) for line in lines] == [10 * (1000 - done) for done in (506, 512, 518, 524, 530)]


def test_work_of_a_moment_says_nothing(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter().bar("checking", 10) as bar:
        for _ in range(10):
            time.now += 0.05
            bar.advance()
    assert capsys.readouterr() == ("", "")


def test_the_share_of_work_tells_the_time_left_better_than_units(
    time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ConsoleReporter().bar("extracting flow", 2) as bar:
        time.now += 30.0
        bar.advance(0, "5 fields/s", share=0.25)
        time.now += 90.0
        bar.advance(1, share=1.0)
    first, last = capsys.readouterr().err.splitlines()
    assert (left_s(first), left_s(last)) == (90, 0)
    assert "0 of 2" in first
    assert first.endswith("5 fields/s")


def test_work_of_unknown_length_says_how_far_it_is(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter().bar("reading", None) as bar:
        for _ in range(13):
            time.now += 5.0
            bar.advance()
    (line,) = capsys.readouterr().err.splitlines()
    assert "12" in line
    assert left_s(line) is None


def test_work_inside_of_other_work_is_heard_of_every_minute_alone(
    time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = ConsoleReporter()
    with reporter.bar("training", 100), reporter.bar("testing", 10) as inner:
        for _ in range(10):
            time.now += 20.0
            inner.advance()
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_bars_in_a_terminal_may_hold_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    reporter = ConsoleReporter()
    reporter.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    for _ in range(2):
        with reporter.bar("training", 4) as outer:
            outer.advance(1, "loss 1.0", share=0.5)
            with reporter.bar("testing", 2) as inner:
                inner.advance(2)
            reporter.line("Epoch 1")
            outer.advance(3)
    drawn = reporter.console.file.getvalue()
    assert "training" in drawn
    assert "testing" in drawn
