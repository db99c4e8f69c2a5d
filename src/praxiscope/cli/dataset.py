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
_SAMPLES, _CONTENT = "Samples", "Content"


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


@app.command(
    "moving-shapes",
    help="""Generate image pairs and clips of moving textured shapes, with exact flow and occlusion.

\b
Example: praxiscope dataset moving-shapes OUT --train 2000 --test 200
""",
)
def moving_shapes(
    out: Annotated[
        Path, typer.Argument(help="Folder of the data set. An interrupted command continues there.")
    ],
    train: Annotated[
        int, typer.Option(min=0, help="Number of training pairs.", rich_help_panel=_SAMPLES)
    ] = 2000,
    test: Annotated[int, typer.Option(min=0, help="Number of test pairs.", rich_help_panel=_SAMPLES)] = 200,
    clips: Annotated[
        str | None,
        typer.Option(
            metavar="TRAIN,TEST",
            help="Number of clips. Default: one for every ten pairs.",
            rich_help_panel=_SAMPLES,
        ),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            min=2,
            max=100,
            help="Frames per clip: one more than a network is shown.",
            rich_help_panel=_SAMPLES,
        ),
    ] = 17,
    size: Annotated[
        int, typer.Option(min=16, help="Height and width of the frames, pixels.", rich_help_panel=_SAMPLES)
    ] = 256,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of all random numbers.", rich_help_panel=_SAMPLES)
    ] = 0,
    flo: Annotated[
        bool,
        typer.Option("--flo", help="Also write the flow as .flo files.", rich_help_panel=_SAMPLES),
    ] = False,
    textures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images and videos, whose crops are textures. Default: generated textures.",
            rich_help_panel=_CONTENT,
        ),
    ] = None,
    shapes: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Number of shapes. Default: 2,6.", rich_help_panel=_CONTENT),
    ] = None,
    motion: Annotated[
        float,
        typer.Option(
            max=100,
            help="Largest displacement between two frames, pixels. The median over pixels is about a tenth.",
            rich_help_panel=_CONTENT,
        ),
    ] = 20.0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes. Default: one per core.", rich_help_panel=RUN_PANEL),
    ] = None,
    json: Json = False,
) -> None:
    from praxiscope.errors import DataError

    counts = _pair("--clips", clips, int) or (train // 10, test // 10)
    design: dict[str, Any] = {"size": size, "motion": motion}
    if (between := _pair("--shapes", shapes, int)) is not None:
        design["shapes"] = between
    if textures is not None and not textures.is_dir():
        raise DataError(f"{textures}: no such folder of textures")
    with quick_imports():
        from praxiscope.commands.moving_shapes import Design, ShapeSet, make_moving_shapes

    content = ShapeSet((train, test), counts, frames, seed, textures, flo, Design(**design))
    folder = make_moving_shapes(out, content, workers=workers, reporter=reporter())
    if json:
        print_json({"out": str(folder), "pairs": [train, test], "clips": list(counts)})
    else:
        print(
            f"{counted(train, 'training pair')}, {counted(test, 'test pair')}, {counted(counts[0], 'training clip')} "
            f"and {counted(counts[1], 'test clip')} of {frames} frames: {folder}"
        )


def _pair(option: str, text: str | None, kind: Callable[[str], Any]) -> tuple[Any, Any] | None:
    """Parse two numbers, as in 6,12. Raises ArgumentError for other text."""
    from praxiscope.errors import ArgumentError

    if text is None:
        return None
    try:
        low, high = map(kind, text.split(","))
    except ValueError:
        raise ArgumentError(f"{option} {text}: expected two whole numbers, such as 6,12") from None
    return low, high
