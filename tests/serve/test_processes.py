"""Processes that die, jobs that are cancelled, and queues that are full."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from praxiscope.errors import PraxiscopeError
from praxiscope.serve.child import Line
from praxiscope.serve.pool import Broken, Busy, Job, Pool
from praxiscope.serve.probe import is_container
from video_files import make_video


def obey(line: Line) -> None:
    """A process whose jobs say what it does: end, die, or wait."""
    line.send({"kind": "ready"})
    while True:
        asked = line.receive(wait=True)
        assert asked is not None
        if "cancel" in asked:
            continue
        line.send({"kind": "step", "job": asked["job"]})
        if asked["path"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if asked["path"] == "wait":
            continue
        line.send({"job": asked["job"], "kind": "found", "path": asked["path"]})
        line.send({"job": asked["job"], "kind": "done"})


def refuse(line: Line) -> None:
    line.send({"kind": "broken", "error": "no such network"})
    line.receive(wait=True)


def collapse(line: Line) -> None:
    os._exit(3)


class Followed:
    """A job whose messages are kept."""

    def __init__(self, id: str, path: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self.end = asyncio.Event()
        self.job = Job(id, "any", path, f"name of {path}", self.hear)

    def hear(self, message: dict[str, Any]) -> None:
        self.heard.append(message)
        if message["kind"] in ("done", "failed", "cancelled"):
            self.end.set()

    @property
    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.heard]


def run(work: Any, target: Any = obey, **options: Any) -> None:
    """Run a coroutine of a pool, and end the pool."""

    async def all_of_it() -> None:
        pool = Pool(target, (), **options)
        try:
            await asyncio.wait_for(work(pool), 60)
        finally:
            pool.close()

    asyncio.run(all_of_it())


def test_the_job_at_fault_fails_and_its_neighbours_do_not() -> None:
    async def work(pool: Pool) -> None:
        jobs = [Followed(str(n), path) for n, path in enumerate(("a", "wait", "die", "b", "c"))]
        for one in jobs:
            pool.submit(one.job)
        await jobs[2].end.wait()
        assert jobs[2].kinds == ["again", "failed"]
        assert "name of die" in jobs[2].heard[-1]["error"]
        pool.cancel("1")
        for one in (jobs[0], *jobs[3:]):
            await one.end.wait()
            assert one.kinds[-2:] == ["found", "done"]
        assert jobs[1].kinds[-1] == "cancelled"
        assert pool.deaths == 2

    run(work, at_once=8)


def test_a_full_queue_is_busy_and_a_cancelled_job_makes_room() -> None:
    async def work(pool: Pool) -> None:
        await pool.ready()
        jobs = [Followed(str(n), "wait") for n in range(4)]
        for one in jobs[:3]:  # one is handed out, two wait
            pool.submit(one.job)
        with pytest.raises(Busy):
            pool.submit(jobs[3].job)
        assert (pool.active, pool.waiting) == (1, 2)
        pool.cancel("1")
        assert jobs[1].kinds == ["cancelled"]
        pool.submit(jobs[3].job)
        pool.cancel("0")
        assert (pool.active, pool.waiting) == (1, 1)

    run(work, queue=2)


def test_a_process_that_says_nothing_is_ended() -> None:
    async def work(pool: Pool) -> None:
        silent = Followed("0", "wait")
        pool.submit(silent.job)
        while not silent.end.is_set():
            await asyncio.sleep(0.1)
            pool.check_silence()
        assert silent.kinds == ["again", "failed"]

    run(work, silence_s=0.5)


def test_a_network_that_cannot_be_loaded_says_why() -> None:
    async def refused(pool: Pool) -> None:
        with pytest.raises(PraxiscopeError, match="no such network"):
            await pool.ready()
        with pytest.raises(Broken):
            pool.submit(Followed("0", "a").job)

    async def died(pool: Pool) -> None:
        with pytest.raises(PraxiscopeError):
            await pool.ready()
        assert pool.deaths == 3

    run(refused, refuse)
    run(died, collapse)


def children(name: str) -> list[int]:
    """Process ids of the children of this process that load networks."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                status, maps = (folder / "status").read_text(), (folder / "maps").read_text()
            except OSError:
                continue
            if f"PPid:\t{os.getpid()}\n" in status and name in maps:
                found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_a_worker_that_is_killed_loses_no_job(start: Any, clip: Path, minute: Path) -> None:
    others = children("libtorch_cpu")
    with start() as server:
        id = server.ask("POST", "/api/videos", minute).json["id"]
        for name, _ in server.events(id):
            if name == "windows":
                break
        workers = [pid for pid in children("libtorch_cpu") if pid not in others]
        assert len(workers) == 1
        with ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(server.ask, "POST", "/api/predict", clip) for _ in range(4)]
            os.kill(workers[0], signal.SIGKILL)
            assert [answer.result().status for answer in answers] == [200] * 4
        state = server.ended(id)
        assert state["status"] == "done"
        assert state["windows"] == len(server.ask("GET", f"/api/videos/{id}/windows").json) > 30
        assert b"praxiscope_process_deaths 1.0" in server.ask("GET", "/metrics").body


def count(server: Any, kind: str, end: str) -> float:
    wanted = f'praxiscope_jobs_total{{end="{end}",kind="{kind}"}} '
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


def until(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_jobs_are_cancelled_when_the_client_goes(start: Any, tmp_path: Path) -> None:
    minute = make_video(tmp_path / "long.mp4", frames=3000, rate=5)
    with start({"queue": 1, "at_once": 1, "forget_s": 1.0}) as server:
        body = minute.read_bytes()
        kept = server.ask("POST", "/api/videos?keep=true", minute).json["id"]
        left = server.ask("POST", "/api/videos", minute).json["id"]
        assert server.ask("POST", "/api/predict", minute).status == 429
        until(
            lambda: server.ask("GET", "/api/videos").json[0]["status"] == "stopped"
        )  # newest first: nobody watches
        assert server.ask("GET", f"/api/videos/{left}").json["windows"] == 0
        # A request whose client goes while it waits.
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            time.sleep(0.5)
        until(lambda: count(server, "predict", "cancelled") == 1)
        assert server.ended(kept)["status"] == "done"
        assert not list(server.store.glob("upload-*"))


def test_beginnings_of_containers() -> None:
    assert is_container(b"\x00\x00\x00\x20ftypisom")
    assert is_container(b"RIFF\x00\x00\x00\x00AVI LIST")
    assert is_container((b"\x47" + b"\x00" * 187) * 3)
    assert not is_container(b"\x47" + b"\x00" * 187 + b"\x47")
    assert not is_container(b"")
    assert not is_container(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    assert not is_container(b"#EXTM3U\n")
    assert not is_container(b"PK\x03\x04")
