"""Loggers of a training run besides its CSV and TensorBoard's files, by name.

A logger is a class that is registered here; one in another package has an entry point in the group
``praxiscope.loggers``. Its module is imported when it is asked for, and the library that it writes to when it starts.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from praxiscope.errors import ArgumentError
from praxiscope.registry import Registry

__all__ = ["Logger", "Loggers", "check_loggers", "loggers", "register_logger"]

FILES = ("mlflow", "trackio", "wandb")
"""The modules in this package, each of which registers the logger of its name."""


class Logger(Protocol):
    """Writes the figures of one run somewhere.

    Attributes:
        needs: the package that it needs, as it is imported.
    """

    needs: str

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin a run with its folder and its settings, as plain values by section."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        ...

    def finish(self) -> None:
        """End the run."""
        ...


loggers: Registry[Callable[[], Logger]] = Registry(
    "logger", group="praxiscope.loggers", own={name: f"{__name__}.{name}" for name in FILES}
)


def register_logger(name: str) -> Callable[[Callable[[], Logger]], Callable[[], Logger]]:
    """Return a decorator that registers a class of loggers under a name, for ``--log NAME``."""
    return loggers.register(name)


def _create(name: str) -> Logger:
    if name in FILES:
        importlib.import_module(f"{__name__}.{name}")
    return loggers.get(name)()


def check_loggers(names: Sequence[str]) -> None:
    """Check before a training that loggers can be used.

    Raises:
        UnknownNameError: there is no logger of a name.
        ArgumentError: its package is not installed.
    """
    for name in FILES if names else ():  # all, so that a message can list them
        importlib.import_module(f"{__name__}.{name}")
    for name in names:
        needs = _create(name).needs
        if importlib.util.find_spec(needs) is None:
            raise ArgumentError(f"--log {name} needs {needs}, not installed. Remedy: pip install {needs}")


class Loggers:
    """The loggers of a run. One that fails is left out from then on, with a note: it never ends the training.

    Args:
        names: of the loggers.
        run: folder of the run.
        config: its settings.
        say: called with the notes.
    """

    def __init__(
        self, names: Sequence[str], run: Path, config: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._running: dict[str, Logger] = {}
        for name in dict.fromkeys(names):
            self._running[name] = _create(name)
            self._try(name, lambda logger: logger.start(run, config))

    def log(self, row: Mapping[str, float]) -> None:
        """Write a row of figures, one of which is ``step``."""
        values = {key: value for key, value in row.items() if key != "step"}
        for name in list(self._running):
            self._try(name, lambda logger: logger.log(int(row["step"]), values))

    def finish(self) -> None:
        """End the run in all loggers."""
        for name in list(self._running):
            self._try(name, lambda logger: logger.finish())
        self._running = {}

    def _try(self, name: str, work: Callable[[Logger], None]) -> None:
        try:
            work(self._running[name])
        except Exception as error:  # of libraries that have exceptions of their own
            del self._running[name]
            first = (str(error).splitlines() or [""])[0]
            self._say(
                f"Note: --log {name} has failed and is left out from now on ({type(error).__name__}: {first}). The "
                "training goes on; log.csv has all figures."
            )
