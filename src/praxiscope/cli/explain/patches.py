"""``praxiscope explain patches``."""

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
from praxiscope.units import counted


def patches(
    data: Items,
    layer: Layers = None,
    rows: Annotated[int, typer.Option(min=1, help="Number of sampled patches.")] = 8,
    columns: Annotated[int, typer.Option(min=1, help="Nearest patches of each.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampled patches.")] = 0,
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
    """Draw sampled patches of images, each with its nearest patches of other images, as layers of a network see them.

    A row has at most one patch of each image or video, the nearest first.

    Example: praxiscope explain patches images/ --layer blocks.2@224 --layer act2@224 --layer act2@448
    """
    out = output_path(out, data.rpartition(":")[2] or data, "patches")
    check_layers(layer, backbone, device)
    records = records_of(data, annotations, split, frame_folders)
    with quick_imports():
        from praxiscope.explain.patches import explain_patches
    made = explain_patches(
        records,
        local_features(layer, backbone, weights, device),
        rows=rows,
        columns=columns,
        frames=frames,
        most=most,
        seed=seed,
        reporter=reporter(),
    )
    shown = counted(len(made.facts["layers"][0]["rows"]), "patch", "patches")
    searched = counted(made.facts["searched"], "image")
    write(
        made,
        out,
        f"{shown} and the nearest of {searched}, for {counted(len(made.facts['layers']), 'layer')}",
        json,
    )
