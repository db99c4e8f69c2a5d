"""``praxiscope dataset``: data sets that are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Json, print_json, reporter
from praxiscope.units import counted

app = typer.Typer(help="Make a data set.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass


@app.command(
    "move4mnist",
    help="""Make Move4MNIST: digits that move up, down, left or right over a video background.

Example: praxiscope dataset move4mnist OUT --train 1800 --test 600 --size 224 --frames 32 --seed 0
""",
)
def move4mnist(
    out: Annotated[Path, typer.Argument(help="Folder of the set; goes on where an interrupted run stopped.")],
    train: Annotated[int, typer.Option(min=4, help="Training videos, over four classes.")] = 1800,
    test: Annotated[int, typer.Option(min=0, help="Test videos.")] = 600,
    size: Annotated[int, typer.Option(min=16, help="Height and width, pixels.")] = 224,
    frames: Annotated[int, typer.Option(min=2, help="Frames per video.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Decides every video.")] = 0,
    digits: Annotated[
        Path | None, typer.Option(help="Folder of MNIST's idx files. Default: scikit-learn's digits.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Folder of background videos. Default: drawn textures.")
    ] = None,
    chunk: Annotated[
        str | None,
        typer.Option(help="LOW,HIGH: frames that show the moving digit. Default: a quarter to half of them."),
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option(help="LOW,HIGH: of the digit, in frame sides per frame. Default: 0.02,0.035."),
    ] = None,
    still: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="How likely another digit stays in place; or else it jumps. Default: 0.5."
        ),
    ] = None,
    inserted: Annotated[
        bool, typer.Option("--inserted", help="The rest interrupts the motion, rather than being around it.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    json: Json = False,
) -> None:
    from praxiscope.errors import DataError

    design = {"chunk": _pair("--chunk", chunk, int), "speed": _pair("--speed", speed, float), "still": still}
    for what, named in (("digits", digits), ("background videos", backgrounds)):
        if named is not None and not named.is_dir():
            raise DataError(f"{named}: no such folder of {what}")
    with quick_imports():
        from praxiscope.commands.dataset import move4mnist as make
    folder = make(
        out,
        train=train,
        test=test,
        size=size,
        frames=frames,
        seed=seed,
        digits=digits,
        backgrounds=backgrounds,
        workers=workers,
        inserted=inserted,
        reporter=reporter(),
        **{name: values for name, values in design.items() if values is not None},
    )
    if json:
        print_json({"out": str(folder), "train": train, "test": test})
    else:
        print(f"{counted(train, 'training video')} and {counted(test, 'test video')}: {folder}")


def _pair(option: str, text: str | None, kind: Callable[[str], Any]) -> tuple[Any, Any] | None:
    """Two numbers, as in 6,12. Raises ArgumentError for another text."""
    from praxiscope.errors import ArgumentError

    if text is None:
        return None
    try:
        low, high = map(kind, text.split(","))
    except ValueError:
        raise ArgumentError(f"{option} {text}: expected two numbers, LOW,HIGH, as in 6,12") from None
    return low, high
