"""``praxiscope export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Json, print_json, reporter
from praxiscope.units import counted

HELP = """Export a network for other runtimes, with its sampling, normalisation and labels in one folder.

\b
Example: praxiscope export runs/a --out model/
  praxiscope predict model/ clip.mp4
The second command needs PyAV, numpy and onnxruntime, but not torch.
"""


def export(
    run: Annotated[str, typer.Argument(help="Run folder or model folder of a network of RGB frames.")],
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
    from praxiscope.commands.predict import Failure, find_sources
    from praxiscope.evaluation.protocols import parse_protocol

    if protocol is not None:
        parse_protocol(protocol)
    check_recogniser(run)
    clips, training = (
        [one for one in find_sources(given or []) if not isinstance(one, Failure)] for given in (check, int8)
    )
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
        reporter=reporter(),
    )
    about = made.description
    if json:
        print_json({"folder": str(made.folder), "bytes": made.bytes, **about.to_dict()})
        return
    views = "any number of snippets" if about.snippets is None else counted(about.snippets, "snippet")
    print(
        f"{made.folder}: {about.model}, {counted(len(about.labels), 'class', 'classes')}, {views}, "
        f"{made.bytes / 1e6:.1f} MB. Largest relative difference on random frames: {about.checked['noise']:.1g}."
    )
