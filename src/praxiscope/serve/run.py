"""Start a server, and stop it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from praxiscope.errors import ArgumentError
from praxiscope.serve.api import create_app
from praxiscope.serve.guard import Guard
from praxiscope.serve.options import LOOPBACK, ServeOptions
from praxiscope.serve.routes.common import UPLOADS
from praxiscope.serve.state import State

__all__ = ["serve"]

_HEADER_BYTES = 16 * 1024
_HEADER_S = 15.0
_CONNECTIONS = 256
Ready: TypeAlias = Callable[[int, Callable[[], None]], None]


class _Protocol(H11Protocol):
    """HTTP that closes connections on which the next request, or the rest of the last one, does not come."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = self.loop.time()

    def _watch(self) -> None:
        """Close the connection if no request is being answered, and none has come for too long."""
        if self.transport.is_closing():
            return
        cycle = getattr(self, "cycle", None)
        waiting = cycle is None or cycle.response_complete
        if waiting and self.loop.time() - self._since > _HEADER_S:
            self.transport.close()
        else:
            self.loop.call_later(_HEADER_S / 5, self._watch)


def serve(
    options: ServeOptions,
    *,
    say: Callable[[str], None],
    ready: Ready | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        options: what and where.
        say: called with lines for the user.
        ready: called with the port, and a function that stops the server, when it accepts requests.

    Raises:
        ArgumentError: the address or the folder cannot be used.
        PraxiscopeError: the network cannot be loaded.
    """
    try:
        options.store.mkdir(parents=True, exist_ok=True)
        (options.store / ".lock").touch()
    except OSError as error:
        raise ArgumentError(
            f"{options.store}: cannot be written ({error.strerror}). Give --store FOLDER."
        ) from error
    with _locked(options.store), _bound(options) as sock:
        try:
            asyncio.run(_serve(options, sock, say, ready))
        except KeyboardInterrupt:
            say("Stopped.")


class _locked:
    """A folder that one server has at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"

    def __enter__(self) -> None:
        self._file = self._path.open("r+")
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            return
        except OSError:
            self._file.close()
            raise ArgumentError(
                f"{self._path.parent}: is used by another server. Give --store FOLDER, or stop that one."
            ) from None

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _bound(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((options.host, options.port))
        sock.listen(128)  # who calls from now on is answered when the network is loaded
    except OSError as error:
        sock.close()
        raise ArgumentError(
            f"{options.host}:{options.port}: cannot be used ({error.strerror}). Give another --port or --host."
        ) from error
    return sock


async def _serve(
    options: ServeOptions,
    sock: socket.socket,
    say: Callable[[str], None],
    ready: Ready | None,
) -> None:
    cores = os.cpu_count() or 1
    state = State(options, 0 if options.workers == 1 else max(1, cores // options.workers))
    try:
        await state.start()
        port = int(sock.getsockname()[1])
        for problem in state.items.problems:
            say(f"Note: {problem}")
        host = options.host
        if host in ("0.0.0.0", "::"):  # of no use elsewhere
            host = options.names[0] if options.names else socket.gethostname()
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{port}/" + (f"?token={quote(options.token, safe='')}" if options.token else ""))
        guard = Guard(
            create_app(state),
            hosts={
                *LOOPBACK,
                *options.names,
                options.host,
                *(() if options.local else (socket.gethostname(),)),
            },
            any_address=not options.local,
            token=options.token,
            uploads=UPLOADS,
            most=options.limits.bytes,
            silence_s=options.limits.body_s,
            answered=lambda status: state.metrics.requests.labels(str(status)).inc(),
        )
        config = uvicorn.Config(
            guard,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        if ready is not None:
            ready(port, partial(setattr, server, "should_exit", True))
        await server.serve(sockets=[sock])
    finally:
        state.close()
