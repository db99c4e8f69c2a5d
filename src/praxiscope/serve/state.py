"""The server without its web interface: its items, its processes, and what happens between them."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from praxiscope.serve.items import PREVIEW, Item, Items
from praxiscope.serve.metrics import Metrics
from praxiscope.serve.options import ServeOptions
from praxiscope.serve.pool import Broken, Busy, Job, Pool
from praxiscope.serve.probe import probe_files
from praxiscope.serve.training import Training
from praxiscope.serve.work import work
from praxiscope.video.picturefile import replacing

__all__ = ["Conflict", "Failed", "State", "new_id"]

_TOP = 5


class Failed(Exception):
    """A job that failed; the message is for the client."""


class Conflict(Exception):
    """What is asked for does not go with what is being done; the message is for the client."""


class State:
    """What a server knows and does. To be created on its event loop.

    Args:
        options: of the server.
        threads: of the CPU for each process of the network; 0: as many as torch takes.
    """

    def __init__(self, options: ServeOptions, threads: int) -> None:
        self.options, limits = options, options.limits
        self.items = Items(options.store)
        self.metrics = Metrics()
        self.training = Training(options)
        network = {
            "run": options.run,
            "library": None if options.library is None else str(options.library),
            "device": options.device,
            "checkpoint": options.checkpoint,
            "task": options.task,
        }
        plain, quick = ({**network, "runtime": runtime} for runtime in ("torch", options.runtime))
        shared: dict[str, Any] = {"queue": limits.queue, "silence_s": limits.silence_s}
        self.network = Pool(work, (quick, threads), workers=options.workers, at_once=limits.at_once, **shared)
        # Explanations, searches and copies are long steps: they have a process of their own, when needed. It computes
        # gradients, which other runtimes do not.
        self.aside = Pool(work, (plain, threads), **shared)
        bounds = {"seconds": limits.seconds, "pixels": limits.pixels, "frames": limits.frames}
        self.prober = Pool(probe_files, (bounds,), queue=limits.uploads + limits.queue, silence_s=60.0)
        self.uploads = 0
        self._jobs: dict[tuple[str, str], str] = {}  # the last job of each kind of an item
        self.metrics.watch("jobs_waiting", "Jobs that wait.", lambda: self.network.waiting)
        self.metrics.watch("jobs_active", "Jobs in progress.", lambda: self.network.active)
        self.metrics.watch("videos", "Videos kept.", lambda: len(self.items))
        self.metrics.watch(
            "process_deaths", "Processes that died.", lambda: sum(pool.deaths for pool in self._pools)
        )

    @property
    def _pools(self) -> tuple[Pool, ...]:
        return self.network, self.aside, self.prober

    async def start(self) -> None:
        """Load the network.

        Raises:
            PraxiscopeError: it cannot be loaded.
        """
        await self.network.ready()

    def close(self) -> None:
        """End all processes."""
        self.training.close()
        for pool in self._pools:
            pool.close()

    async def look_after(self) -> None:
        """Stop what nobody watches, and processes that hang; runs until it is cancelled."""
        while True:
            await asyncio.sleep(1.0)
            for pool in self._pools:
                pool.check_silence()
            now = time.monotonic()
            for item in list(self.items):
                forgotten = not item.watchers and now - item.seen > self.options.limits.forget_s
                if not item.ended and not item.keep and forgotten:
                    self.stop(item)

    def stop(self, item: Item) -> None:
        """Stop the analysis of an item; what was found is kept."""
        self.network.cancel(self._jobs.get((item.id, "analyse"), ""))

    async def run(self, pool: Pool, job: Job) -> dict[str, Any]:
        """Do a job and return the message that carries its result. It is cancelled with the caller.

        Raises:
            Busy: too many jobs wait.
            Failed: the job failed.
        """
        found: dict[str, Any] = {}
        end: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        began = time.monotonic()

        def tell(message: dict[str, Any]) -> None:
            if message["kind"] in ("done", "failed", "cancelled"):
                self._count(job.kind, message["kind"], began)
                if not end.done():
                    end.set_result(message)
            found.update(message)

        job.tell = tell
        pool.submit(job)
        try:
            last = await end
        except asyncio.CancelledError:
            pool.cancel(job.id)
            raise
        if last["kind"] != "done":
            raise Failed(last.get("error", "cancelled"))
        return found

    def _count(self, kind: str, end: str, began: float) -> None:
        self.metrics.jobs.labels(kind, end).inc()
        self.metrics.seconds.labels(kind).observe(time.monotonic() - began)

    async def probe(self, path: Path, name: str) -> dict[str, Any]:
        """Facts of a file.

        Raises:
            Busy, Failed: too much to do; the file is refused.
        """
        found = await self.run(self.prober, Job(new_id(), "probe", str(path), name, _nothing))
        return dict(found["facts"])

    async def predict(self, path: Path, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The answer for a file, see `praxiscope.serve.kinds.predict`.

        Raises:
            Busy, Failed: too much to do; the video cannot be read.
        """
        job = Job(new_id(), "predict", str(path), name, _nothing, settings)
        return dict((await self.run(self.network, job))["answer"])

    def analyse(self, item: Item) -> None:
        """Start the analysis of an item.

        Raises:
            Busy: too many jobs wait.
        """
        settings = {
            "top": _TOP,
            "duration_s": item.facts["duration_s"],
            "windows": self.options.limits.windows,
        }
        hear = partial(self._analysed, item, time.monotonic())
        before = item.status
        item.status, item.error, item.seen = "queued", "", time.monotonic()
        item.windows, item.notes, item.answer, item.spread = [], [], None, {}
        try:
            job = self._job(item, "analyse", settings)
            job.tell = hear
            self.network.submit(job)
        except (Busy, Broken):
            item.status = before if before != "queued" else "stopped"
            raise
        self.items.save(item)

    def _analysed(self, item: Item, began: float, message: dict[str, Any]) -> None:
        """Take what is found of an item."""
        kind = message["kind"]
        if kind in ("done", "failed", "cancelled"):
            self._count("analyse", kind, began)
            item.status = {"done": "done", "failed": "failed"}.get(kind, "stopped")
            item.error = message.get("error", "")
            self.items.keep(item)
            return
        item.status = "running"
        if kind == "again":
            item.windows, item.notes, item.answer = [], ["The process was restarted."], None
        elif kind == "thumbs" and self.items.get(item.id) is item:
            with suppress(OSError):  # a full disk: the results are still shown
                self.items.write_thumbs(item, message["thumbs"])
        elif kind == "window":
            item.windows.append(message["window"])
        elif kind == "note":
            item.notes.append(message["note"])
        elif kind in ("answer", "spread"):
            setattr(item, kind, message[kind])
        item.change()

    def explain(self, item: Item, label: str | None) -> None:
        """Start the explanation of an item.

        Raises:
            Busy: too many jobs wait.
        """
        plays = item.facts["playable"] or item.preview == "done"
        source = f"/api/videos/{item.id}/file" if plays else None
        settings = {"label": label, "name": item.name, "video_src": source}
        self._aside(item, "why", settings, ("page", "why.html"))

    def search(self, item: Item) -> None:
        """Start the search for items of the library like an item.

        Raises:
            Busy: too many jobs wait.
        """
        self._aside(item, "similar", {}, ("hits", "similar.json"))

    def copy(self, item: Item) -> None:
        """Start a copy of a video that browsers play.

        Raises:
            Busy: too many jobs wait.
        """
        out = str(self.items.folder(item.id) / PREVIEW)
        self._aside(item, "preview", {"out": out}, None)

    def _aside(self, item: Item, kind: str, settings: dict[str, Any], output: tuple[str, str] | None) -> None:
        if getattr(item, kind) == "queued":
            raise Conflict("This is being made. Wait until it is there.")
        job = self._job(item, kind, settings)
        began = time.monotonic()

        def tell(message: dict[str, Any]) -> None:
            if self.items.get(item.id) is not item:
                return
            if message["kind"] == "progress":
                item.progress = {**item.progress, kind: message["share"]}
                item.change()
            if output is not None and output[0] in message:
                made = message[output[0]]
                try:
                    with replacing(self.items.folder(item.id) / output[1]) as target:
                        target.write((made if isinstance(made, str) else json.dumps(made)).encode())
                except OSError as error:
                    setattr(item, kind, f"it cannot be saved: {error.strerror}")
                    self.aside.cancel(job.id)
                    return
            if message["kind"] in ("done", "failed", "cancelled"):
                self._count(kind, message["kind"], began)
                if getattr(item, kind) == "queued":
                    text = "done" if message["kind"] == "done" else message.get("error", "cancelled")
                    setattr(item, kind, text)
                self.items.keep(item)

        job.tell = tell
        self.aside.submit(job)
        setattr(item, kind, "queued")
        item.progress = {**item.progress, kind: 0.0}
        item.change()

    def _job(self, item: Item, kind: str, settings: dict[str, Any]) -> Job:
        """A new job of an item; messages of the one before it are no longer heard."""
        job = Job(new_id(), kind, item.path, item.name, _nothing, settings)
        self._jobs[item.id, kind] = job.id
        return job

    def remove(self, item: Item) -> None:
        """Stop what is done with an item, and remove it."""
        self.stop(item)
        for kind in ("why", "similar", "preview"):
            self.aside.cancel(self._jobs.get((item.id, kind), ""))
        self.items.remove(item)


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(8)


def _nothing(message: dict[str, Any]) -> None:
    """Hear of a job that nobody follows."""
