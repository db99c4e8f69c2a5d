"""Options that the commands on layers of a network of single frames share."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope.cli import complete
from praxiscope.cli.common import DATA_PANEL, MODEL_PANEL

__all__ = ["ITEMS", "Backbone", "FrameFolders", "Weights"]

ITEMS = "Folder of images and videos, CSV (path,label[,start,end,split,group]) or LAYOUT:FOLDER."

FrameFolders = Annotated[
    bool,
    typer.Option(
        "--frame-folders",
        help="A folder of numbered images is one video. Default: each image is an item.",
        rich_help_panel=DATA_PANEL,
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Network of single frames. Default: efficientnet_lite0.",
        autocompletion=complete.backbones,
        rich_help_panel=MODEL_PANEL,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights of the backbone: a file, a run, or 'download'. Default: those that are installed.",
        rich_help_panel=MODEL_PANEL,
    ),
]
