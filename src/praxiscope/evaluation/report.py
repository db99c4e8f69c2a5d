"""Reports of runs and tests: one HTML file each, that holds everything it shows but the videos that it plays.

The page asks nothing of the network (its own policy forbids it), runs no script, follows the reader's light
or dark setting and fits a phone. Whatever comes from files (class names, ids, settings) is escaped.
"""

from __future__ import annotations

import base64
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from torch import Tensor

from praxiscope.evaluation import plots
from praxiscope.evaluation.metrics import (
    confused_pairs,
    confusion_matrix,
    per_class_table,
    probabilities,
    shown_figures,
    summarise,
    wilson_interval,
)
from praxiscope.evaluation.scores import Scores
from praxiscope.run_folder import REPORT_FILE
from praxiscope.units import counted
from praxiscope.video.browser import PLAYED

__all__ = ["Strip", "TestLink", "pick_clips", "write_report"]

_TITLES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "mean_class_accuracy": "Mean class accuracy",
    "map": "mAP",
    "hit1": "Hit@1",
    "hit5": "Hit@5",
}
_OPEN_ROWS = 15  # rows of the class table that show at once
_DISTRIBUTIONS = ("praxiscope", "torch", "torchvision", "lightning-fabric", "numpy", "av")


@dataclass(frozen=True)
class Strip:
    """A test clip to look at, and to play where a browser can.

    Attributes:
        id: the video's id.
        frames: uint8 [T, 3, H, W], a handful from beginning to end.
        target: its class; several as one text.
        predicted: the best classes with their probabilities, the best first.
        right: whether it was recognised; None compares the best class with ``target``.
        video: its file, where a browser plays it.
        start_s, end_s: the part of the file that is meant.
        unplayed: why a browser does not play it.
    """

    id: str
    frames: Tensor
    target: str
    predicted: list[tuple[str, float]]
    right: bool | None = None
    video: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    unplayed: str | None = None

    @property
    def recognised(self) -> bool:
        """Whether the best class is the right one."""
        if self.right is not None:
            return self.right
        return bool(self.predicted) and self.predicted[0][0] == self.target


@dataclass(frozen=True)
class TestLink:
    """A test's report, for a run's to name.

    Attributes:
        href: the page's path from the folder of the run's.
        date, data, protocol, checkpoint: of the test, as they are shown.
        figures: what `summarise` made of it; None where it is not known.
    """

    href: str
    date: str
    data: str
    protocol: str
    checkpoint: str = ""
    figures: Mapping[str, Any] | None = None

    __test__ = False  # pytest would take the name for a test's


def pick_clips(scores: Scores, best: int = 4, worst: int = 6) -> tuple[list[int], list[int]]:
    """Choose the clips that are worth showing.

    Args:
        scores: the test's result.
        best: how many of the surest right ones, at most one per class.
        worst: how many of the wrong ones, those that gave their own classes the least probability first.

    Returns:
        Their numbers in ``scores``: the best, the worst.
    """
    chances = probabilities(scores)
    predicted = chances.argmax(axis=1)
    right: list[tuple[float, int]] = []
    wrong: list[tuple[float, int]] = []
    for row, chance in enumerate(chances):
        classes = np.flatnonzero(scores.targets[row]) if scores.multi_label else scores.targets[row : row + 1]
        if len(classes) and classes[0] >= 0:
            side = right if predicted[row] in classes else wrong
            side.append((float(chance[classes].max()), row))
    shown: dict[int, int] = {}
    for _, row in sorted(right, key=lambda pair: (-pair[0], pair[1])):
        shown.setdefault(int(predicted[row]), row)
    return list(shown.values())[:best], [row for _, row in sorted(wrong)[:worst]]


