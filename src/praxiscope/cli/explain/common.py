"""Arguments shared by several pictures, and functions to check inputs and write a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope.cli.common import OUTPUT_PANEL, print_json

if TYPE_CHECKING:
    from praxiscope.explain.explanation import Explanation

__all__ = [
    "Label",
    "OneCrop",
    "Out",
    "Run",
    "SeenBy",
    "Video",
    "Videos",
    "check_inputs",
    "output_path",
    "write",
]

Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder or model folder.", show_default=False)]
Video = Annotated[str, typer.Argument(metavar="VIDEO", help="Video file.", show_default=False)]
Videos = Annotated[
    list[str], typer.Argument(metavar="VIDEO", help="One video file or more.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Image file to write: .png, .jpg, .pdf or .svg. Default: VIDEO_PICTURE.png or RUN_PICTURE.png in the "
        "current folder.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
SeenBy = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="Frames that the model sees: allx1 (every frame, at the model's frame rate) or, for example, 30x1 (30 "
        "frames, evenly spaced). Default: as praxiscope predict.",
    ),
]
OneCrop = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="Frames that the model sees, one crop of each: 25x1, or 25xfull for whole frames. Default: the "
        "frames of praxiscope predict.",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(help="Class whose loss is differentiated. Default: the class predicted for the video."),
]


def output_path(out: Path | None, source: str, picture: str) -> Path:
    """Return the checked path of the file to write. By default, its name is that of the source and the picture.

    Raises:
        ArgumentError: the file cannot be written.
    """
    from praxiscope.explain.checks import check_picture_path

    if out is None:
        path = Path(source)
        out = Path(f"{path.resolve().name if path.is_dir() else path.stem}_{picture}.png")
    return check_picture_path(out)


def check_inputs(
    run: str, videos: Sequence[str], checkpoint: str | None, task: str | None, device: str
) -> None:
    """Check that a network, videos and a device exist, before torch is imported.

    Raises:
        ArgumentError, CheckpointError, VideoError: one of them does not exist.
    """
    from praxiscope.checkpoint import check_recogniser
    from praxiscope.devices import check_device
    from praxiscope.video.sources import check_there

    check_device(device)
    check_recogniser(run, checkpoint, task)
    for video in videos:
        check_there(video)


def write(made: Explanation, out: Path, summary: str, json: bool) -> None:
    """Write the picture, and print its path with a summary, or with all facts as JSON."""
    from praxiscope.explain.explanation import save_explanation

    save_explanation(made, out)
    if json:
        print_json({"picture": str(out), **made.facts})
    else:
        print(f"{out}: {summary}")
