"""A process that is spoken to through a pipe, in JSON: what it sends is data, whatever happens in it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Child", "Line"]


class Line:
    """The child's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to the server."""
        self._connection.send_bytes(json.dumps(message, allow_nan=False).encode())

    def receive(self, wait: bool) -> dict[str, Any] | None:
        """The next message; None if there is none and ``wait`` is false.

        Raises:
            EOFError: the server has ended.
        """
        if not wait and not self._connection.poll(0):
            return None
        message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        return message


class Child:
    """A child process.

    Args:
        target: runs in it, with its `Line` and ``arguments``. It ends when the line ends.
        arguments: plain values.
        hear: called on the event loop with each message.
        end: called on the event loop when the process has ended.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        hear: Callable[[dict[str, Any]], None],
        end: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._hear, self._end = hear, end
        context = multiprocessing.get_context("spawn")  # a fork would copy the state of the server's threads
        self._connection, other = context.Pipe()
        self.process = context.Process(target=_run, args=(target, other, arguments), daemon=True)
        self.process.start()
        other.close()
        self._ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError, ValueError):
                break
            if not self._post(self._hear, message):
                return
        self.process.kill()
        self.process.join()
        self._post(self._finish)

    def _post(self, call: Callable[..., None], *arguments: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop has ended
            return False
        return True

    def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            self._end()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; nothing happens if the process has just ended."""
        with suppress(OSError, ValueError):
            self._connection.send_bytes(json.dumps(message).encode())

    def kill(self) -> None:
        """End the process. ``end`` is called, as for one that dies."""
        self.process.kill()

    def close(self) -> None:
        """End the process for good, without calling ``end``."""
        self._ended = True
        self.process.kill()
        self.process.join(5)
        self._connection.close()


def _run(target: Callable[..., None], connection: Connection, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends its children
    with suppress(EOFError, BrokenPipeError):
        target(Line(connection), *arguments)
