"""Jobs in several processes: all are done once, progress is added up, and an interrupt ends them between pieces."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from praxiscope import jobs as parallel
from praxiscope.jobs import advance, run_jobs


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "get_context", lambda _: multiprocessing.get_context("fork"))


def square(number: int) -> int:
    for _ in range(3):
        advance(1, number)
    if number < 0:
        os._exit(9)
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once_and_its_progress_added_up(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_POLL_S", 0.01)
    seen = [(0, 0)]
    done = run_jobs(square, range(7), workers, lost=abs, watch=lambda *sums: seen.append(sums))
    assert sorted(done) == [(n, n * n) for n in range(7)]
    assert seen == sorted(seen)
    assert seen[-1] == (21, 3 * sum(range(7)))
    advance(1, 1)  # outside of a job nobody listens
    assert seen[-1] == (21, 3 * sum(range(7)))


def test_a_job_that_ends_its_process_is_the_only_one_lost() -> None:
    done = dict(run_jobs(square, [1, -2, 3, 4, -5], 2, lost=lambda job: 1000 + job))
    assert done == {1: 1, -2: 998, 3: 9, 4: 16, -5: 995}


@pytest.mark.slow
def test_an_error_of_a_job_comes_out() -> None:
    for workers in (1, 2):
        with pytest.raises(ZeroDivisionError):
            list(run_jobs(fail, [1, 2], workers, lost=abs))


def fail(job: int) -> int:
    return job // 0


def slow(folder: Path) -> Path:
    """Half a minute of pieces, during which a file stands in the folder."""
    part = folder / f"{time.monotonic_ns()}.part"
    part.touch()
    try:
        for _ in range(600):
            advance(1, 0)
            time.sleep(0.05)
    finally:
        part.unlink()
    return folder


@pytest.mark.slow
def test_an_interrupt_ends_the_workers_between_two_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_POLL_S", 0.05)

    def watch(pieces: int, weight: int) -> None:
        if pieces > 3:
            assert any(tmp_path.iterdir())
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(slow, [tmp_path] * 5, 2, lost=lambda job: job, watch=watch))
    assert time.monotonic() - began < 15
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_work_in_this_process_gives_its_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [result for _, result in run_jobs(threads, [0, 0], 1, lost=abs)] == [1, 1]
        assert torch.get_num_threads() == 2
        assert [result for _, result in run_jobs(threads, [0, 0], 2, lost=abs)] == [1, 1]
    finally:
        torch.set_num_threads(before)


def threads(_: int) -> int:
    return torch.get_num_threads()
