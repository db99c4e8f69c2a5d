"""Building blocks of a report's HTML: sections, bars, images, and the page around them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

from praxiscope.evaluation import plots

__all__ = [
    "PAGE",
    "STYLE",
    "bar",
    "card",
    "data_address",
    "figure_image",
    "folded",
    "percent",
    "plain",
    "section",
    "share",
    "yaml_text",
]


def section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def card(title: str, value: str, below: str) -> str:
    return (
        f'<div class="card"><h3>{title}</h3><p class="figure">{value}</p><p class="small">{below}</p></div>'
    )


def folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"


def share(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def bar(value: float | None) -> str:
    if value is None:
        return "–"
    bar = f'<span class="bar" style="width:{percent(value)}%"></span>'
    return f'<span class="track">{bar}</span> {share(value)}'


def percent(value: float) -> int:
    """A share as an integer percentage from 0 to 100; NaN gives 0."""
    return round(100 * min(max(float(value), 0.0), 1.0)) if value == value else 0


def plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def yaml_text(values: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(dict(values), default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def figure_image(figures: Sequence[Any], alt: str, style: str = "") -> str:
    """An image in two versions; the page's light or dark setting chooses one."""
    light, dark = (data_address("png", plots.figure_png(figure)) for figure in figures)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(alt)}" style="{style}"></picture>'
    )


def data_address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; {media}style-src 'unsafe-inline'">
<title>{title} – praxiscope</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p class="small">praxiscope report, {written}{up}</p></header>
{body}
</body>
</html>
"""

STYLE = """
:root { --page: #f4f5f7; --paper: #fff; --text: #24272c; --faint: #666c76; --line: #e0e3e8;
  --right: #0b63a8; --wrong: #c4560a; --other: #aab1bc; }
@media (prefers-color-scheme: dark) { :root { --page: #121418; --paper: #1b1e23; --text: #d8dbe0;
  --faint: #979eaa; --line: #32373f; --right: #6cb6ff; --wrong: #ff9d4d; --other: #5c6470; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { margin: .5rem 0 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 0 0 .8rem; font-size: 1.2rem; }
h3 { margin: 1rem 0 .4rem; font-size: 1rem; }
p { margin: .3rem 0; }
section { margin: 1rem 0; padding: 1rem 1.2rem; background: var(--paper); border: 1px solid var(--line);
  border-radius: .6rem; }
.small, dt { color: var(--faint); font-size: .85rem; }
.note { margin: 1rem 0; padding: .6rem 1rem; background: var(--paper);
  border-left: .3rem solid var(--wrong); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .8rem 1.2rem; }
.card h3 { margin: 0; font-size: .85rem; font-weight: 600; color: var(--faint); }
.figure { margin: 0; font-size: 2rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figure small { font-size: 1rem; color: var(--faint); }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 1.6rem; margin: 1rem 0 .3rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
.facts div { min-width: 0; } dt, dd { margin: 0; overflow-wrap: anywhere; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); gap: 1rem; }
img { display: block; max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
.scroll img { max-width: none; margin: 0 auto; }
.clip { margin: 0 0 1.4rem; }
video { height: 9rem; min-width: 13rem; max-width: 100%; border-radius: .3rem; background: #000; }
a { color: var(--right); }
.clip img { max-width: 100%; margin: 0; border-radius: .3rem; }
figcaption { display: flex; flex-wrap: wrap; gap: .3rem 2rem; padding-top: .4rem; font-size: .9rem; }
figcaption > p { flex: 1 1 16rem; overflow-wrap: anywhere; }
figcaption ol { flex: 1 1 16rem; margin: .3rem 0; padding: 0; list-style: none; }
figcaption li { position: relative; isolation: isolate; padding: 0 .5rem;
  margin-bottom: 2px; overflow-wrap: anywhere; }
figcaption .bar { position: absolute; z-index: -1; left: 0; top: 0; height: 100%; opacity: .3; }
.bar { display: block; height: .7rem; min-width: 1px; border-radius: 2px; background: var(--right); }
.bar.wrong { background: var(--wrong); } .bar.other { background: var(--other); }
.track { display: inline-block; width: 6rem; margin-right: .4rem; background: var(--line);
  border-radius: 2px; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
td:nth-child(3) { white-space: nowrap; }
table.accuracy { table-layout: fixed; min-width: 50rem; }
table.accuracy th:nth-child(1), table.accuracy th:nth-child(6) { width: 22%; }
table.accuracy th:nth-child(2) { width: 8%; } table.accuracy th:nth-child(3) { width: 11rem; }
table.accuracy td { overflow-wrap: anywhere; }
summary { margin: .8rem 0; cursor: pointer; color: var(--right); }
code { font-size: .8rem; color: var(--faint); }
pre { margin: 0; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; overflow-x: auto;
  font-size: .82rem; background: var(--page);
  border-radius: .4rem; }
"""
