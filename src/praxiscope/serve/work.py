"""The process that holds the network: it advances several jobs in turn, and sends what it finds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from praxiscope.errors import PraxiscopeError
from praxiscope.serve.child import Line
from praxiscope.serve.kinds import KINDS, Steps, Worker, error_text, predict_together

__all__ = ["work"]

_BEAT_S = 1.0


def work(line: Line, options: Mapping[str, Any], threads: int) -> None:
    """Load a network, then do the jobs that come through the line, until it ends.

    Args:
        line: to the server.
        options: arguments of `Worker`.
        threads: of the CPU; 0: as many as torch takes.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        worker = Worker(**options)
    except PraxiscopeError as error:
        line.send({"kind": "broken", "error": str(error)})
        return
    about = worker.recogniser
    line.send(
        {
            "kind": "ready",
            "labels": list(about.labels),
            "model": " + ".join(dict.fromkeys(part.card.name for part in about.parts)),
            "one": len(about.parts) == 1,
        }
    )
    turns = _Turns(line, worker)
    while True:
        turns.listen()
        turns.advance()


class _Cancelled(Exception):
    """The job that goes on is no longer wanted."""


class _Turns:
    """Jobs in progress, advanced one step each in turn."""

    def __init__(self, line: Line, worker: Worker) -> None:
        from praxiscope.inference.recogniser import Recogniser

        self._line, self._worker = line, worker
        self._steps: dict[str, Steps] = {}
        self._together: dict[str, tuple[str, Mapping[str, Any]]] = {}  # jobs that share batches
        self._wanted: set[str] = set()  # jobs that are being predicted together
        self._said = time.monotonic()
        network = worker.recogniser
        self._now = ""
        worker.progress = self._progress
        self._shares = type(network) is Recogniser  # others have no views, or several networks

    def listen(self) -> None:
        """Take the messages that have come; without a job, wait for one."""
        message = self._line.receive(wait=not (self._steps or self._together or self._wanted))
        while message is not None:
            self._take(message)
            message = self._line.receive(wait=False)

    def _take(self, message: Mapping[str, Any]) -> None:
        """Add a job, or cancel one."""
        if "cancel" in message:
            self._steps.pop(message["cancel"], None)
            self._together.pop(message["cancel"], None)
            self._wanted.discard(message["cancel"])
            return
        id, kind = message["job"], message["do"]
        if kind == "predict" and self._shares and not message["settings"]["long"]:
            self._together[id] = message["path"], message["settings"]
        else:
            self._steps[id] = KINDS[kind](self._worker, message["path"], message["settings"])

    def advance(self) -> None:
        """One step of every job."""
        if self._together:
            self._predict()
        for id in list(self._steps):
            if id not in self._steps:  # cancelled meanwhile
                continue
            self._begin(id)
            try:
                message: dict[str, Any] = next(self._steps[id], {"kind": "done"})
                self._say({**message, "job": id})
            except _Cancelled:
                continue
            except Exception as error:  # the other jobs go on
                message = {"kind": "failed", "error": error_text(error)}
                self._say({**message, "job": id})
            if message["kind"] in ("done", "failed"):
                self._steps.pop(id, None)
        if time.monotonic() - self._said > _BEAT_S:
            self._say({"kind": "beat"})

    def _predict(self) -> None:
        """Predict the videos that wait, together if their settings agree."""
        first = next(iter(self._together.values()))[1]
        jobs = {id: path for id, (path, settings) in self._together.items() if settings == first}
        for id in jobs:
            del self._together[id]
        self._wanted = set(jobs)
        try:
            predict_together(self._worker, jobs, first, self._still_wanted, self._of_these)
        except Exception as error:
            for id in list(self._wanted):
                self._say({"job": id, "kind": "failed", "error": error_text(error)})
        self._wanted = set()

    def _still_wanted(self, id: str) -> bool:
        """Hear what has come meanwhile, and say which job comes next, unless it was cancelled."""
        self.listen()
        if id not in self._wanted:
            return False
        self._begin(id)
        return True

    def _of_these(self, message: Mapping[str, Any]) -> None:
        """Say something of a job that shares batches."""
        if message["kind"] in ("done", "failed"):
            self._wanted.discard(message["job"])
        self._say(message)

    def _begin(self, id: str) -> None:
        """Say which job comes next."""
        self._now = id
        self._line.send({"kind": "step", "job": id})

    def _progress(self, share: float, text: str) -> None:
        """Say how far the job is. It ends here if it was cancelled meanwhile."""
        self._say({"job": self._now, "kind": "progress", "share": share, "text": text})
        self.listen()
        if self._now not in self._steps:
            raise _Cancelled

    def _say(self, message: Mapping[str, Any]) -> None:
        self._line.send(message)
        self._said = time.monotonic()