def write_report(
    run_folder: str | Path,
    *,
    scores: Scores | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    strips: Sequence[Strip] | None = None,
    settings: Mapping[str, Any] | None = None,
    notes: str | Sequence[str] | None = None,
    title: str | None = None,
    name: str = REPORT_FILE,
    commands: Sequence[str] = (),
    tests: Sequence[TestLink] = (),
    run: str | None = None,
) -> Path:
    """Write a report into a folder, that of a run as a rule; what is not given is left out of the page.

    Args:
        run_folder: the folder. It is made if it does not exist.
        scores: the test's result: figures, confusion matrix, classes.
        history: rows of the training log (see ``plots.draw_curves``).
        strips: clips to show; those recognised and those not are parted here, in the order given.
        settings: what the run was made with; plain values.
        notes: sentences for the top of the page (a warning, a count of skipped videos).
        title: of the page; by default the folder's name.
        name: of the file.
        commands: those that made what is shown, in their order.
        tests: reports to link to.
        run: of a test's report, the path of its run's from the folder.

    Returns:
        The file's path. It appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        _notes([notes] if isinstance(notes, str) else notes or []),
        _tests(tests),
        _figures(scores) if scores is not None else "",
        _curves(history or []),
        _clips(strips or [], folder),
        _classes(scores) if scores is not None else "",
        _making(commands, settings or {}),
    ]
    shown = title or folder.resolve().name or "run"
    # Videos are the only files that a page may open; one without them may open none.
    media = "media-src 'self' file:; " if any(strip.video for strip in strips or ()) else ""
    up = "" if run is None else f' · <a href="{escape(run)}">report of the run</a>'
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    page = _PAGE.format(
        title=escape(shown),
        style=_STYLE,
        media=media,
        written=written,
        up=up,
        body="\n".join(filter(None, sections)),
    )
    path = folder / name
    part = folder / f".{name}.{os.getpid()}.part"
    try:
        # Names of files that are not valid text may hold lone surrogates, which UTF-8 cannot.
        part.write_text(page, encoding="utf-8", errors="replace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="note">{escape(str(note))}</p>' for note in notes)


def _tests(tests: Sequence[TestLink]) -> str:
    """A table of links, with the figures that any of the tests has."""
    figures = [{} if test.figures is None else shown_figures(test.figures) for test in tests]
    columns = [key for key in _TITLES if any(key in known for known in figures)]
    rows = "".join(
        f'<tr><td><a href="{escape(test.href)}">{escape(test.data)}</a></td><td>{escape(test.protocol)}</td>'
        f"<td>{escape(test.checkpoint)}</td><td>{escape(test.date)}</td>"
        f"<td>{escape(_plain((test.figures or {}).get('videos', '–')))}</td>"
        + "".join(f"<td>{_share(known.get(key), 1)}</td>" for key in columns)
        + "</tr>"
        for test, known in zip(tests, figures, strict=True)
    )
    names = ["data", "protocol", "checkpoint", "date", "videos", *(_TITLES[key] for key in columns)]
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        _section("Tests", f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>') if rows else ""
    )


def _figures(scores: Scores) -> str:
    summary = summarise(scores)
    shown = shown_figures(summary)
    cards = []
    for key, title in _TITLES.items():
        if key in shown:
            below = ""
            if key in ("top1", "hit1"):
                low, high = wilson_interval(summary[key], summary["labelled"])
                below = f"95 % interval {100 * low:.1f}–{100 * high:.1f}"
            cards.append(_card(title, f"{100 * summary[key]:.1f}<small> %</small>", below))
    unknown = summary["videos"] - summary["labelled"]
    what = "no class" if scores.multi_label else "unknown class"
    below = f"{unknown} of {what}" if unknown else counted(summary["classes"], "class", "classes")
    cards.append(_card("Videos", f"{summary['videos']:,}", below))
    body = f'<div class="cards">{"".join(cards)}</div>'
    if scores.protocol:
        facts = "".join(
            f"<div><dt>{'protocol' if key == 'name' else escape(str(key))}</dt>"
            f"<dd>{escape(_plain(value))}</dd></div>"
            for key, value in scores.protocol.items()
            if value is not None
        )
        body += f'<dl class="facts">{facts}</dl>'
    if missing := summary["classes_without_videos"]:
        named = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
        body += f'<p class="small">Left out of the means, for want of test videos: {escape(named)}.</p>'
    return _section("Test", body)


def _card(title: str, value: str, below: str) -> str:
    return (
        f'<div class="card"><h3>{title}</h3><p class="figure">{value}</p><p class="small">{below}</p></div>'
    )


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    light, dark = plots.draw_curves(history), plots.draw_curves(history, dark=True)
    if not light:
        return ""
    shown = "".join(
        _picture(pair, f"Curve: {pair[0].axes[0].get_title(loc='left')}")
        for pair in zip(light, dark, strict=True)
    )
    return _section("Training", f'<div class="curves">{shown}</div>')


def _clips(strips: Sequence[Strip], folder: Path) -> str:
    body = ""
    for title, kind, wanted in (("Not recognised", "wrong", False), ("Recognised", "right", True)):
        shown = "".join(
            _clip(strip, kind, folder) for strip in strips if strip.recognised is wanted and len(strip.frames)
        )
        if shown:
            body += f"<h3>{title}</h3>{shown}"
    if body and any(strip.unplayed for strip in strips):
        body += f'<p class="small">{PLAYED}</p>'
    return _section("Clips", body) if body else ""


def _clip(strip: Strip, kind: str, folder: Path) -> str:
    film = plots.draw_strip(strip.frames)
    data = _data("jpeg", plots.strip_jpeg(film))
    least = min(film.shape[1], 700)  # on a phone the film scrolls, rather than shrinks
    guesses = "".join(
        f'<li><span class="bar {kind if place == 0 else "other"}" style="width:{_percent(chance)}%"></span>'
        f"<b>{escape(label)}</b> {_percent(chance)} %</li>"
        for place, (label, chance) in enumerate(strip.predicted[:3])
    )
    return (
        f'<figure class="clip"><div class="scroll"><img src="{data}" style="min-width:{least}px" '
        f'alt="Frames of {escape(strip.id)}"></div>'
        f"<figcaption><p><b>{escape(strip.target)}</b><br><code>{escape(strip.id)}</code></p>"
        f"<ol>{guesses}</ol>{_player(strip, folder)}</figcaption></figure>"
    )


def _player(strip: Strip, folder: Path) -> str:
    """The video itself, from where it lies, behind the strip's first frame; or why it does not play."""
    if strip.video is None:
        return f'<p class="small">Not played here: {escape(strip.unplayed)}.</p>' if strip.unplayed else ""
    part = [f"{bound or 0:g}" for bound in (strip.start_s, strip.end_s)][: 1 if strip.end_s is None else 2]
    fragment = "" if strip.start_s is None and strip.end_s is None else f"#t={','.join(part)}"
    poster = _data("jpeg", plots.strip_jpeg(plots.draw_strip(strip.frames[:1])))
    return (
        f'<video controls muted playsinline preload="none" poster="{poster}" '
        f'src="{escape(_address(strip.video, folder))}{fragment}"></video>'
    )


