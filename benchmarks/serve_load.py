"""A server under load: requests per second, delays, memory, a worker that is killed, and hostile requests.

`python benchmarks/serve_load.py RUN CLIPS`. Clients on the same machine post clips to ``/api/predict``, each the next
one when the answer to the last has come. Whether the answers are those of the first request for the same clip is
checked for each of them.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, parser, run_command, write_tables

from praxiscope.commands.predict import find_sources
from praxiscope.progress import ConsoleReporter
from praxiscope.units import counted

CLIENTS = (1, 8, 32)


@contextmanager
def serving(run: str, store: Path, *options: str) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server, started as users start it."""
    words = [sys.executable, "-m", "praxiscope", "serve", run, "--port", "0", "--store", str(store), *options]
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                threading.Thread(target=server.stderr.read, daemon=True).start()
                yield int(found[1]), server.pid
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def family(pid: int) -> dict[int, float]:
    """The MiB that a process and its children have in memory, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "status").read_text()
        except OSError:
            continue
        if int(folder.name) == pid or f"PPid:\t{pid}\n" in text:
            resident = re.search(r"VmRSS:\s+(\d+)", text)
            found[int(folder.name)] = int(resident[1]) / 1024 if resident else 0.0
    return found


def post(port: int, body: bytes, timeout_s: float = 120.0) -> tuple[int, Any]:
    """Status and content of the answer for one clip."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/api/predict?name=clip", body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def load(port: int, pid: int, bodies: Sequence[bytes], clients: int, spend_s: float, kill: bool) -> list[str]:
    """A row of the table: so many clients for so many seconds, with a worker killed in the middle or not."""
    wanted = [post(port, body)[1]["scores"] for body in bodies]
    delays: list[float] = []
    statuses: Counter[str] = Counter()
    memory = 0.0
    end = time.monotonic() + spend_s

    def client(number: int) -> None:
        turns = itertools.islice(itertools.cycle(range(len(bodies))), number, None)
        for place in turns:
            if time.monotonic() > end:
                return
            began = time.perf_counter()
            try:
                status, content = post(port, bodies[place])
            except OSError as error:
                statuses[type(error).__name__] += 1
                continue
            if status == 200:
                delays.append(time.perf_counter() - began)
                same = np.allclose(content["scores"], wanted[place], atol=1e-4)
                statuses["200" if same else "another answer"] += 1
            else:
                statuses[str(status)] += 1
                time.sleep(0.5)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        sizes = family(pid)
        memory = max(memory, sum(sizes.values()))
        if kill and time.monotonic() - began > spend_s / 2:
            del sizes[pid]
            os.kill(max(sizes, key=lambda one: sizes[one]), signal.SIGKILL)
            kill = False
    spent = time.monotonic() - began
    others = {name: count for name, count in statuses.items() if name not in ("200", "429")}
    return [
        str(len(delays)),
        f"{len(delays) / spent:.2f}",
        f"{statistics.median(delays):.2f}",
        f"{np.quantile(delays, 0.99):.2f}",
        str(statuses["429"]),
        ", ".join(f"{count} x {name}" for name, count in others.items()) or "0",
        f"{memory:.0f}",
    ]


