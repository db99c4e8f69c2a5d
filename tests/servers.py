"""Fixtures of the tests of the server: a server in a thread, and requests to it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.inference.recogniser import Recogniser
from video_files import make_video

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

LABELS = ("left", "right", "up")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a small network with random weights."""
    torch.manual_seed(0)
    kwargs = {"num_classes": 3, "backbone": "resnet10"}
    model: Any = px.create_model("tsn", **kwargs)
    for layer in model.classifiers:
        torch.nn.init.normal_(layer.weight, std=0.5)
    contract = replace(InputContract(size=32, short_side=36, snippets=4), channels=model.channels["rgb"])
    folder = tmp_path_factory.mktemp("served") / "network"
    Recogniser(model, ModelCard("tsn", kwargs, LABELS, input=contract), precision="32").save(folder)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 48 frames that browsers play."""
    return make_video(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=48)


@pytest.fixture(scope="session")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a minute."""
    return make_video(tmp_path_factory.mktemp("clips") / "minute.mp4", frames=600, rate=10)


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server that runs."""

    port: int
    store: Path

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Path | None = None,
        headers: dict[str, str] | None = None,
        **values: Any,
    ) -> Answer:
        """A request; ``values`` are its body as JSON."""
        headers = dict(headers or {})
        if values:
            body, headers["Content-Type"] = json.dumps(values).encode(), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = body.read_bytes() if isinstance(body, Path) else body
            connection.request(method, path, content, headers)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def events(self, id: str, last: str = "") -> Iterator[tuple[str, Any]]:
        """The events of a video, until the server ends them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                "GET", f"/api/videos/{id}/events", headers={"Last-Event-ID": last} if last else {}
            )
            found = connection.getresponse()
            name = ""
            while line := found.readline().decode().rstrip("\n"):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])
                    found.readline()  # the empty line after an event
        finally:
            connection.close()

    def ended(self, id: str) -> dict[str, Any]:
        """The state of a video when its analysis has ended."""
        for name, state in self.events(id):
            if name == "state" and state["status"] in ("done", "failed", "stopped"):
                found: dict[str, Any] = state
                return found
        raise AssertionError("the events ended")


Start = Callable[..., Any]


@pytest.fixture(scope="session")
def start(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A function that starts a server with options, as a context."""
    from praxiscope.serve.options import Limits, ServeOptions
    from praxiscope.serve.run import serve

    @contextmanager
    def starting(limits: dict[str, Any] | None = None, **options: Any) -> Iterator[Server]:
        store = options.pop("store", None) or tmp_path_factory.mktemp("store")
        given = ServeOptions(
            str(options.pop("run", network)),
            store,
            port=0,
            device="cpu",
            runtime=options.pop("runtime", "torch"),
            limits=Limits(**limits or {}),
            **options,
        )
        ready = threading.Event()
        found: list[Any] = []

        def begin(port: int, stop: Callable[[], None]) -> None:
            found.extend((port, stop))
            ready.set()

        thread = threading.Thread(target=lambda: serve(given, say=lambda text: None, ready=begin))
        thread.start()
        try:
            assert ready.wait(60)
            yield Server(found[0], store)
        finally:
            if found:
                found[1]()
            thread.join(60)
            assert not thread.is_alive()

    return starting


@pytest.fixture(scope="session")
def server(start: Start) -> Iterator[Server]:
    """A server with the default options."""
    with start() as running:
        yield running
