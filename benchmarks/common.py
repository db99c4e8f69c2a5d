"""Shared functions of the benchmark scripts: options, training and testing of runs, and tables.

A script writes its table to the folder of its runs (``--out``). With ``--publish`` it also replaces the text between
the two marks of the page beside the script.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from praxiscope.bench.experiment import Run, read_run
from praxiscope.bench.experiment import experiment as run_experiment
from praxiscope.bench.machine import made_now
from praxiscope.errors import ArgumentError, PraxiscopeError
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.settings import TrainSettings

__all__ = [
    "BEGIN",
    "END",
    "Run",
    "Table",
    "describe",
    "experiment",
    "parser",
    "publish",
    "read_run",
    "run_command",
    "score_cells",
    "took",
    "write_tables",
]

_STARTED = time.monotonic()

BEGIN = "<!-- made by the command; --publish replaces it up to the next mark -->"
END = "<!-- end of what the command makes -->"


class Table(NamedTuple):
    """A table with its heading ("" for none)."""

    heading: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


def parser(description: str | None, script: str, *, assignments: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options of all scripts: ``--out``, ``--publish`` and optionally ``--set``.

    Args:
        description: the script's docstring.
        script: its ``__file__``.
        assignments: whether to add ``--set``, for scripts that train.
    """
    name = Path(script).stem
    found = argparse.ArgumentParser(description=description)
    found.add_argument(
        "--out", type=Path, default=Path("runs") / name, help="folder of the runs and of the table"
    )
    found.add_argument("--publish", action="store_true", help="also update the page beside the script")
    if assignments:
        found.add_argument(
            "--set", action="append", default=[], dest="assignments", help="change a setting of every run"
        )
    return found


def run_command(main: Callable[[], None]) -> None:
    """Run a script. Errors of praxiscope are printed as one line on standard error."""
    try:
        main()
    except (PraxiscopeError, OSError) as error:
        sys.exit(f"Error: {error}")


def experiment(settings: TrainSettings, run: Path, protocol: str, **options: Any) -> Run:
    """`praxiscope.bench.experiment.experiment` with progress on standard error."""
    return run_experiment(settings, run, protocol, reporter=ConsoleReporter(), **options)


def describe(runs: Iterable[Run]) -> str:
    """Describe runs in one sentence. Where they differ, all values are listed.

    The networks, initial weights, input, epochs, protocol, clips and seeds are read from the files of the runs.
    """
    runs = list(runs)

    def each(value: Callable[[Run], Any]) -> str:
        return " / ".join(dict.fromkeys(str(value(run)) for run in runs))

    tested = {run.source: int(run.figures["videos"]) for run in runs}
    count = f"{sum(tested.values())} test clips" + (f" in {len(tested)} splits" if len(tested) > 1 else "")
    seeds = list(dict.fromkeys(run.settings.run.seed for run in runs))
    return (
        f"{each(lambda run: run.settings.model.name)} on {each(lambda run: run.settings.model.backbone)} "
        f"from {each(_start)}; {each(_seen)} of {each(lambda run: run.settings.input.size)} pixels; "
        f"{each(_length)} in batches of "
        f"{each(lambda run: run.settings.optim.batch)}; {each(lambda run: run.checkpoint)} checkpoint; "
        f"protocol {each(lambda run: run.protocol)}; {each(lambda run: run.figures['classes'])} classes, "
        f"{each(lambda run: run.learned_from)} training clips, {count}; "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}."
    )


def _start(run: Run) -> str:
    model = run.settings.model
    if model.weights:
        return Path(model.weights).name
    return "ImageNet weights" if model.keywords().get("pretrained") else "random weights"


def _length(run: Run) -> str:
    optim = run.settings.optim
    count, unit = (optim.epochs, "epoch") if optim.steps is None else (optim.steps, "step")
    return f"{count} {unit}{'s' * (count != 1)}"


