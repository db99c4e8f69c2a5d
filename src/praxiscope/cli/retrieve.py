"""``praxiscope retrieve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import OUTPUT_PANEL, Device, Json, print_json, print_table, reporter
from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    from praxiscope.retrieval.library import Hit, Library

HELP = """Find images and videos like one in a library.

\b
Example: praxiscope retrieve library/ clip.mp4 --top 10 --page found.html
  praxiscope retrieve library/ clip.mp4 --from 3s --to 5s --within film.mp4
"""
_QUERY = "Query"


def retrieve(
    library: Annotated[Path, typer.Argument(help="Folder of a library (praxiscope index).")],
    query: Annotated[str, typer.Argument(help="An image, a video, or the id of an item of the library.")],
    top: Annotated[int, typer.Option(min=1, help="Largest number of items.")] = 10,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Start of the query in its file, such as 3s.", rich_help_panel=_QUERY),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="End of the query in its file.", rich_help_panel=_QUERY)
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            help="Find the moments of this video that are most like the query, instead of items.",
            rich_help_panel=_QUERY,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="File for a page with film strips, .html.", rich_help_panel=OUTPUT_PANEL),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    from praxiscope.devices import check_device
    from praxiscope.units import parse_duration

    check_device(device)
    start_s = None if start is None else 0.0 if start in ("0", "0s") else parse_duration("--from", start)
    end_s = None if end is None else parse_duration("--to", end)
    if page is not None and (page.suffix != ".html" or within is not None):
        raise ArgumentError(
            f"--page {page}: give a file that ends with .html"
            if within is None
            else "--page shows items, not the moments of --within"
        )
    with quick_imports():
        from praxiscope.commands.retrieve import moments
        from praxiscope.commands.retrieve import retrieve as run_retrieve
        from praxiscope.retrieval.page import page as make_page
    part: dict[str, Any] = {"top": top, "start_s": start_s, "end_s": end_s, "device": device}
    if within is not None:
        found = moments(library, query, within, **part)
        if json:
            print_json([moment._asdict() for moment in found])
            return
        rows = [[f"{one.start_s:.1f}", f"{one.end_s:.1f}", f"{one.similarity:.3f}"] for one in found]
        print_table(["start s", "end s", "similarity"], rows, title=f"{query} within {within}")
        return
    answer = run_retrieve(library, query, **part)
    if page is not None:
        from praxiscope.video.picturefile import replacing

        text = make_page(answer.query, answer.thumbs, answer.hits, answer.library)
        with replacing(page) as file:
            file.write(text.encode())
        reporter().line(f"Written: {page}")
    if json:
        print_json([_plain(hit, answer.library) for hit in answer.hits])
        return
    rows = [
        [
            f"{hit.similarity:.3f}",
            hit.item.id,
            "" if hit.whole else f"{hit.start_s:.1f}–{hit.end_s:.1f}",
            ", ".join(hit.item.labels),
        ]
        for hit in answer.hits
    ]
    print_table(["similarity", "item", "window, s", "label"], rows, title=f"Like {query}")


def _plain(hit: Hit, library: Library) -> dict[str, object]:
    return {
        "id": hit.item.id,
        "path": str(library.path_of(hit.item)),
        "labels": hit.item.labels,
        "similarity": hit.similarity,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "whole": hit.whole,
    }
