"""``praxiscope export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Json, print_json, reporter
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.progress import Reporter

HELP = """Export a network for other runtimes, with its sampling, normalisation and labels in one folder.

\b
Example: praxiscope export runs/a --out model/
  praxiscope predict model/ clip.mp4
The second command needs PyAV, numpy and onnxruntime, but not torch.
"""


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="Run folder or model folder: of a network of RGB frames, of flow by OpenCV, or of both; of a model of "
            "trajectories; or of a network that estimates flow."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the exported network.")],
    to: Annotated[
        str, typer.Option(help="onnx, openvino, or pt2: PyTorch's exported program.", metavar="FORMAT")
    ] = "onnx",
    protocol: Annotated[
        str | None, typer.Option(help="Views by which videos are predicted. Default: that of the model.")
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIDEO",
            help="Video, folder or glob: predict it by both networks, and keep the differences. May be repeated.",
        ),
    ] = None,
    int8: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIDEO",
            help="Video, folder or glob of the training set: quantise the network to 8 bits by it. May be repeated.",
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    json: Json = False,
) -> None:
    from praxiscope.checkpoint import check_recogniser
    from praxiscope.evaluation.protocols import parse_protocol

    if protocol is not None:
        parse_protocol(protocol)
    check_recogniser(run)
    speaker = reporter()
    clips, training = (_videos(given, speaker) for given in (check, int8))
    with quick_imports():
        from praxiscope.commands.export import export as run_export
    made = run_export(
        run,
        out,
        to=to,
        protocol=protocol,
        clips=clips,
        int8=training,
        checkpoint=checkpoint,
        reporter=speaker,
    )
    about = made.description
    content = about.to_dict()
    if json:
        print_json({"folder": str(made.folder), "bytes": made.bytes, **content})
        return
    if "labels" in content:
        said = f"{counted(len(about.labels), 'class', 'classes')}, "
    else:
        said = f"flow of {content['together']} frames, "
    if "snippets" in content:  # not of a fused run
        count = content["snippets"]
        said += "any number of snippets, " if count is None else f"{counted(count, 'snippet')}, "
    print(
        f"{made.folder}: {about.model}, {said}"
        f"{made.bytes / 1e6:.1f} MB. Largest relative difference on random input: {about.checked['noise']:.1g}."
    )


def _videos(given: list[str] | None, speaker: Reporter) -> list[str]:
    """The videos of an option. Those of a list that do not exist are left out, with a line."""
    from praxiscope.commands.predict import Failure, find_sources

    videos = []
    for one in find_sources(given or [], speaker.line):
        if isinstance(one, Failure):
            speaker.line(f"Left out: {one.error}")
        else:
            videos.append(one)
    return videos