def _address(file: Path, folder: Path) -> str:
    """A file's address for a page in ``folder``: relative, so that both can move together; whole on another drive."""
    there, here = os.path.abspath(file), os.path.abspath(folder)  # noqa: PTH100  (links are to stay links)
    try:
        return quote(os.fsencode(os.path.relpath(there, here).replace(os.sep, "/")))
    except ValueError:
        return Path(there).as_uri()


def _classes(scores: Scores) -> str:
    rows = per_class_table(scores)
    key = "average_precision" if scores.multi_label else "accuracy"
    rows.sort(key=lambda row: (row[key] is None, row[key], row["class"]))
    body = _class_table(rows[:_OPEN_ROWS], key)
    if len(rows) > _OPEN_ROWS:
        rest = _class_table(rows[_OPEN_ROWS:], key)
        others = counted(len(rows) - _OPEN_ROWS, "other class", "other classes")
        body += f"<details><summary>{others}</summary>{rest}</details>"
    sections = _section("Classes, the weakest first", body)
    if scores.multi_label or not (scores.targets >= 0).any():
        return sections
    matrix = confusion_matrix(scores.targets, scores.logits.argmax(axis=1), len(scores.classes))
    pairs = "".join(
        f"<tr><td>{escape(true)}</td><td>{escape(taken)}</td><td>{count}</td><td>{_share(share)}</td></tr>"
        for true, taken, count, share in confused_pairs(matrix, scores.classes)
    )
    if pairs:
        head = "<tr><th>true class</th><th>taken for</th><th>videos</th><th>of its class</th></tr>"
        sections += _section("Most confused", f'<div class="scroll"><table>{head}{pairs}</table></div>')
    drawn = [plots.draw_confusion(matrix, scores.classes, dark) for dark in (False, True)]
    caption = (
        "Each row shows where the videos of one class went, as shares of that class. Blue, on the diagonal: "
        "recognised. Orange: mistakes."
    )
    width = min(round(drawn[0].get_figwidth() * 96), 1600)
    least = width if len(scores.classes) > 60 else 0.6 * width  # smaller would not be legible: scroll instead
    picture = _picture(drawn, "Confusion matrix", f"width:{width}px;max-width:max(100%,{least:.0f}px)")
    return sections + _section(
        "Confusion matrix", f'<p class="small">{caption}</p><div class="scroll">{picture}</div>'
    )


def _class_table(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    single = key == "accuracy"
    head = "<th>class</th><th>videos</th>"
    head += "<th>recognised</th><th>precision</th>" if single else ""
    head += "<th>average precision</th>" + ("<th>most often taken for</th>" if single else "")
    lines = []
    for row in rows:
        cells = f"<td>{escape(row['class'])}</td><td>{row['videos']}</td>"
        if single:
            cells += f"<td>{_bar(row['accuracy'])}</td><td>{_share(row['precision'])}</td>"
            cells += (
                f"<td>{_share(row['average_precision'])}</td><td>{escape(row['confused_with'] or '')}</td>"
            )
        else:
            cells += f"<td>{_bar(row['average_precision'])}</td>"
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table class="{key}"><tr>{head}</tr>{"".join(lines)}</table></div>'


def _making(commands: Sequence[str], settings: Mapping[str, Any]) -> str:
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    body = f"<pre>{escape(chr(10).join(commands))}</pre>" if commands else ""
    if settings:
        body += _folded("Settings", _plain_yaml(settings))
    return _section("How it was made", body + _folded("Versions", _plain_yaml(versions)))


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"


def _plain_yaml(values: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(dict(values), default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _picture(figures: Sequence[Any], alt: str, style: str = "") -> str:
    """A picture in two versions; the page's light or dark setting chooses."""
    light, dark = (_data("png", plots.figure_png(figure)) for figure in figures)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(alt)}" style="{style}"></picture>'
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _share(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _bar(value: float | None) -> str:
    if value is None:
        return "–"
    bar = f'<span class="bar" style="width:{_percent(value)}%"></span>'
    return f'<span class="track">{bar}</span> {_share(value)}'


def _percent(value: float) -> int:
    """A share as a whole number of per cent, whatever came."""
    return round(100 * min(max(float(value), 0.0), 1.0)) if value == value else 0


_PAGE = """<!doctype html>
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

_STYLE = """
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
