"""``praxiscope bench retrieval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.bench.common import print_cells
from praxiscope.cli.common import DATA_PANEL, MODEL_PANEL, Device, Json, print_json, reporter
from praxiscope.cli.retrieval_options import Weights
from praxiscope.errors import ArgumentError

_WHITEN = {"yes": (True,), "no": (False,), "both": (True, False)}


def retrieval(
    data: Annotated[
        str,
        typer.Argument(
            help="LAYOUT:FOLDER (dvd, dvd-groups, holidays, oxford, paris), or labelled videos with --of.",
            show_default=False,
        ),
    ],
    of: Annotated[
        str | None,
        typer.Option(
            help="label or group: each video of DATA searches the others of its label or its group. Without "
            "--learn-from only the test split is searched.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the official lists, if they are not beside the images.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    learn_from: Annotated[
        str | None,
        typer.Option(
            help="Data from which vocabularies and PCA are learned: a folder of images, or videos (their training "
            "split). Default: the searched items of DATA that are not queries; with --of the training split of DATA.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each video.", rich_help_panel=DATA_PANEL)] = 8,
    backbone: Annotated[
        str,
        typer.Option(
            help="Network of single frames.", autocompletion=complete.backbones, rich_help_panel=MODEL_PANEL
        ),
    ] = "efficientnet_lite0",
    weights: Weights = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER[@SIZE][+LAYER…]",
            help="Layer whose map is encoded, with the size of the image; joined with +. Default: each layer. May be "
            "given several times.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Size to which images are warped, pixels. Default: 224. May be given several times.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    words: Annotated[
        int, typer.Option(min=1, help="Words of each vocabulary.", rich_help_panel=MODEL_PANEL)
    ] = 100,
    dims: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Dimensions after PCA; 0: VLAD itself. Default: 0 and 128. May be given several times.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    whiten: Annotated[
        str,
        typer.Option(help="Whether PCA whitens: yes, no or both.", rich_help_panel=MODEL_PANEL),
    ] = "yes",
    seed: Annotated[
        int, typer.Option(help="Seed of the vocabularies and of PCA.", rich_help_panel=MODEL_PANEL)
    ] = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the mean average precision and recall@1 of VLAD on a set of retrieval.

    Example: praxiscope bench retrieval dvd:covers/ --learn-from videos/ --layer blocks.4 --layer blocks.4@448
    """
    from praxiscope.devices import check_device
    from praxiscope.models.names import check_backbone
    from praxiscope.retrieval.parts import Part
    from praxiscope.retrieval.sets import by_label, find_retrieval_set

    check_device(device)
    check_backbone(backbone)
    if whiten not in _WHITEN:
        raise ArgumentError(f"--whiten must be yes, no or both, got {whiten!r}")
    sizes = size or [224]
    for text in layer or ():
        for one in text.split("+"):
            Part.parse(one)
    for number in sizes:
        Part.parse(f"layer@{number}")
    if of:
        found = by_label(data, of, annotations, part=None if learn_from else "test")
        learn_from = learn_from or data
    else:
        found = find_retrieval_set(data, annotations)
    with quick_imports():
        from praxiscope.bench.retrieval import HEADER, RetrievalTest, bench_retrieval, format_retrieval
        from praxiscope.devices import pick_device
        from praxiscope.retrieval.learning import Learning
    console = reporter()
    for note in found.notes:
        console.line(f"Note: {note}")
    rows = bench_retrieval(
        found,
        RetrievalTest(
            learn_from=learn_from,
            backbone=backbone,
            weights=weights,
            layers=layer or (),
            sizes=sizes,
            dims=dims or (0, 128),
            whiten=_WHITEN[whiten],
            learning=Learning(words=words, seed=seed),
            frames=frames,
            device=pick_device(device),
        ),
        reporter=console,
    )
    if json:
        print_json(rows)
    else:
        print_cells(list(HEADER), format_retrieval(rows))
