"""The clock of parts."""

from __future__ import annotations

import threading

import pytest

from praxiscope import timing
from praxiscope.timing import Clock, timed


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one number that a test moves on."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_an_inner_part_does_not_count_for_the_outer_one(now: list[float]) -> None:
    clock = Clock()
    with clock.running(), timed("outer"):
        now[0] += 1
        for _ in range(2):
            with timed("inner"):
                now[0] += 10
        now[0] += 100
    assert clock.seconds == {"outer": 101, "inner": 20}


def test_only_the_thread_that_runs_the_clock_is_measured(now: list[float]) -> None:
    def other() -> None:
        with timed("other"):
            now[0] += 1

    clock = Clock()
    other()
    with clock.running():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert clock.seconds == {}


def test_an_error_ends_a_part(now: list[float]) -> None:
    def fail() -> None:
        with timed("fails"):
            now[0] += 1
            raise ZeroDivisionError

    clock = Clock()
    with clock.running():
        with pytest.raises(ZeroDivisionError):
            fail()
        now[0] += 10
        with timed("works"):
            now[0] += 100
    assert clock.seconds == {"fails": 1, "works": 100}


def test_a_device_is_waited_for_before_each_reading(now: list[float]) -> None:
    def wait() -> None:
        now[0] += 1

    clock = Clock(wait)
    with clock.running(), timed("work"):
        now[0] += 10
    assert clock.seconds == {"work": 11}
