"""``praxiscope``: the entry point. Commands import slow modules themselves, so that ``--help`` is fast."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from praxiscope import __version__
from praxiscope.cli import (
    bench,
    check,
    dataset,
    explain,
    export,
    features,
    flow,
    fuse,
    index,
    pack,
    predict,
    recipes,
    retrieve,
    serve,
    test,
    train,
    trajectories,
)
from praxiscope.cli.help import App
from praxiscope.errors import ArgumentError, PraxiscopeError

__all__ = ["app", "main"]

app = App(
    name="praxiscope",
    help="""Recognise actions in videos of any length, using every frame, on the machine you have.

\b
First steps:
  praxiscope train videos/ --out runs/a
  praxiscope predict runs/a clip.mp4
Completion of commands, options and names in your shell:
  praxiscope --install-completion
""",
    add_completion=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_START, _DATA, _MOTION, _FIND, _INSPECT, _MEASURE = (
    "Start here",
    "Prepare data",
    "Motion and several streams",
    "Find videos and images",
    "Explain",
    "Recipes and benchmarks",
)
app.command("check", help=check.HELP, rich_help_panel=_START)(check.check)
app.command("train", help=train.HELP, rich_help_panel=_START)(train.train)
app.command("test", help=test.HELP, rich_help_panel=_START)(test.test)
app.command("predict", help=predict.HELP, rich_help_panel=_START)(predict.predict)
app.command("serve", help=serve.HELP, rich_help_panel=_START)(serve.serve)
app.command("export", help=export.HELP, rich_help_panel=_START)(export.export)
app.command("pack", help=pack.HELP, rich_help_panel=_DATA)(pack.pack)
app.add_typer(dataset.app, name="dataset", rich_help_panel=_DATA)
app.command("features", help=features.HELP, rich_help_panel=_DATA)(features.features)
app.command("flow", help=flow.HELP, rich_help_panel=_MOTION)(flow.flow)
app.command("trajectories", help=trajectories.HELP, rich_help_panel=_MOTION)(trajectories.trajectories)
app.command("fuse", help=fuse.HELP, rich_help_panel=_MOTION)(fuse.fuse)
app.command("index", help=index.HELP, rich_help_panel=_FIND)(index.index)
app.command("retrieve", help=retrieve.HELP, rich_help_panel=_FIND)(retrieve.retrieve)
app.add_typer(explain.app, name="explain", rich_help_panel=_INSPECT)
app.command("recipes", help=recipes.HELP, rich_help_panel=_MEASURE)(recipes.recipes)
app.add_typer(bench.app, name="bench", rich_help_panel=_MEASURE)


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""
    try:
        app(prog_name="praxiscope")
    except PraxiscopeError as error:
        _fail(str(error), 2 if isinstance(error, ArgumentError) else 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # `praxiscope predict … | head`: the reader has exited
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a full disk, missing permissions
        named = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{named}{error.strerror or error}", 1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        _fail(
            "the device is out of memory. Decrease --batch, --watch or --size (in training), or use --device cpu.",
            1,
        )
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    """Print an error as one line on standard error, and exit."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
