"""Run long jobs in several processes of one thread each, with progress reports.

A worker that outlives its parent could write to a folder that another command uses, so workers exit with their parent.
After an interrupt, a worker stops at its next call of `advance`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

import torch

from praxiscope.processes import blame_script

__all__ = ["Stopped", "advance", "one_thread", "run_jobs"]

J = TypeVar("J")
R = TypeVar("R")

_POLL_S = 1.0


class Stopped(BaseException):
    """Raised by `advance` in a worker whose parent was interrupted."""


_report: Callable[[int, int], None] | None = None


def advance(pieces: int, weight: int) -> None:
    """Report progress from inside a job. Raises Stopped if the parent was interrupted."""
    if _report is not None:
        _report(pieces, weight)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: processes run in parallel, and sums do not depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_jobs(
    work: Callable[[J], R],
    jobs: Sequence[J],
    workers: int,
    *,
    lost: Callable[[J], R],
    watch: Callable[[int, int], None] = lambda pieces, weight: None,
) -> Iterator[tuple[J, R]]:
    """Run jobs in this process or in several. Yields each job with its result when it is done.

    Args:
        work: a function of a module, called with a job.
        jobs: picklable.
        workers: number of processes; 1 for this process only.
        lost: returns the result of a job that killed its process.
        watch: called about every second with the sums of the arguments of `advance`.
    """
    if workers == 1 or len(jobs) < 2:
        yield from _run_here(work, jobs, watch)
        return
    context = get_context("spawn")
    counters, stop = context.Array("q", 2), context.Event()
    link = (counters, stop)
    left = dict(enumerate(jobs))

    def pool(count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=link)

    def results(executor: ProcessPoolExecutor, numbers: Sequence[int]) -> Iterator[tuple[int, R]]:
        open_jobs: dict[Future[R], int] = {executor.submit(work, left[n]): n for n in numbers}
        while open_jobs:
            done, _ = wait(open_jobs, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            watch(counters[0], counters[1])
            for future in done:
                yield open_jobs.pop(future), future.result()

    try:
        with _ended(pool(min(workers, len(jobs))), stop) as executor:
            for number, result in results(executor, list(left)):
                yield left.pop(number), result
    except BrokenProcessPool:
        blame_script()
    # A job that kills its process loses the results of others as well: run the rest one by one.
    for number in list(left):
        with _ended(pool(1), stop) as executor:
            try:
                ((_, result),) = results(executor, [number])
            except BrokenProcessPool:
                result = lost(left[number])
        yield left.pop(number), result


@contextmanager
def _ended(executor: ProcessPoolExecutor, stop: Any) -> Iterator[ProcessPoolExecutor]:
    """Shut a pool down when the block ends: running jobs finish, waiting jobs are cancelled."""
    try:
        yield executor
    except BrokenProcessPool:
        raise
    except BaseException:
        stop.set()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _run_here(
    work: Callable[[J], R], jobs: Sequence[J], watch: Callable[[int, int], None]
) -> Iterator[tuple[J, R]]:
    global _report
    sums = [0, 0]

    def report(pieces: int, weight: int) -> None:
        sums[0] += pieces
        sums[1] += weight
        watch(*sums)

    before, _report = _report, report
    try:
        with one_thread():
            for job in jobs:
                yield job, work(job)
    finally:
        _report = before


def _begin(counters: Any, stop: Any) -> None:
    """Set up a worker."""
    global _report

    def report(pieces: int, weight: int) -> None:
        if stop.is_set():
            raise Stopped
        with counters.get_lock():
            counters[0] += pieces
            counters[1] += weight

    _report = report
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # workers stop in `advance`, so that they remove unfinished files
    torch.set_num_threads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: Any) -> None:
    connection.wait([parent])
    os._exit(1)
