"""Jobs that wait, and the processes that do them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from praxiscope.errors import PraxiscopeError
from praxiscope.serve.child import Child

__all__ = ["Broken", "Busy", "Job", "Pool"]

_MOST_DEATHS = 2  # of the processes that had the job
_MOST_FALSE_STARTS = 3  # of a process, in a row


class Busy(PraxiscopeError):
    """Too many jobs wait."""


class Broken(PraxiscopeError):
    """No process can start."""


@dataclass
class Job:
    """Work on one file.

    Attributes:
        id: unique among the jobs of a pool.
        kind: what is done, see `praxiscope.serve.kinds.KINDS`.
        path: the file.
        name: of the file, in messages.
        tell: called with each message about the job. The last one has the kind "done", "failed" or "cancelled"; "again"
            says that the job starts again from its beginning.
        settings: of the kind; plain values.
    """

    id: str
    kind: str
    path: str
    name: str
    tell: Callable[[dict[str, Any]], None]
    settings: Mapping[str, Any] = field(default_factory=dict)
    deaths: int = 0

    def fail(self, error: str) -> None:
        """Tell that the job has failed."""
        self.tell({"kind": "failed", "error": error.replace(self.path, self.name)})


@dataclass
class _Slot:
    """A process, and the jobs that it has."""

    child: Child | None = None
    ready: bool = False
    active: dict[str, Job] = field(default_factory=dict)
    step: str = ""  # the job that it goes on with
    heard: float = 0.0
    false_starts: int = 0


class Pool:
    """Processes that do jobs. One that dies is replaced, and its jobs start again; the job at fault fails at its second
    death.

    All methods are called on the event loop.

    Args:
        target, arguments: what a process runs, see `Child`. It sends ``{"kind": "ready"}`` first, or
            ``{"kind": "broken", "error"}`` if it never will be; and ``{"kind": "step", "job"}`` before it goes on with
            a job, so that the job is known that it died of.
        workers: number of processes.
        at_once: jobs that a process has at the same time.
        queue: jobs that may wait.
        silence_s: a process with jobs that sends nothing for so many seconds is ended.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        *,
        workers: int = 1,
        at_once: int = 1,
        queue: int = 32,
        silence_s: float = 3600.0,
    ) -> None:
        self._target, self._arguments = target, arguments
        self._at_once, self._most, self._silence_s = at_once, queue, silence_s
        self._slots = [_Slot() for _ in range(workers)]
        self._waiting: deque[Job] = deque()
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._broken = ""
        self.deaths = 0
        self.about: dict[str, Any] = {}

    @property
    def broken(self) -> str:
        """Why no process can start; empty if one can."""
        return self._broken

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Number of jobs that processes have."""
        return sum(len(slot.active) for slot in self._slots)

    async def ready(self) -> dict[str, Any]:
        """Start the processes; return what the first one says about itself.

        Raises:
            PraxiscopeError: it cannot start.
        """
        self._start()
        return await asyncio.shield(self._ready)

    def submit(self, job: Job) -> None:
        """Add a job.

        Raises:
            Busy: too many jobs wait.
            Broken: no process can start.
        """
        if self._broken:
            raise Broken(self._broken)
        room = sum(max(0, self._at_once - len(slot.active)) for slot in self._slots)
        if len(self._waiting) >= self._most + (0 if self._waiting else room):
            raise Busy(f"{len(self._waiting)} jobs wait already. Try again later.")
        self._waiting.append(job)
        self._start()
        self._hand_out()

    def cancel(self, id: str) -> None:
        """Stop a job; nothing happens if it has ended."""
        for job in [job for job in self._waiting if job.id == id]:
            self._waiting.remove(job)
            job.tell({"kind": "cancelled"})
        for slot in self._slots:
            if id in slot.active and slot.child is not None:
                job = slot.active.pop(id)
                slot.child.send({"cancel": id})
                job.tell({"kind": "cancelled"})
        self._hand_out()

    def check_silence(self) -> None:
        """End the processes that have said nothing for too long."""
        for slot in self._slots:
            if slot.child and slot.active and time.monotonic() - slot.heard > self._silence_s:
                slot.child.kill()

    def close(self) -> None:
        """End all processes."""
        for slot in self._slots:
            if slot.child is not None:
                slot.child.close()
                slot.child = None

    def _start(self) -> None:
        for slot in self._slots:
            if slot.child is None:
                slot.ready, slot.step, slot.heard = False, "", time.monotonic()
                slot.child = Child(
                    self._target,
                    self._arguments,
                    lambda message, slot=slot: self._hear(slot, message),  # type: ignore[misc]
                    lambda slot=slot: self._ended(slot),  # type: ignore[misc]
                )

    def _hear(self, slot: _Slot, message: dict[str, Any]) -> None:
        slot.heard = time.monotonic()
        kind = message.get("kind")
        if kind == "ready":
            slot.ready, slot.false_starts = True, 0
            self.about = message
            if not self._ready.done():
                self._ready.set_result(message)
        elif kind == "broken":
            self._give_up(str(message["error"]))
        elif kind == "step":
            slot.step = str(message["job"])
            return
        elif (job := slot.active.get(str(message.get("job")))) is not None:
            if kind in ("done", "failed"):
                del slot.active[job.id]
            try:
                if kind == "failed":
                    job.fail(str(message["error"]))
                else:
                    job.tell(message)
            finally:
                self._hand_out()
            return
        self._hand_out()

    def _ended(self, slot: _Slot) -> None:
        """A process has died: its jobs start again."""
        slot.child = None
        self.deaths += 1
        jobs, slot.active = list(slot.active.values()), {}
        for job in reversed(jobs):
            job.deaths += job.id == slot.step
            if job.deaths >= _MOST_DEATHS:
                job.fail(
                    f"{job.name}: the process that reads it died twice. Check that it plays, or convert it."
                )
            else:
                job.tell({"kind": "again"})
                self._waiting.appendleft(job)
        if not slot.ready:
            slot.false_starts += 1
            if slot.false_starts >= _MOST_FALSE_STARTS:
                self._give_up("the process of the network dies when it starts. See the output of the server.")
        if not self._broken:
            self._start()
            self._hand_out()

    def _give_up(self, error: str) -> None:
        self._broken = error
        if not self._ready.done():
            self._ready.set_exception(PraxiscopeError(error))
        while self._waiting:
            self._waiting.popleft().fail(error)

    def _hand_out(self) -> None:
        for slot in self._slots:
            while self._waiting and slot.ready and slot.child is not None:
                if len(slot.active) >= self._at_once:
                    break
                job = self._waiting.popleft()
                slot.active[job.id] = job
                slot.heard = time.monotonic()
                slot.child.send(
                    {"job": job.id, "do": job.kind, "path": job.path, "settings": dict(job.settings)}
                )
