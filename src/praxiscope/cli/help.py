"""Format help texts: options and commands under headings, without truncation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["App", "Group"]

_LAST = "Options"


def _sections(items: Iterable[tuple[str | None, tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    """Group rows by heading, in order of first appearance. Rows without a heading come last."""
    found: dict[str, list[tuple[str, str]]] = {}
    for panel, row in sorted(items, key=lambda item: item[0] is None):
        found.setdefault(panel or _LAST, []).append(row)
    return found


def _write(formatter: Any, sections: dict[str, list[tuple[str, str]]]) -> None:
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(rows)


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    rows = [
        ("Arguments" if p.param_type_name == "argument" else getattr(p, "rich_help_panel", None), record)
        for p in command.get_params(ctx)
        if (record := p.get_help_record(ctx)) is not None
    ]
    _write(formatter, _sections(rows))


class _Command(TyperCommand):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """Group that lists its commands in the order of addition, each with the first paragraph of its help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_parameters(self, ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)  # in the order in which they were added

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        rows = [
            (getattr(command, "rich_help_panel", None) or "Commands", (name, _summary(command.help)))
            for name, command in commands
            if not command.hidden
        ]
        _write(formatter, _sections(rows))


def _summary(text: str | None) -> str:
    """Return the first paragraph."""
    return " ".join((text or "").partition("\n\n")[0].split())


class App(typer.Typer):
    """``typer.Typer`` with this format of help texts. Takes the same arguments."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "cls": Group,
            "no_args_is_help": True,
            "add_completion": False,
            "pretty_exceptions_enable": False,
            "rich_markup_mode": None,
        }
        super().__init__(**(defaults | options))

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a command, as ``typer.Typer.command`` does."""
        return super().command(name, **({"cls": _Command} | options))
