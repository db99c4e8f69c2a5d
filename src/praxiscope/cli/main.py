"""``praxiscope``: the entry point. Modules that take long to import are imported by the commands."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from praxiscope import __version__
from praxiscope.cli import bench, check, dataset, explain, flow, fuse, pack, predict, recipes, test, train
from praxiscope.errors import ArgumentError, PraxiscopeError

__all__ = ["app", "main"]

app = typer.Typer(
    name="praxiscope",
    help="Recognise actions in videos of any length, using every frame, on the machine you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
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


app.command("check", help=check.HELP)(check.check)
app.command("pack", help=pack.HELP)(pack.pack)
app.command("flow", help=flow.HELP)(flow.flow)
app.command("train", help=train.HELP)(train.train)
app.command("test", help=test.HELP)(test.test)
app.command("fuse", help=fuse.HELP)(fuse.fuse)
app.command("predict", help=predict.HELP)(predict.predict)
app.command("explain", help=explain.HELP)(explain.explain)
app.command("recipes", help=recipes.HELP)(recipes.recipes)
app.add_typer(dataset.app, name="dataset")
app.add_typer(bench.app, name="bench")


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""
    try:
        app(prog_name="praxiscope")
    except PraxiscopeError as error:
        _fail(str(error), 2 if isinstance(error, ArgumentError) else 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # `praxiscope predict … | head`: the reader has gone, nobody wants a traceback
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a full disk, a folder without rights
        named = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{named}{error.strerror or error}", 1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        _fail(
            "the device's memory is full. Lower optim.batch, input.snippets or input.size (training), or name "
            "--device cpu.",
            1,
        )
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    """One line on standard error, whatever the message is made of."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
