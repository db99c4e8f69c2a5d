"""``praxiscope dataset``: generate synthetic data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import RUN_PANEL, Json, print_json, reporter
from praxiscope.cli.help import App
from praxiscope.units import counted

app = App(help="Generate a synthetic data set.")
_VIDEOS, _MOTION = "Videos", "Motion of the digits"


@app.callback()
def _group() -> None:
    pass


@app.command(
    "move4mnist",
    help="""Generate Move4MNIST: digits that move up, down, left or right over a background.

\b
Example: praxiscope dataset move4mnist OUT --train 1800 --test 600 --seed 0
""",
)
def move4mnist(
    out: Annotated[
        Path, typer.Argument(help="Folder of the data set. An interrupted command continues there.")
    ],
    train: Annotated[
        int, typer.Option(min=4, help="Number of training videos, in four classes.", rich_help_panel=_VIDEOS)
    ] = 1800,
    test: Annotated[int, typer.Option(min=0, help="Number of test videos.", rich_help_panel=_VIDEOS)] = 600,
    size: Annotated[
        int, typer.Option(min=16, help="Height and width of the frames, pixels.", rich_help_panel=_VIDEOS)
    ] = 224,
    frames: Annotated[int, typer.Option(min=2, help="Frames per video.", rich_help_panel=_VIDEOS)] = 32,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of all random numbers.", rich_help_panel=_VIDEOS)
    ] = 0,
    digits: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the MNIST idx files. Default: the digits of scikit-learn.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option(
            help="Folder of background videos. Default: generated textures.", rich_help_panel=_VIDEOS
        ),
    ] = None,
    chunk: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="Number of frames with a moving digit. Default: a quarter to half of the frames.",
            rich_help_panel=_MOTION,
        ),
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="Speed of the digit, as a fraction of the frame size per frame. Default: 0.02,0.035.",
            rich_help_panel=_MOTION,
        ),
    ] = None,
    still: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Probability that the second digit stays in place instead of jumping. Default: 0.5.",
            rich_help_panel=_MOTION,
        ),
    ] = None,
    inserted: Annotated[
        bool,
        typer.Option(
            "--inserted",
            help="Interrupt the motion by the frames without it, instead of placing them before and after it.",
            rich_help_panel=_MOTION,
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes. Default: one per core.", rich_help_panel=RUN_PANEL),
    ] = None,
    json: Json = False,
) -> None:
    from praxiscope.errors import DataError

    given = {"chunk": _pair("--chunk", chunk, int), "speed": _pair("--speed", speed, float), "still": still}
    design: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for what, named in (("digits", digits), ("background videos", backgrounds)):
        if named is not None and not named.is_dir():
            raise DataError(f"{named}: no such folder of {what}")
    with quick_imports():
        from praxiscope.commands.dataset import Design
        from praxiscope.commands.dataset import move4mnist as make
    folder = make(
        out,
        Design(size=size, frames=frames, inserted=inserted, **design),
        videos=(train, test),
        seed=seed,
        digits=digits,
        backgrounds=backgrounds,
        workers=workers,
        reporter=reporter(),
    )
    if json:
        print_json({"out": str(folder), "train": train, "test": test})
    else:
        print(f"{counted(train, 'training video')} and {counted(test, 'test video')}: {folder}")


def _pair(option: str, text: str | None, kind: Callable[[str], Any]) -> tuple[Any, Any] | None:
    """Parse two numbers, as in 6,12. Raises ArgumentError for other text."""
    from praxiscope.errors import ArgumentError

    if text is None:
        return None
    try:
        low, high = map(kind, text.split(","))
    except ValueError:
        raise ArgumentError(f"{option} {text}: expected two numbers, LOW,HIGH, as in 6,12") from None
    return low, high
