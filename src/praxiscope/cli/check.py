"""``praxiscope check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    DATA_PANEL,
    Annotations,
    Json,
    Split,
    Workers,
    print_json,
    print_table,
    reporter,
)

if TYPE_CHECKING:
    from praxiscope.commands.check_duplicates import Duplicates
    from praxiscope.data.check import CheckReport
    from praxiscope.data.label_trouble import LabelTrouble, NearDuplicate
    from praxiscope.types import VideoRecord

HELP = """Check a data set before training: broken videos, class balance, duplicates and leaks between splits.

With --labels it also lists clips whose features disagree with their label, and clips that show nearly the same.

\b
Example: praxiscope check videos/

\b
Labels and near duplicates, from stored features:
  praxiscope check videos/ --labels features/ --picture labels.png

\b
Near duplicates in a library, also of other encodings, cropped or cut:
  praxiscope check --duplicates library/
"""

_LABELS_PANEL = "Label trouble"
_ROWS = 20


def check(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder of class folders, CSV (path,label[,start,end,split,group]), LAYOUT:FOLDER, or stored "
            "features.",
            show_default=False,
        ),
    ] = None,
    split: Split = None,
    annotations: Annotations = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Decode every frame, to find damaged ones. Slower.", rich_help_panel=DATA_PANEL
        ),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FEATURES",
            help="Folder of the videos' features (praxiscope features), to compare with the labels. DATA may then be "
            "left out.",
            rich_help_panel=_LABELS_PANEL,
        ),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            metavar="LIBRARY",
            help="Library of the videos (praxiscope index): its items that show nearly the same. DATA may then be left "
            "out.",
            rich_help_panel=_LABELS_PANEL,
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            help="Similarity from which on items of --duplicates are listed, at most 1. Default: 0.75.",
            rich_help_panel=_LABELS_PANEL,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="With --labels: image file (.png, .jpg, .pdf, .svg) for the most suspicious clips; near duplicates "
            "are drawn into another beside it, NAME_duplicates.",
            rich_help_panel=_LABELS_PANEL,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --labels: CSV file for all suspicious clips and near duplicates.",
            rich_help_panel=_LABELS_PANEL,
        ),
    ] = None,
    workers: Workers = 2,
    json: Json = False,
) -> None:
    from praxiscope.errors import ArgumentError, DataError

    if duplicates is None and least is not None:
        raise ArgumentError("--least is for --duplicates: add it, or leave --least out")
    if duplicates is not None:
        from praxiscope.retrieval.state import is_library

        if not is_library(duplicates):
            raise DataError(
                f"{duplicates}: holds no library. Create one: praxiscope index DATA --out {duplicates}"
            )
    alone = duplicates is not None and data is None and labels is None
    if not alone or picture is not None or out is not None:
        _check_arguments(data, split, annotations, labels, picture, out)
    similar = None if duplicates is None else _similar(duplicates, least, data)
    if alone and similar is not None:
        _show_similar(similar, json)
        return
    with quick_imports():
        from praxiscope.commands.check import check as run_check

    report = run_check(
        data,
        labels=labels,
        split=split,
        annotations=annotations,
        full=full,
        workers=workers,
        reporter=reporter(),
    )
    written = _write(report.label_trouble, picture, out)
    if json:
        print_json(report.to_dict() | ({} if similar is None else {"duplicates": similar.to_dict()}))
    else:
        _print(report)
        if similar is not None:
            _show_similar(similar, json)
        for path in written:
            print(f"Written: {path}")
    if not report.whole:
        raise typer.Exit(1)


def _similar(library: str, least: float | None, data: str | None) -> Duplicates:
    """Search a library for near duplicates; note if it is of other data."""
    from praxiscope.retrieval.state import read_state

    with quick_imports():
        from praxiscope.commands.check_duplicates import LEAST_SIMILARITY, check_duplicates
        from praxiscope.commands.index_items import source_name
    known = read_state(Path(library)).sources.values()
    if data is not None and source_name(data) not in known:
        listed = ", ".join(sorted(known)) or "nothing"
        reporter().line(
            f"Note: {library} is a library of {listed}, not of {data}; its own items are compared."
        )
    return check_duplicates(library, least=LEAST_SIMILARITY if least is None else least, reporter=reporter())


def _show_similar(found: Duplicates, json: bool) -> None:
    """Near duplicates of a library as a table and a line, or as JSON."""
    if json:
        print_json({"duplicates": found.to_dict()})
        return
    _print_pairs(found.pairs)
    print(found)


def _check_arguments(
    data: str | None,
    split: str | None,
    annotations: str | None,
    labels: str | None,
    picture: Path | None,
    out: Path | None,
) -> None:
    """Raise ArgumentError or DataError for what cannot be used, before torch is imported."""
    from praxiscope.data.manifest import find_data
    from praxiscope.errors import ArgumentError
    from praxiscope.explain.checks import check_picture_path
    from praxiscope.features.store import read_store_file

    source = labels if data is None else data
    if source is None:
        raise ArgumentError("give DATA to check, or --labels with the folder of its features")
    if labels is not None:
        read_store_file(Path(labels))
    elif picture is not None or out is not None:
        option = "--out" if picture is None else "--picture"
        raise ArgumentError(f"{option} shows what --labels finds: add --labels FEATURES")
    if picture is not None:
        check_picture_path(picture)
    if out is not None and (out.suffix.lower() != ".csv" or not out.parent.is_dir()):
        raise ArgumentError(f"--out {out}: give the path of a .csv file in an existing folder")
    find_data(source, split, annotations)


def _print(report: CheckReport) -> None:
    """The report as tables and lines."""
    splits = [name for name in ("train", "val", "test") if any(c.get(name) for c in report.classes.values())]
    rows = [
        [name, *(str(counts.get(split_name, 0)) for split_name in splits)]
        for name, counts in report.classes.items()
    ]
    print_table(["class", *splits], rows)
    if report.label_trouble is not None:
        _print_trouble(report.label_trouble)
    print(report)


def _print_trouble(found: LabelTrouble) -> None:
    """The most suspicious clips and the first near duplicates as tables; their numbers are in the report."""
    if found.suspects:
        title = "Labels that the features of their clips contradict, the most suspicious first"
        rows = [
            [
                one.record.id,
                one.record.labels[0],
                one.suggested,
                f"{one.probability:.3f}",
                one.record.group or "",
            ]
            for one in found.suspects[:_ROWS]
        ]
        print_table(["clip", "label", "looks like", "probability", "group"], rows, title)
    _print_pairs(found.duplicates)
    if max(len(found.suspects), len(found.duplicates)) > _ROWS:
        print(f"Only the first {_ROWS} are shown; --json and --out FILE.csv list all.")


def _print_pairs(pairs: Sequence[NearDuplicate]) -> None:
    """The first pairs of clips that show nearly the same."""
    if not pairs:
        return
    rows = [
        [f"{pair.similarity:.3f}", *(f"{record.id} ({_place(record)})" for record in pair.records)]
        for pair in pairs[:_ROWS]
    ]
    print_table(["similarity", "clip", "nearly the same"], rows, "Clips that show nearly the same")


def _place(record: VideoRecord) -> str:
    """Split and labels of a clip, as far as it has them."""
    return ": ".join(filter(None, (record.split, " | ".join(record.labels))))


def _write(found: LabelTrouble | None, picture: Path | None, out: Path | None) -> list[Path]:
    """Write the table and the pictures that were asked for, and return their paths."""
    if found is None:
        return []
    written = []
    if out is not None:
        from praxiscope.data.label_trouble import write_trouble

        written.append(write_trouble(found, out))
    if picture is not None:
        with quick_imports():
            from praxiscope.explain.explanation import save_explanation
            from praxiscope.explain.label_trouble import draw_duplicates, draw_suspects

        beside = picture.with_name(f"{picture.stem}_duplicates{picture.suffix}")
        if found.suspects:
            written.append(save_explanation(draw_suspects(found), picture))
        if found.duplicates:
            written.append(save_explanation(draw_duplicates(found), beside))
    return written
