"""``praxiscope index``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    DATA_PANEL,
    MODEL_PANEL,
    OUTPUT_PANEL,
    RUN_PANEL,
    Annotations,
    Device,
    Json,
    MaxSkip,
    Split,
    print_json,
    reporter,
)
from praxiscope.cli.retrieval_options import ITEMS, Backbone, FrameFolders, Weights
from praxiscope.errors import ArgumentError
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.commands.index_options import IndexSummary

HELP = """Make images and videos searchable, or bring a library up to date with them.

What is new or has changed in DATA is encoded; what DATA no longer has is removed. Items of other data that the library
holds stay. Run the same command again to continue an interrupted run; until it ends, the library is as it was before.

\b
Example: praxiscope index videos/ --out library/
  praxiscope retrieve library/ clip.mp4 --top 10
"""
_READING = "Videos"


def index(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"{ITEMS.removesuffix('.')}; or a folder of stored maps (praxiscope features --pool none).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the library.")] = Path("library"),
    remove: Annotated[
        list[str] | None,
        typer.Option(
            help="Remove an item by its id, or all items of DATA that were indexed. May be given several times.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    split: Split = None,
    annotations: Annotations = None,
    max_skip: MaxSkip = None,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Read items again that were skipped before.", rich_help_panel=DATA_PANEL
        ),
    ] = False,
    frame_folders: FrameFolders = False,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second of video that are encoded. Default: 2.", rich_help_panel=_READING
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="Length of the windows of a video that can be found by themselves: 4s; 0: none. Default: 4s.",
            rich_help_panel=_READING,
        ),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(
            help="From the start of a window to that of the next. Default: half a window.",
            rich_help_panel=_READING,
        ),
    ] = None,
    backbone: Backbone = None,
    weights: Weights = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER[@SIZE]",
            help="Layer whose map is encoded, with the size of frames. Several are joined. Default: blocks.4@224.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    words: Annotated[
        int | None,
        typer.Option(min=1, help="Words of the vocabulary. Default: 100.", rich_help_panel=MODEL_PANEL),
    ] = None,
    dims: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Dimensions of a vector, by PCA; 0: no PCA. Default: 128.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    learn_from: Annotated[
        str | None,
        typer.Option(
            help="Data from which the vocabulary and PCA are learned. Default: DATA.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Library whose encoder is taken.", rich_help_panel=MODEL_PANEL),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the encoder. Default: 0.", rich_help_panel=MODEL_PANEL)
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            help="exact, hnsw, ivf-pq (with FAISS), or auto: exact up to 100,000 rows, then hnsw.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes. Default: one per core.", rich_help_panel=RUN_PANEL),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    from dataclasses import asdict

    from praxiscope.devices import check_device
    from praxiscope.models.names import check_backbone
    from praxiscope.retrieval.parts import Part
    from praxiscope.units import parse_duration

    check_device(device)
    if backbone is not None:
        check_backbone(backbone)
    for text in layer or ():
        Part.parse(text)
    if bool(data) == bool(remove):
        raise ArgumentError("give DATA to index, or --remove")
    window_s = 4.0 if window is None else 0.0 if window == "0" else parse_duration("--window", window)
    stride_s = parse_duration("--stride", stride) if stride else window_s / 2
    _check_for_library(
        out,
        {
            "backbone": backbone, "weights": weights, "layer": layer and [str(Part.parse(one)) for one in layer],
            "words": words, "dims": dims, "learn_from": learn_from, "encoder": encoder, "seed": seed, "fps": fps,
            "window": window and window_s, "stride": stride and stride_s,
        },
    )  # fmt: skip
    _check_for_store(data or (), {"backbone": backbone, "weights": weights, "layer": layer, "fps": fps})
    with quick_imports():
        from praxiscope.commands.index import index as run_index
        from praxiscope.commands.index import remove_items
        from praxiscope.commands.index_options import IndexOptions
        from praxiscope.retrieval.encode_items import Reading
        from praxiscope.retrieval.learning import Learning
    if remove:
        print(f"{counted(remove_items(out, remove, reporter=reporter()), 'item')} removed from {out}.")
        return
    options = IndexOptions(
        backbone=backbone or "efficientnet_lite0",
        weights=weights,
        layers=layer or ("blocks.4",),
        learning=Learning(words=words or 100, dims=128 if dims is None else dims, seed=seed or 0),
        learn_from=learn_from,
        encoder=encoder,
        reading=Reading(2.0 if fps is None else fps, window_s, stride_s),
        search=search,
        annotations=Path(annotations) if annotations else None,
        split=split,
        workers=workers,
        device=device,
        max_skip=max_skip,
        retry=retry,
        frame_folders=frame_folders,
    )
    summaries = [run_index(one, out, options, reporter=reporter()) for one in data or ()]
    if json:
        print_json(asdict(summaries[-1]) if len(summaries) == 1 else [asdict(one) for one in summaries])
        return
    for one in summaries:
        _print(one, out)


def _check_for_library(out: Path, options: Mapping[str, object]) -> None:
    """Raise ArgumentError if an option of a new library is given for one that exists and has another."""
    from praxiscope.retrieval.state import is_library, read_state

    given = {name: value for name, value in options.items() if value is not None}
    if not given or not is_library(out):
        return
    known = read_state(out).made_with
    for name, value in given.items():
        if name not in known or known[name] != value:
            has = f" made with {known[name]}" if known.get(name) is not None else ""
            raise ArgumentError(
                f"--{name.replace('_', '-')}: {out} is a library{has}, and keeps its encoder. Leave it out, or use "
                "another --out."
            )


def _check_for_store(data: Sequence[str], options: Mapping[str, object]) -> None:
    """Raise ArgumentError if an option is given that a feature store decides."""
    from praxiscope.features.store import is_store

    stores = [one for one in data if is_store(one)]
    given = next((name for name, value in options.items() if value is not None), None)
    if stores and given is not None:
        raise ArgumentError(f"--{given}: {stores[0]} holds features, which decide it. Leave it out.")


def _print(one: IndexSummary, out: Path) -> None:
    print(
        f"{one.added} added, {one.changed} changed, {one.removed} removed, {one.kept} unchanged. {out}: "
        f"{counted(one.items, 'item')}, {counted(one.rows, 'row')} of {one.dims}, {one.bytes / 1e6:.1f} MB, "
        f"{one.search} search."
        + (
            f" {counted(one.skipped, 'item')} could not be read: {out / 'skipped.csv'}."
            if one.skipped
            else ""
        )
    )