def _seen(run: Run) -> str:
    if run.settings.model.name == "full-video":
        return f"all frames in {run.settings.model.keywords().get('clusters')} clusters"
    count = run.settings.input.snippets
    frames = run.settings.input.frames
    return f"{count} snippet{'s' * (count > 1)}" + (f" of {frames} frames" if frames > 1 else "")


def score_cells(values: Sequence[float], digits: int = 3) -> list[str]:
    """Format the mean, the spread (sample standard deviation, empty for one score) and each of the scores."""
    spread = f"{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return [f"{statistics.mean(values):.{digits}f}", spread, each]


# ------------------------------------------------------------------------------------------------- tables


def _short(word: str) -> str:
    """Shorten a path to its name, also after ``--option=`` and ``LAYOUT:``. Other words are unchanged."""
    option, equals, value = word.rpartition("=")
    layout, colon, path = value.rpartition(":")
    return f"{option}{equals}{layout}{colon}{Path(path).name}" if Path(path).exists() else word


def write_tables(
    options: argparse.Namespace,
    script: str,
    title: str,
    tables: Sequence[Table],
    note: str,
    *,
    runs: Iterable[Run] = (),
    name: str | None = None,
) -> Path:
    """Write and print Markdown tables with their date, machine and command.

    Args:
        options: result of `parser`. The tables are written to ``out``, and with ``publish`` to the page beside the
            script.
        script: the script's ``__file__``.
        title: title of the page.
        tables: the tables, in order.
        note: text below the tables.
        runs: the runs of the results, whose dates and machines are printed. None: today and this machine.
        name: name of the page without its suffix. Default: that of the script.

    Returns:
        The path of the last file written.
    """
    lines = [f"# {title}", ""]
    for heading, header, rows in tables:
        lines += [f"## {heading}", ""] if heading else []
        lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
        lines.append("")
    runs = list(runs)
    made = dict.fromkeys(run.made for run in runs) or [made_now()]
    command = shlex.join(["python", f"benchmarks/{Path(script).name}", *map(_short, sys.argv[1:])])
    lines += [note, "", f"{'; '.join(made)}.{took(runs)}", f"Command: `{command}`", ""]
    text = "\n".join(lines)
    page = Path(script).with_name(f"{name or Path(script).stem}.md")
    written = options.out / page.name
    options.out.mkdir(parents=True, exist_ok=True)
    written.write_text(f"{BEGIN}\n{text}{END}\n", encoding="utf-8")
    print(text)
    if options.publish:
        written = publish(page, text)
        print("The text outside the marks is unchanged: check that it still matches the table.")
    print(f"Written to {written}")
    return written


def took(runs: Sequence[Run]) -> str:
    """A sentence about the time that runs took, one after the other; if that of one is not known, that of this call."""
    seconds = [getattr(run, "seconds", None) for run in runs]  # scripts may pass results of their own
    if not seconds or None in seconds:
        return f" This call of the command took {(time.monotonic() - _STARTED) / 60:.2g} minutes."
    minutes = sum(second or 0.0 for second in seconds) / 60
    return f" Trainings and tests took {minutes:.3g} minutes, added up."


def publish(page: Path, text: str) -> Path:
    """Replace the text between the marks of a page.

    Raises:
        ArgumentError: the page exists and does not contain each mark once, in order.
    """
    before, after = "", ""
    if page.is_file():
        old = page.read_text(encoding="utf-8").removesuffix("\n") + "\n"
        before, begun, rest = old.partition(BEGIN + "\n")
        _, ended, after = rest.partition(END + "\n")
        if not (begun and ended) or BEGIN in rest or END in before + after:
            raise ArgumentError(
                f"{page}: needs the lines `{BEGIN}` and `{END}` once each, around the text to replace"
            )
    temporary = page.with_name(page.name + ".tmp")
    temporary.write_text(f"{before}{BEGIN}\n{text}{END}\n{after}", encoding="utf-8")
    os.replace(temporary, page)
    return page
