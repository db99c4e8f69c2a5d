"""Training on corrections, as a job in a process of its own: ``praxiscope train``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from praxiscope.checkpoint import find_checkpoint
from praxiscope.errors import ArgumentError
from praxiscope.serve.items import CORRECTIONS
from praxiscope.serve.options import ServeOptions

__all__ = ["Training"]

_TAIL = 4000  # characters of the output


class Training:
    """The training run of a server; one at a time.

    Args:
        options: of the server.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._folder = options.store / "trained"
        self._process: asyncio.subprocess.Process | None = None
        self._out: Path | None = None
        self._output = ""
        self._code: int | None = None

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._process is not None

    def public(self) -> dict[str, Any]:
        """What clients see."""
        status = "running" if self.running else {None: "none", 0: "done"}.get(self._code, "failed")
        run = None if self._out is None else f"{self._folder.name}/{self._out.name}"
        return {"status": status, "run": run, "output": self._output[-_TAIL:]}

    def command(self, model: str, out: Path) -> list[str]:
        """The command of a run that starts from the network that is served."""
        options = self._options
        table = str(options.store / CORRECTIONS)
        served = (
            options.run
            if options.checkpoint is None
            else str(find_checkpoint(options.run, options.checkpoint))
        )
        start = ["--model", model, "--from", served]
        return ["praxiscope", "train", table, *start, "--out", str(out), "--device", options.device]

    async def start(self, model: str) -> None:
        """Start a run of a model, from the network that is served.

        Raises:
            ArgumentError: one is in progress.
        """
        if self.running:
            raise ArgumentError("A training run is in progress. Wait until it has ended.")
        self._folder.mkdir(exist_ok=True)
        number = 1 + max(
            (int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()), default=0
        )
        self._out, self._output, self._code = self._folder / f"{number}", "", None
        words = [sys.executable, "-m", "praxiscope", *self.command(model, self._out)[1:]]
        self._process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._task = asyncio.create_task(self._follow(self._process))

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while part := await process.stdout.read(4096):
            self._output = (self._output + part.decode("utf-8", "replace"))[-2 * _TAIL :]
        self._code = await process.wait()
        self._process = None

    def close(self) -> None:
        """End a run; it can be resumed."""
        if self._process is not None:
            self._process.terminate()
