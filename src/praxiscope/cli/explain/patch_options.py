"""Options of the pictures of patches, and a function that reads what they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import DATA_PANEL, MODEL_PANEL, reporter
from praxiscope.cli.retrieval_options import ITEMS

if TYPE_CHECKING:
    from praxiscope.retrieval.encoder import LocalFeatures
    from praxiscope.types import VideoRecord

__all__ = ["BACKBONE", "Frames", "Items", "Layers", "Most", "check_layers", "local_features", "records_of"]

BACKBONE = "efficientnet_lite0"

Items = Annotated[str, typer.Argument(metavar="DATA", help=ITEMS, show_default=False)]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="LAYER[@SIZE]",
        help="Layer whose map is taken, with the size to which images are warped. Default: blocks.4@224. May be given "
        "several times.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Frames = Annotated[int, typer.Option(min=1, help="Frames of each video.", rich_help_panel=DATA_PANEL)]
Most = Annotated[
    int,
    typer.Option(
        min=2,
        help="Largest number of images and videos of DATA that are searched, evenly spaced.",
        rich_help_panel=DATA_PANEL,
    ),
]


def check_layers(layer: Sequence[str] | None, backbone: str | None, device: str) -> None:
    """Check what can be checked before torch is imported.

    Raises:
        ArgumentError: a layer, a backbone or a device that cannot be used.
    """
    from praxiscope.devices import check_device
    from praxiscope.models.names import check_backbone
    from praxiscope.retrieval.parts import Part

    check_device(device)
    check_backbone(backbone or BACKBONE)
    for text in layer or ():
        Part.parse(text)


def records_of(
    data: str, annotations: str | None, split: str | None, frame_folders: bool
) -> list[VideoRecord]:
    """The images and videos of DATA."""
    with quick_imports():
        from praxiscope.commands.index_items import found_items
    lists = Path(annotations) if annotations else None
    return found_items(data, annotations=lists, split=split, frame_folders=frame_folders)


def local_features(
    layer: Sequence[str] | None, backbone: str | None, weights: str | None, device: str
) -> LocalFeatures:
    """The features of the layers."""
    with quick_imports():
        from praxiscope.devices import pick_device
        from praxiscope.inference.frame_network import create_frame_network
        from praxiscope.inference.network import TrainedNetwork
        from praxiscope.retrieval.encoder import LocalFeatures
        from praxiscope.retrieval.parts import Part
    network = create_frame_network(backbone or BACKBONE, weights=weights)
    reporter().line(network.note)
    trained = TrainedNetwork(network.model, network.card, device=pick_device(device))
    return LocalFeatures(trained, [Part.parse(text) for text in dict.fromkeys(layer or ("blocks.4",))])
