"""``praxiscope explain correspondence``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Annotations, Device, Json, Split, reporter
from praxiscope.cli.explain.common import Out, output_path, write
from praxiscope.cli.explain.patch_options import (
    Frames,
    Items,
    Layers,
    Most,
    check_layers,
    local_features,
    records_of,
)
from praxiscope.cli.retrieval_options import Backbone, FrameFolders, Weights
from praxiscope.errors import ArgumentError
from praxiscope.units import counted


def correspondence(
    data: Items,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Images, or videos for their middle frames.", show_default=False
        ),
    ],
    layer: Layers = None,
    neighbours: Annotated[
        str, typer.Option(help="Numbers of nearest patches that are averaged, with commas.")
    ] = "1,5",
    backbone: Backbone = None,
    weights: Weights = None,
    frames: Frames = 3,
    most: Most = 1000,
    split: Split = None,
    annotations: Annotations = None,
    frame_folders: FrameFolders = False,
    device: Device = "auto",
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw images with each patch replaced by the nearest patches of other images, as layers of a network see them.

    Example: praxiscope explain correspondence images/ a.jpg --layer blocks.4@224 --layer act2@224 --layer act2@448
    """
    from praxiscope.video.sources import check_there

    out = output_path(out, images[0], "correspondence")
    counts = _numbers(neighbours)
    check_layers(layer, backbone, device)
    for image in images:
        check_there(image)
    records = records_of(data, annotations, split, frame_folders)
    with quick_imports():
        from praxiscope.explain.correspondence import explain_correspondence
    made = explain_correspondence(
        images,
        records,
        local_features(layer, backbone, weights, device),
        neighbours=counts,
        frames=frames,
        most=most,
        reporter=reporter(),
    )
    first = made.facts["made"][0]
    found = f"patches of {counted(made.facts['searched'], 'image')}; {first['image']}, {first['layer']}"
    write(made, out, f"{found}: {first['distinct']:.0%} of the nearest patches differ", json)


def _numbers(text: str) -> list[int]:
    try:
        found = [int(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise ArgumentError(f"--neighbours must be numbers of at least 1 with commas, as 1,5, got {text!r}")
    return found
