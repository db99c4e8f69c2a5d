"""Settings of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from praxiscope.errors import ArgumentError

__all__ = ["LONG_S", "LOOPBACK", "Limits", "ServeOptions"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LONG_S = 300.0  # of all frames of a longer video there are windows only


@dataclass(frozen=True)
class Limits:
    """What one server accepts.

    Attributes:
        bytes: of an uploaded video.
        seconds: of a video.
        pixels: of a frame.
        frames: of a video.
        videos: kept in the folder of the server.
        uploads: at the same time.
        queue: jobs that wait. More are answered with status 429.
        at_once: jobs that a worker advances in turn.
        windows: of a timeline; longer videos get windows that are further apart.
        silence_s: seconds without a word after which a worker is ended.
        forget_s: seconds after which the analysis of a video that nobody watches is stopped.
        body_s: seconds that a client may be silent in the middle of a request.
    """

    bytes: int = 2 * 1024**3
    seconds: float = 4 * 3600.0
    pixels: int = 8192 * 4320
    frames: int = 2_000_000
    videos: int = 500
    uploads: int = 8
    queue: int = 32
    at_once: int = 8
    windows: int = 2000
    silence_s: float = 3600.0
    forget_s: float = 60.0
    body_s: float = 20.0


@dataclass(frozen=True)
class ServeOptions:
    """What is served, and where.

    Attributes:
        run: run folder or model folder.
        store: folder of uploaded videos, results and corrections.
        videos: folder whose videos can be chosen on the page, or None.
        library: library of ``praxiscope index``, or None.
        host, port: the address.
        names: host names by which clients may call the server, besides its address.
        token: that clients must know; empty if none is needed.
        workers: processes with a network each.
        device: of the network.
        checkpoint, task, runtime: see `praxiscope.load`.
        limits: what is accepted.
    """

    run: str
    store: Path
    videos: Path | None = None
    library: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    token: str = ""
    workers: int = 1
    device: str = "auto"
    checkpoint: str | None = None
    task: str | None = None
    runtime: str = "auto"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ArgumentError(f"--port must be from 0 to 65535, got {self.port}")
        if not self.host:
            raise ArgumentError("--host is empty. Give an address, such as 0.0.0.0 for all of this machine.")
        if self.workers < 1:
            raise ArgumentError(f"--workers must be at least 1, got {self.workers}")
        if not self.local and not self.token:
            raise ArgumentError(f"a server at {self.host} can be reached by others, and needs a token")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
