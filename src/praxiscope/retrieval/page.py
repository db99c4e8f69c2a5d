"""A page that shows what was found, as film strips."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from pathlib import Path

from praxiscope.evaluation.report.html import PAGE, STYLE, data_address, percent, section
from praxiscope.retrieval.library import Hit, Library

__all__ = ["page"]

_OWN = """
.hit { display: grid; grid-template-columns: minmax(10rem, 18rem) 1fr; gap: .4rem 1.2rem; align-items: center;
  padding: .7rem 0; border-top: 1px solid var(--line); }
.hit:first-child { border-top: 0; }
.hit p { overflow-wrap: anywhere; }
.strip { display: flex; gap: 2px; overflow-x: auto; }
.strip img { height: 7.5rem; width: auto; max-width: none; }
.bar { display: block; height: .4rem; background: var(--right); border-radius: .2rem; }
@media (max-width: 40rem) { .hit { grid-template-columns: 1fr; } }
"""


def page(query: str, thumbs: Sequence[bytes], hits: Sequence[Hit], library: Library) -> str:
    """A page of HTML without anything outside of it.

    Args:
        query: its name.
        thumbs: of the query, JPEG.
        hits: what was found.
        library: where it was found.
    """
    rows = [_hit(number, hit, library.thumbs(hit.item.id)) for number, hit in enumerate(hits, 1)]
    about = (
        f'<p class="small">{len(library)} items in {escape(str(library.root))}; '
        f"{'all rows were compared' if library.exact else 'approximate search'}.</p>"
    )
    asked = f'<p class="small">{escape(query)}</p>'
    body = section("Query", asked + _strip(thumbs, query)) + section("Found", about + "".join(rows))
    return PAGE.format(
        media="",
        title=f"Like {escape(Path(query).name)}",
        style=STYLE + _OWN,
        written=date.today().isoformat(),
        up="",
        body=body,
    )


def _hit(number: int, hit: Hit, thumbs: Sequence[bytes]) -> str:
    place = "" if hit.whole else f"<p>{hit.start_s:.1f} to {hit.end_s:.1f} s</p>"
    labels = f"<p>{escape(', '.join(hit.item.labels))}</p>" if hit.item.labels else ""
    return (
        f'<div class="hit"><div><p><b>{number}.</b> {escape(hit.item.id)}</p>{labels}{place}'
        f'<p class="small">similarity {hit.similarity:.3f}</p>'
        f'<span class="bar" style="width:{percent(hit.similarity)}%"></span></div>'
        f"{_strip(thumbs, hit.item.id)}</div>"
    )


def _strip(thumbs: Sequence[bytes], name: str) -> str:
    images = "".join(
        f'<img src="{data_address("jpeg", image)}" alt="frame {number} of {escape(name)}">'
        for number, image in enumerate(thumbs, 1)
    )
    return f'<div class="strip">{images}</div>'