def raw(port: int, request: bytes, wait_s: float) -> int:
    """The status of the answer to bytes; 0 if the server closes the connection without one, -1 if nothing comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        with suppress(OSError):  # it may answer and close before the end
            connection.sendall(request)
        try:
            answer = connection.recv(65536)
        except TimeoutError:
            return -1
        except OSError:
            return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def hostile(secret: Path) -> dict[str, list[bytes]]:
    """Requests that nobody should make, by kind."""
    draw = random.Random(0)
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\n"
    upload = head % (b"POST", b"/api/predict?name=a.mp4")

    def sent(body: bytes, more: bytes = b"") -> bytes:
        return upload + more + b"Content-Length: %d\r\n\r\n" % len(body) + body

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.mp4", b"\0" * 10_000_000)
    zipped = file.getvalue()
    target = str(secret).encode()
    paths = [
        b"/../../../../etc/passwd",
        b"/..%2f..%2f..%2f..%2fetc%2fpasswd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"//etc/passwd",
        b"/api/videos/..%2f..%2fetc%2fpasswd/file",
        b"/api/videos/%00/file",
        b"/api/videos/../../x/why",
        b"/api/videos/0123456789abcdef/thumbs/..%2f..%2f",
        b"/..\\..\\windows\\win.ini",
        b"/static/%c0%ae%c0%ae/run.py",
    ]
    names = [
        b"..%2F..%2Fx.mp4",
        b"%2Fetc%2Fcron.d%2Fx",
        b"a%00.mp4",
        b"C:%5Cx",
        b"%F0%9F%92%A3" * 40,
        b"." * 900,
    ]
    text = [
        b"#EXTM3U\n#EXTINF:1,\nfile://" + target,
        b"ffconcat version 1.0\nfile " + target,
        b"<MPD/>",
        b"v=0\r\nm=video 9",
        b"#!/bin/sh\nrm -rf /\n",
        b"GIF8",
        b"\x1aE\xdf\xa3" + b"\xff" * 4000,
        b"RIFF\xff\xff\xff\xffAVI " + b"\xff" * 4000,
        b"\x00\x00\x00\x20ftypisom" + draw.randbytes(20_000),
        b"\x00\x00\x01\xba" + draw.randbytes(20_000),
    ]
    bomb = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(300))
    return {
        "paths out of the folder": [head % (b"GET", path) + b"\r\n" for path in paths * 3],
        "names that are paths": [
            head % (b"POST", b"/api/predict?name=" + name) + b"Content-Length: 4\r\n\r\nPK\x03\x04"
            for name in names * 4
        ],
        "10 GB, and other lengths": [
            upload + b"Content-Length: %s\r\n\r\nabc" % length
            for length in (b"10737418240", b"-1", b"1e3", b"99999999999999999999", b"0x10")
            for _ in range(4)
        ],
        "zip as mp4": [sent(zipped[: draw.randrange(100, len(zipped))]) for _ in range(15)]
        + [sent(zipped)] * 5,
        "playlists, scripts, noise in a container": [sent(body) for body in text * 2],
        "large headers and addresses": [
            *[head % (b"GET", b"/health") + bomb + b"\r\n"] * 10,
            *[b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"] * 10,
        ],
        "other hosts": [
            b"GET /api/videos HTTP/1.1\r\nHost: %s\r\n\r\n" % host
            for host in (b"evil.example", b"127.0.0.1.evil.example", b"localhost@evil", b"", b"[::", b"a\tb")
            for _ in range(4)
        ],
        "other origins": [
            sent(b"abc", b"Origin: %s\r\n" % origin)
            for origin in (b"http://evil.example", b"null", b"https://localhost", b"file://")
            for _ in range(4)
        ],
        "no HTTP": [draw.randbytes(500) + b"\r\n\r\n" for _ in range(10)],
        "bodies that stop": [upload + b"Content-Length: 1000000\r\n\r\nabc"] * 8,
        "headers that stop": [upload + b"X-A: "] * 8,
    }


def refusals(port: int, secret: Path) -> list[list[str]]:
    """Send the hostile requests, all of a kind at the same time; a row for each kind."""
    rows = []
    for kind, requests in hostile(secret).items():
        began = time.monotonic()
        with ThreadPoolExecutor(len(requests)) as threads:
            found = Counter(threads.map(lambda request: raw(port, request, 60.0), requests))
        said = ", ".join(f"{count} x {status or 'closed'}" for status, count in sorted(found.items()))
        rows.append([kind, str(len(requests)), said, f"{time.monotonic() - began:.0f}"])
    return rows


def main() -> None:
    options_parser = parser(__doc__, __file__, assignments=False)
    options_parser.add_argument("run", help="run folder")
    options_parser.add_argument("clips", help="folder of videos")
    options_parser.add_argument("--most", type=int, default=20, help="videos, at random")
    options_parser.add_argument("--seconds", type=float, default=120.0, help="of each load")
    options = options_parser.parse_args()
    speaker = ConsoleReporter()
    found = sorted(str(path) for path in find_sources([options.clips]))
    bodies = [
        Path(path).read_bytes() for path in random.Random(0).sample(found, min(options.most, len(found)))
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store, secret = Path(folder) / "store", Path(folder) / "secret.mp4"
        secret.write_bytes(bodies[0])
        before = {path for path in Path(folder).rglob("*") if path.is_file()}
        with serving(options.run, store) as (port, pid):
            for clients, kill in [*((clients, False) for clients in CLIENTS), (8, True)]:
                speaker.line(f"{counted(clients, 'client')}{', a worker is killed' if kill else ''} …")
                name = f"{clients}, a worker is killed" if kill else str(clients)
                rows.append([name, *load(port, pid, bodies, clients, options.seconds, kill)])
            speaker.line("hostile requests …")
            refused = refusals(port, secret)
            status, _ = post(port, bodies[0])
            after = {path for path in Path(folder).rglob("*") if path.is_file()}
            strangers = sorted(path.name for path in after - before if path.name != ".lock")
        total = sum(int(row[1]) for row in refused)
    columns = [
        "clients",
        "answers",
        "answers/s",
        "median, s",
        "99 %, s",
        "429",
        "other errors",
        "MiB, all processes",
    ]
    note = (
        f"{total} hostile requests. Afterwards a clip is answered with status {status}; files that they left behind: "
        f"{len(strangers)}."
    )
    tables = [
        Table(f"{len(bodies)} clips, {options.seconds:.0f} s for each row", columns, rows),
        Table("Hostile requests, all of a kind at once", ["kind", "requests", "status", "s"], refused),
    ]
    write_tables(options, __file__, "A server under load", tables, note)


if __name__ == "__main__":
    run_command(main)
