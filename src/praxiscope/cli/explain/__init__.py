"""``praxiscope explain``: one sub-command for each picture.

To add a picture, add a file in ``praxiscope.explain`` that draws it, a file here with its sub-command, and its name in
``NAMES``. Other packages provide a picture as an entry point of the group ``praxiscope.pictures``, or with
`register_picture`.

The sub-command is a function. Its signature defines the options, and its docstring is the help text: the first line
describes the picture, the last line is "Example: praxiscope explain NAME …".
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from praxiscope.cli.help import App, Group
from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.registry import Registry, load_offer, offered

__all__ = ["app", "register_picture"]

NAMES = (
    "page",
    *("flow", "trajectories", "filters", "principal", "losses", "clusters", "gradients", "cluster-gradients"),
    *("confidence", "winners", "cam", "occlusion", "gain", "future"),
    *("correspondence", "patches", "gates", "blocks"),
)
ENTRY_POINTS = "praxiscope.pictures"

_HELP = """Draw what a network sees and what it has learned.

praxiscope explain RUN VIDEO writes a page on the answer for a video. Every picture is a command: praxiscope explain
NAME --help shows its options.
"""

_registered: Registry[Callable[..., None]] = Registry("picture")


def register_picture(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds a function as ``praxiscope explain NAME``.

    Raises:
        ArgumentError: the name is already registered.

    Example:
        >>> @register_picture("saliency")
        ... def saliency(run: Run, video: Video, out: Out = None, json: Json = False) -> None:
        ...     '''Draw where a network looks.
        ...
        ...     Example: praxiscope explain saliency runs/a clip.mp4
        ...     '''
    """
    if name in NAMES:
        raise ArgumentError(f"a picture named {name!r} is already registered")
    return _registered.register(name)


@cache
def _offered() -> dict[str, Any]:
    """Entry points of installed packages, by name."""
    return offered(ENTRY_POINTS)


class _Pictures(Group):
    """Built-in pictures, registered pictures, and those of installed packages."""

    def list_commands(self, ctx: Any) -> list[str]:
        others = {*_registered.names(), *_offered()} - {*NAMES}
        return [*NAMES, *sorted(others)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in NAMES:
            return super().get_command(ctx, cmd_name)
        if cmd_name in _registered:
            return _command(cmd_name, _registered.get(cmd_name))
        if cmd_name in _offered():
            return _command(cmd_name, load_offer(_offered()[cmd_name]))
        return None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not ctx.resilient_parsing:
            options = self.get_command(ctx, "page").params if Path(args[0]).is_dir() else ()
            _refuse_option(args, {name for option in options for name in option.opts})
            if _is_folder(args[0]):
                args = ["page", *args]
            elif not args[0].startswith("-"):
                raise unknown_name("picture", args[0], known)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line and an example for each picture."""
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
            except ArgumentError as error:  # another package is broken; the other pictures are still listed
                rows.append((name, str(error)))
                continue
            lines = inspect.cleandoc(command.help or "").splitlines()
            examples = [line for line in lines if line.startswith("Example: ")]
            rows += [(name, lines[0] if lines else ""), *(("", line) for line in examples[:1])]
        with formatter.section("Pictures"):
            formatter.write_dl(rows)


def _is_folder(word: str) -> bool:
    """Whether the first word is a run and not the name of a picture: a folder, or a path that may be misspelt."""
    return not word.startswith("-") and (os.sep in word or Path(word).is_dir())


def _refuse_option(args: list[str], known: set[str]) -> None:
    """Raise an error for the old form ``explain VIDEO --clusters``, unless it is one of the known options."""
    kinds = [word[2:] for word in args if word.startswith("--") and word[2:] in NAMES and word not in known]
    if kinds:
        others = [word for word in args if word != f"--{kinds[0]}"]
        now = shlex.join(["praxiscope", "explain", kinds[0], *others])
        raise ArgumentError(f"the picture is an argument, not an option. Use: {now}")


def _command(name: str, function: Callable[..., None]) -> Any:
    """Return the click command of a function."""
    if not callable(function):
        raise ArgumentError(f"picture {name!r} must be a function, got {function!r}")
    one = App()
    one.command(name)(function)
    return typer.main.get_command(one)


app = App(help=_HELP, cls=_Pictures)

for _name in NAMES:
    _file = _name.replace("-", "_")
    app.command(_name)(getattr(import_module(f"{__name__}.{_file}"), _file))
