"""Help texts and shell completion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from praxiscope.cli.main import app
from support import Call


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, with the words that call it."""
    command = command or typer.main.get_command(app)
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def squeezed(text: str | None) -> str:
    return "".join((text or "").split())


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_shows_every_text_in_full_on_80_columns(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = call(*words, "--help")
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 80
    shown = squeezed(result.out)
    for parameter in ALL[words].params:
        if parameter.param_type_name == "option" or getattr(parameter, "help", None):
            assert parameter.help, parameter.name
            assert squeezed(parameter.help) in shown, parameter.name
    for name, below in getattr(ALL[words], "commands", {}).items():
        assert squeezed(name + below.help.partition("\n\n")[0]) in shown, name


@pytest.mark.parametrize("words", ["train", "test", "predict"])
def test_help_groups_options(call: Call, words: str) -> None:
    lines = call(words, "--help").out.splitlines()
    headings = [line for line in lines if line.endswith(":") and line == line.strip()]
    assert headings[0] == "Arguments:"
    assert headings[-1] == "Options:"
    assert {"Data:", "Model:"} & set(headings)


def completions(line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    environment = {
        **os.environ,
        "_PRAXISCOPE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    code = "from praxiscope.cli.main import main; import sys\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("praxiscope train --model ts", ["tsm", "tsn"]),
        ("praxiscope train --backbone squeezenet1_", ["squeezenet1_0", "squeezenet1_1"]),
        ("praxiscope train --recipe default-m", ["default-multiplier"]),
        ("praxiscope flow videos --method t", ["tvl1"]),
        ("praxiscope test runs/a videos --protocol 25x", ["25x1", "25x10", "25xfull"]),
        ("praxiscope pre", ["predict"]),
    ],
)
def test_a_shell_completes_names_without_torch(line: str, expected: list[str]) -> None:
    assert [word for word in completions(line) if word.startswith(line.split(" ")[-1])] == expected
